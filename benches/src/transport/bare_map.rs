//! `bare-map`: the same payload writes and reads in a plain shared mapping with a spin flag, in
//! place. What the memory itself costs.
//!
//! ```text
//!   flags   slot i at 128·i:  0: filled, 1 + the message in it   (the sender, Release)
//!                            64: freed, 1 + the message read     (the receiver, Release; one way only)
//!   slots   slot i at size·i: the payload
//! ```
//!
//! Message `seq` goes to slot `seq mod slots`. A round trip uses one slot each way and no `freed`:
//! the reply says that the request was read. Side by side, each link is a mapping of its own, and one thread
//! serves them all in turn. One way, a slot is filled again when its `freed` says
//! so. A batch of messages is filled first and its flags are set after that.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::{Arm, Link, Offer, Side, Transport, spin};
use crate::args::{Bell, Size, Trust, Wait};
use crate::legs::Lanes;
use crate::mem::{Mapping, Region};
use crate::payload::Payload;

const FLAGS: usize = 128;
const FILLED: usize = 0;
const FREED: usize = 64;

/// One way, slots beyond those of two batches, as long as they fit into this many bytes.
const AMPLE: usize = 256 << 10;

/// How many slots a direction has: one for a round trip, else at least two batches.
pub(super) fn slots_for(arm: &Arm) -> usize {
    match arm.bench {
        bench if !bench.is_one_way() => 1,
        _ => (AMPLE / arm.size.0).clamp(2, 1024).max(2 * arm.batch as usize),
    }
}

#[derive(Debug)]
pub(crate) struct BareMap;

impl Transport for BareMap {
    type Ends = Lanes<Slots>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Spin;
        arm.trust = Trust::Trusted;
        arm.bell = Bell::None;
        arm.without_session();
        arm.one_thread()?;
        arm.descriptors(1)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Lanes<Slots>>> {
        let (mut links, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let (mapping, fd) = Mapping::create(&regions(arm))?;
            links.push(Slots::new(arm, mapping, Side::Driver));
            fds.push(fd);
        }
        Ok(Offer::ready(Lanes(links), fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Lanes<Slots>> {
        let link = |fd| Ok(Slots::new(arm, Mapping::join(fd, &regions(arm))?, Side::Peer));
        fds.into_iter().map(link).collect::<io::Result<_>>().map(Lanes)
    }
}

/// Flags and slots of the direction to the peer, then of the one to the driver.
fn regions(arm: &Arm) -> [usize; 4] {
    let Size(size) = arm.size;
    let slots = slots_for(arm);
    [slots * FLAGS, slots * size, slots * FLAGS, slots * size]
}

#[derive(Debug)]
pub(crate) struct Slots {
    out: Direction,
    into: Direction,
    count: u64,
    size: usize,
    payload: Payload,
    one_way: bool,
}

#[derive(Debug)]
struct Direction {
    flags: Region,
    slots: Region,
}

impl Slots {
    fn new(arm: &Arm, mapping: Mapping, side: Side) -> Self {
        let [a_flags, a_slots, b_flags, b_slots] = mapping.cut(regions(arm));
        let (out, into) = side.orient(
            Direction { flags: a_flags, slots: a_slots },
            Direction { flags: b_flags, slots: b_slots },
        );
        Self {
            out,
            into,
            count: slots_for(arm) as u64,
            size: arm.size.0,
            payload: arm.payload(),
            one_way: arm.bench.is_one_way(),
        }
    }
}

impl Link for Slots {
    #[inline]
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            let slot = (seq % self.count) as usize;
            if self.one_way && seq >= self.count {
                let freed = self.out.flags.word(slot * FLAGS + FREED);
                let previous = seq - self.count + 1;
                spin(|| (freed.load(Acquire) == previous).then_some(()));
            }
            let start = slot * self.size;
            self.payload.fill(self.out.slots.bytes_mut(start..start + self.payload.len(seq)), seq);
        }
        for seq in first..first + count {
            let slot = (seq % self.count) as usize;
            self.out.flags.word(slot * FLAGS + FILLED).store(seq + 1, Release);
        }
        Ok(())
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let slot = (seq % self.count) as usize;
        let filled = self.into.flags.word(slot * FLAGS + FILLED);
        spin(|| (filled.load(Acquire) == seq + 1).then_some(()));
        let start = slot * self.size;
        self.payload.check(self.into.slots.bytes(start..start + self.payload.len(seq)), seq);
        if self.one_way {
            self.into.flags.word(slot * FLAGS + FREED).store(seq + 1, Release);
        }
        Ok(())
    }
}
