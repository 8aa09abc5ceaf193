//! `bare-ring`: a fixed ring of records each way, without session, stream, credit or gate. What a
//! ring of records in shared memory can do at most.
//!
//! ```text
//!   cursors   0: tail, bytes written so far   (the sender, Release)
//!           128: head, bytes read so far      (the receiver, Release)
//!   records   128 KiB: header (16 bytes: kind, length), payload, up to a multiple of 16
//! ```
//!
//! * **R1** Bytes of `head..tail` are the receiver's, all others the sender's. Cursors only grow;
//!   modulo the capacity they are places in the ring.
//! * **R2** No record wraps: one of kind `PADDING` fills the ring to its end.
//! * **R3** A record takes at most 1/16 of the ring. The receiver publishes its head when it lags by
//!   1/8, so a sender that found no room always gets some.
//!
//! Payload is written in a private buffer and copied in, copied out and checked in a private
//! buffer. A sender writes its tail once a batch, or when the ring is full. Either side loads the
//! other's cursor only when the value it remembers does not suffice.
//!
//! Short payload is copied a word at a time. A `memcpy` reads it with loads wider than the stores
//! that have just written it; such a load waits until these stores have left the store buffer, and
//! they queue behind those to the ring, which miss. That doubled the time of a 64-byte message.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::{Arm, Link, Offer, Side, Transport, only, spin};
use crate::args::{Bell, Size, Trust, Wait};
use crate::mem::{Mapping, Region};
use crate::payload::Payload;

const RING: usize = 128 << 10;
const HEADER: usize = 16;
const LARGEST_RECORD: usize = RING / 16;
const TAIL: usize = 0;
const HEAD: usize = 128;

/// Payload up to here is copied by words.
const SHORT: usize = 512;

const DATA: u64 = 1;
const PADDING: u64 = 2;

/// Cursors and records of the direction to the peer, then of the one to the driver.
const REGIONS: [usize; 4] = [256, RING, 256, RING];

#[derive(Debug)]
pub(crate) struct BareRing;

impl Transport for BareRing {
    type Ends = Vec<Rings>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        let Size(size) = arm.size;
        if record_len(size) > LARGEST_RECORD {
            return Err(format!("not supported: a record has at most {LARGEST_RECORD} bytes"));
        }
        arm.wait = Wait::Spin;
        arm.trust = Trust::Untrusted;
        arm.bell = Bell::None;
        arm.without_session();
        arm.one_link()
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Rings>>> {
        let (mapping, fd) = Mapping::create(&REGIONS)?;
        Ok(Offer::ready(vec![Rings::new(arm, mapping, Side::Driver)], vec![fd]))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Vec<Rings>> {
        let [fd] = only(fds)?;
        Ok(vec![Rings::new(arm, Mapping::join(fd, &REGIONS)?, Side::Peer)])
    }
}

#[derive(Debug)]
pub(crate) struct Rings {
    out: Sender,
    into: Receiver,
    payload: Payload,
    message: Vec<u8>,
}

impl Rings {
    fn new(arm: &Arm, mapping: Mapping, side: Side) -> Self {
        let [a_cursors, a_records, b_cursors, b_records] = mapping.cut(REGIONS);
        let (out, into) = side.orient((a_cursors, a_records), (b_cursors, b_records));
        Self {
            out: Sender { cursors: out.0, records: out.1, tail: 0, seen_head: 0 },
            into: Receiver {
                cursors: into.0,
                records: into.1,
                head: 0,
                told_head: 0,
                seen_tail: 0,
            },
            payload: arm.payload(),
            message: vec![0; arm.size.0],
        }
    }
}

impl Link for Rings {
    #[inline]
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            let message = &mut self.message[..self.payload.len(seq)];
            self.payload.fill(message, seq);
            self.out.write(message);
        }
        self.out.publish();
        Ok(())
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let message = &mut self.message[..self.payload.len(seq)];
        self.into.read(message);
        self.payload.check(message, seq);
        Ok(())
    }
}

