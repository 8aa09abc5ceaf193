//! `eventfd`: the payload in place in a shared mapping as in `bare-map`, but woken by a blocking
//! eventfd. What waiting in the kernel costs at least.
//!
//! Each direction has slots and two eventfds, `filled` and `freed`: whoever has filled (or emptied)
//! a number of slots adds it to the counter, and the other takes the whole counter with one read,
//! asleep while it is zero. These calls also order the accesses to the slots. A round trip needs
//! no `freed`, since the reply says that the request was read: one write and one read each way.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::bare_map::slots_for;
use super::{Arm, Link, Offer, Side, Transport, only};
use crate::args::{Bell, Trust, Wait};
use crate::mem::{Mapping, Region};
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct Eventfd;

impl Transport for Eventfd {
    type Ends = Vec<Woken>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Block;
        arm.trust = Trust::Trusted;
        arm.bell = Bell::Eventfd;
        arm.without_session();
        arm.one_link()
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Woken>>> {
        let (mapping, fd) = Mapping::create(&regions(arm))?;
        let mut fds = vec![fd];
        for _ in 0..4 {
            fds.push(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?.into());
        }
        let own = fds[1..].iter().map(OwnedFd::try_clone).collect::<Result<_, _>>()?;
        Ok(Offer::ready(vec![Woken::new(arm, mapping, own, Side::Driver)?], fds))
    }

    fn join(arm: &Arm, mut fds: Vec<OwnedFd>) -> io::Result<Vec<Woken>> {
        let events = fds.split_off(1);
        let [fd] = only(fds)?;
        Ok(vec![Woken::new(arm, Mapping::join(fd, &regions(arm))?, events, Side::Peer)?])
    }
}

/// The slots of the direction to the peer, then of the one to the driver.
fn regions(arm: &Arm) -> [usize; 2] {
    [slots_for(arm) * arm.size.0; 2]
}

#[derive(Debug)]
pub(crate) struct Woken {
    out: Direction,
    into: Direction,
    payload: Payload,
    size: usize,
    one_way: bool,
    bells: u64,
}

#[derive(Debug)]
struct Direction {
    slots: Region,
    count: u64,
    filled: File,
    freed: File,
    /// Slots that this side may touch now: to fill, or to read.
    turn: u64,
    /// Slots read since the last write to `freed`.
    read: u64,
}

impl Woken {
    fn new(arm: &Arm, mapping: Mapping, events: Vec<OwnedFd>, side: Side) -> io::Result<Self> {
        let count = slots_for(arm) as u64;
        let [to_peer, to_driver] = mapping.cut(regions(arm));
        let [a_filled, a_freed, b_filled, b_freed] = only(events)?;
        let direction = |slots, filled: OwnedFd, freed: OwnedFd| Direction {
            slots,
            count,
            filled: filled.into(),
            freed: freed.into(),
            turn: 0,
            read: 0,
        };
        let (mut out, into) = side
            .orient(direction(to_peer, a_filled, a_freed), direction(to_driver, b_filled, b_freed));
        out.turn = count;
        Ok(Self {
            out,
            into,
            payload: arm.payload(),
            size: arm.size.0,
            one_way: arm.bench.is_one_way(),
            bells: 0,
        })
    }
}

impl Link for Woken {
    #[inline]
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        let out = &mut self.out;
        for seq in first..first + count {
            if self.one_way {
                if out.turn == 0 {
                    out.turn = take(&mut out.freed)?;
                }
                out.turn -= 1;
            }
            let start = (seq % out.count) as usize * self.size;
            self.payload.fill(out.slots.bytes_mut(start..start + self.payload.len(seq)), seq);
        }
        self.bells += 1;
        add(&mut out.filled, count)
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let into = &mut self.into;
        if into.turn == 0 {
            if self.one_way && into.read > 0 {
                self.bells += 1;
                add(&mut into.freed, into.read)?;
                into.read = 0;
            }
            into.turn = take(&mut into.filled)?;
        }
        into.turn -= 1;
        into.read += 1;
        let start = (seq % into.count) as usize * self.size;
        self.payload.check(into.slots.bytes(start..start + self.payload.len(seq)), seq);
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.bells
    }
}

fn add(eventfd: &mut File, count: u64) -> io::Result<()> {
    eventfd.write_all(&count.to_ne_bytes())
}

fn take(eventfd: &mut File) -> io::Result<u64> {
    let mut count = [0; 8];
    eventfd.read_exact(&mut count)?;
    Ok(u64::from_ne_bytes(count))
}
