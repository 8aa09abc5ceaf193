//! `futex`: the payload in place in a shared mapping as in `bare-map`, but whoever finds nothing sleeps on a
//! futex at once. With `eventfd`, what waiting in the kernel costs at least.
//!
//! ```text
//!   words   0: filled, messages written so far    8: the receiver sleeps, or is about to
//!         128: freed, messages read so far      136: the sender sleeps, or is about to
//!   slots   slot i at size·i: the payload
//! ```
//!
//! A word is written by one side, which then wakes the other if that sleeps: no system call while nobody does.
//! A round trip needs no `freed`, since the reply says that the request was read. A batch is one `filled`, and
//! one way a quarter of the slots is one `freed`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, fence};

use rustix::io::Errno;
use rustix::thread::futex::{Flags, wait, wake};

use super::bare_map::slots_for;
use super::{Arm, Link, Offer, Side, Transport};
use crate::args::{Bell, Trust, Wait};
use crate::mem::{Mapping, Region};
use crate::payload::Payload;

const FILLED: usize = 0;
const FREED: usize = 128;
/// From a word to the one that says whether somebody sleeps on it.
const SLEEPS: usize = 8;

#[derive(Debug)]
pub(crate) struct Futex;

impl Transport for Futex {
    type Ends = Vec<Slots>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Block;
        arm.trust = Trust::Trusted;
        arm.bell = Bell::None;
        arm.without_session();
        arm.descriptors(1)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Slots>>> {
        let (mut links, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let (mapping, fd) = Mapping::create(&regions(arm))?;
            links.push(Slots::new(arm, mapping, Side::Driver));
            fds.push(fd);
        }
        Ok(Offer::ready(links, fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Vec<Slots>> {
        let link = |fd| Ok(Slots::new(arm, Mapping::join(fd, &regions(arm))?, Side::Peer));
        fds.into_iter().map(link).collect()
    }
}

/// Words and slots of the direction to the peer, then of the one to the driver.
fn regions(arm: &Arm) -> [usize; 4] {
    let slots = slots_for(arm) * arm.size.0;
    [256, slots, 256, slots]
}

#[derive(Debug)]
pub(crate) struct Slots {
    out: Direction,
    into: Direction,
    count: u64,
    size: usize,
    payload: Payload,
    one_way: bool,
    bells: u64,
}

#[derive(Debug)]
struct Direction {
    words: Region,
    slots: Region,
    /// The last that was seen of what the other side writes.
    seen: u32,
}

impl Slots {
    fn new(arm: &Arm, mapping: Mapping, side: Side) -> Self {
        let [a_words, a_slots, b_words, b_slots] = mapping.cut(regions(arm));
        let direction = |words, slots| Direction { words, slots, seen: 0 };
        let (out, into) = side.orient(direction(a_words, a_slots), direction(b_words, b_slots));
        Self {
            out,
            into,
            count: slots_for(arm) as u64,
            size: arm.size.0,
            payload: arm.payload(),
            one_way: arm.bench.is_one_way(),
            bells: 0,
        }
    }

    fn place(&self, seq: u64) -> std::ops::Range<usize> {
        let start = (seq % self.count) as usize * self.size;
        start..start + self.payload.len(seq)
    }
}

impl Link for Slots {
    #[inline]
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            // Counts are kept modulo 2³²; there are never so many slots.
            let unread = (seq as u32).wrapping_sub(self.out.seen);
            if self.one_way && u64::from(unread) >= self.count {
                self.out.seen = self.out.another(FREED, self.out.seen)?;
            }
            let place = self.place(seq);
            self.payload.fill(self.out.slots.bytes_mut(place), seq);
        }
        self.bells += self.out.tell(FILLED, (first + count) as u32)?;
        Ok(())
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        while (self.into.seen.wrapping_sub(seq as u32) as i32) <= 0 {
            self.into.seen = self.into.another(FILLED, self.into.seen)?;
        }
        let place = self.place(seq);
        self.payload.check(self.into.slots.bytes(place), seq);
        // A batch is at most half of the slots.
        if self.one_way && (seq + 1).is_multiple_of((self.count / 4).max(1)) {
            self.bells += self.into.tell(FREED, (seq + 1) as u32)?;
        }
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.bells
    }
}

impl Direction {
    /// Waits until the word is another than `old`, and gives it.
    #[inline]
    fn another(&self, word: usize, old: u32) -> io::Result<u32> {
        let (word, sleeps) = (self.words.half_word(word), self.words.half_word(word + SLEEPS));
        let now = word.load(Acquire);
        if now != old {
            return Ok(now);
        }
        sleeps.store(1, Relaxed);
        // With the one in `tell`: either it sees that we sleep, or we see what it has stored.
        fence(SeqCst);
        let changed = sleep(word, old);
        sleeps.store(0, Relaxed);
        changed
    }

    /// Stores, and wakes whoever sleeps. How many were woken.
    #[inline]
    fn tell(&self, word: usize, value: u32) -> io::Result<u64> {
        let (word, sleeps) = (self.words.half_word(word), self.words.half_word(word + SLEEPS));
        word.store(value, Release);
        fence(SeqCst);
        match sleeps.load(Relaxed) {
            0 => Ok(0),
            _ => Ok(wake(word, Flags::empty(), 1)? as u64),
        }
    }
}

fn sleep(word: &AtomicU32, old: u32) -> io::Result<u32> {
    loop {
        let now = word.load(Acquire);
        if now != old {
            return Ok(now);
        }
        match wait(word, Flags::empty(), old, None) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
