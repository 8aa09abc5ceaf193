//! `cacheline`: one cache line handed over and back, spinning. The physical limit.
//!
//! ```text
//!   word (8 bytes, alone on its line), written by both in turn
//!     2·seq + 1   message `seq` is there      (the sender, Release)
//!     2·seq + 2   message `seq` was seen      (the receiver, Release; one way only)
//! ```
//!
//! A round trip is request and reply, two values of the word: the reply says that the request was
//! seen. One way, the receiver says so itself, and the line goes back and forth for every message.
//! The word is the payload, whatever size was asked for.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::{Arm, Link, Offer, Transport, only, spin};
use crate::args::{Bell, Size, Trust, Wait};
use crate::mem::{Mapping, Region};

const REGIONS: [usize; 1] = [64];

#[derive(Debug)]
pub(crate) struct Cacheline;

impl Transport for Cacheline {
    type Ends = Vec<Line>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.size = Size(8);
        arm.mixed = false;
        arm.wait = Wait::Spin;
        arm.trust = Trust::Trusted;
        arm.bell = Bell::None;
        arm.batch = 1;
        arm.without_session();
        arm.one_link()
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Line>>> {
        let (mapping, fd) = Mapping::create(&REGIONS)?;
        Ok(Offer::ready(vec![Line::new(arm, mapping)], vec![fd]))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Vec<Line>> {
        let [fd] = only(fds)?;
        Ok(vec![Line::new(arm, Mapping::join(fd, &REGIONS)?)])
    }
}

#[derive(Debug)]
pub(crate) struct Line {
    region: Region,
    /// One way: the receiver hands the line back.
    one_way: bool,
}

impl Line {
    fn new(arm: &Arm, mapping: Mapping) -> Self {
        let [region] = mapping.cut(REGIONS);
        Self { region, one_way: arm.bench.is_one_way() }
    }
}

impl Link for Line {
    #[inline]
    fn send(&mut self, first: u64, _count: u64) -> io::Result<()> {
        let word = self.region.word(0);
        word.store(2 * first + 1, Release);
        if self.one_way {
            spin(|| (word.load(Acquire) == 2 * first + 2).then_some(()));
        }
        Ok(())
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let word = self.region.word(0);
        spin(|| (word.load(Acquire) == 2 * seq + 1).then_some(()));
        if self.one_way {
            word.store(2 * seq + 2, Release);
        }
        Ok(())
    }
}