#[derive(Debug)]
struct Sender {
    cursors: Region,
    records: Region,
    /// Written so far, published or not.
    tail: usize,
    seen_head: usize,
}

impl Sender {
    /// Puts a record into the ring without publishing it.
    #[inline]
    fn write(&mut self, payload: &[u8]) {
        let len = record_len(payload.len());
        let to_end = RING - self.tail % RING;
        if len > to_end {
            self.wait_for(to_end);
            self.put_header(PADDING, to_end - HEADER);
            self.tail += to_end;
        }
        self.wait_for(len);
        let start = self.put_header(DATA, payload.len()) + HEADER;
        let range = start..start + payload.len();
        if is_short(payload.len()) {
            let (words, _) = payload.as_chunks::<8>();
            for (place, word) in self.records.words(range).iter().zip(words) {
                place.store(u64::from_ne_bytes(*word), Relaxed);
            }
        } else {
            self.records.bytes_mut(range).copy_from_slice(payload);
        }
        self.tail += len;
    }

    #[inline]
    fn put_header(&mut self, kind: u64, len: usize) -> usize {
        let at = self.tail % RING;
        let words = self.records.words(at..at + HEADER);
        words[0].store(kind, Relaxed);
        words[1].store(len as u64, Relaxed);
        at
    }

    #[inline]
    fn publish(&mut self) {
        self.cursors.word(TAIL).store(self.tail as u64, Release);
    }

    #[inline]
    fn wait_for(&mut self, room: usize) {
        if self.tail + room - self.seen_head > RING {
            self.wait_for_head(room);
        }
    }

    #[cold]
    fn wait_for_head(&mut self, room: usize) {
        let head = self.cursors.word(HEAD);
        let enough = |head: usize| self.tail + room - head <= RING;
        let mut seen = head.load(Acquire) as usize;
        if !enough(seen) {
            // What the batch has written so far must not wait with us.
            self.cursors.word(TAIL).store(self.tail as u64, Release);
            seen = spin(|| Some(head.load(Acquire) as usize).filter(|&head| enough(head)));
        }
        self.seen_head = seen;
    }
}

#[derive(Debug)]
struct Receiver {
    cursors: Region,
    records: Region,
    head: usize,
    /// The head that the sender knows.
    told_head: usize,
    seen_tail: usize,
}

impl Receiver {
    /// Waits for a record and copies its payload out.
    #[inline]
    fn read(&mut self, payload: &mut [u8]) {
        loop {
            if self.head == self.seen_tail {
                self.wait_for_tail();
            }
            let at = self.head % RING;
            let words = self.records.words(at..at + HEADER);
            let (kind, len) = (words[0].load(Relaxed), words[1].load(Relaxed) as usize);
            if kind == DATA {
                assert_eq!(len, payload.len(), "a record of the wrong length");
                self.copy_out(at + HEADER, payload);
            }
            self.head += record_len(len);
            if self.head - self.told_head >= RING / 8 {
                self.cursors.word(HEAD).store(self.head as u64, Release);
                self.told_head = self.head;
            }
            if kind == DATA {
                return;
            }
        }
    }

    #[inline]
    fn copy_out(&self, start: usize, payload: &mut [u8]) {
        let range = start..start + payload.len();
        if is_short(payload.len()) {
            let (words, _) = payload.as_chunks_mut::<8>();
            for (word, place) in words.iter_mut().zip(self.records.words(range)) {
                *word = place.load(Relaxed).to_ne_bytes();
            }
        } else {
            payload.copy_from_slice(self.records.bytes(range));
        }
    }

    #[inline]
    fn wait_for_tail(&mut self) {
        let tail = self.cursors.word(TAIL);
        let head = self.head;
        self.seen_tail = spin(|| Some(tail.load(Acquire) as usize).filter(|&tail| tail != head));
    }
}

/// What a payload of `len` bytes takes in the ring.
const fn record_len(len: usize) -> usize {
    HEADER + len.next_multiple_of(16)
}

/// Whether a payload is worth copying by words, and consists of them.
const fn is_short(len: usize) -> bool {
    len <= SHORT && len.is_multiple_of(8)
}
