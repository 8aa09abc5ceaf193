//! The reading end of a record queue.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use crate::error::PeerMisbehaved;
use crate::layout::{Geometry, HEAD_AT, RING_AT, TAIL_AT};
use crate::mem::{Memory, MemoryMut, Raw};
use crate::steps::{self, Step};

use super::record::{ExtentRef, Header, Kind};

/// A validated record. Its payload stays in the ring until the reader moves on.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Kind, flags, value and stream.
    pub header: Header,
    /// Offset of inline payload in the peer's outbox; `header.value` bytes.
    pub payload_at: usize,
    /// The extent, for [`Kind::Extent`]; unchecked but for its packing.
    pub extent: Option<ExtentRef>,
    /// Where in the stream of records it begins.
    pub position: u64,
}

/// Reads the peer's records. The caller's lock makes it the only reader of this process.
#[derive(Debug)]
pub struct RecordReader<O, P> {
    own: O,
    peer: P,
    ring: u64,
    lag: u64,
    inline_max: u32,
    /// Everything before it has been acted on.
    drained: u64,
    /// Where the record being acted on ends.
    next: u64,
    /// The tail as last loaded and checked.
    tail: u64,
    /// Value of our head.
    head: u64,
    /// The batch held a record that frees the peer's control reserve.
    saw_control: bool,
}

impl<O: MemoryMut, P: Memory> RecordReader<O, P> {
    /// The reader of the outbox `peer`, which keeps its head in `own`.
    pub fn new(own: O, peer: P, geometry: &Geometry) -> Self {
        Self {
            own,
            peer,
            ring: u64::from(geometry.ring_bytes),
            lag: geometry.head_lag(),
            inline_max: geometry.inline_max,
            drained: 0,
            next: 0,
            tail: 0,
            head: 0,
            saw_control: false,
        }
    }

    /// Loads the peer's tail; returns it.
    ///
    /// # Errors
    /// [`PeerMisbehaved::TailJumped`] if it ran backwards, is misaligned, or further ahead than the
    /// ring is long.
    #[inline]
    pub fn load_tail(&mut self) -> Result<u64, PeerMisbehaved> {
        let raw = Raw::new(self.peer.load64(TAIL_AT));
        // Pairs with the Release store in `RecordWriter::publish`.
        self.peer.fence_acquire();
        let (least, most) = (self.tail, self.next.saturating_add(self.ring));
        let check = |tail: u64| (least <= tail && tail <= most && tail % 16 == 0).then_some(tail);
        self.tail = raw.parse(check, PeerMisbehaved::TailJumped)?;
        Ok(self.tail)
    }

    /// The next record before the tail that was loaded last, skipping padding. Asking for it ends the
    /// use of the record before.
    ///
    /// # Errors
    /// The rule that the record breaks (Q3).
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<Record>, PeerMisbehaved> {
        loop {
            self.drained = self.next;
            if self.drained - self.head >= self.lag {
                self.publish_head();
            }
            if self.drained == self.tail {
                return Ok(None);
            }
            let record = self.parse()?;
            self.next = self.drained + record.header.size();
            self.saw_control |= record.header.is_control();
            if record.header.kind != Kind::Pad {
                return Ok(Some(record));
            }
        }
    }

    /// Takes the next record if it is a whole message of stream `stream`, inside of its record: what
    /// [`next_record`](Self::next_record) and [`payload`](Self::payload) do for the most frequent case.
    /// `copy` copies so many bytes from that offset of the peer's outbox, or declines. Gives what it gave, the
    /// length, and whether the direction ends with the message.
    /// `None` leaves everything else to them, what is wrong included; they read it anew.
    #[inline]
    pub fn take_inline<R>(
        &mut self,
        stream: u64,
        copy: impl FnOnce(&P, usize, usize) -> Option<R>,
    ) -> Option<(R, u32, bool)> {
        self.drained = self.next;
        if self.drained - self.head >= self.lag || self.load_tail().ok()? == self.drained {
            return None;
        }
        let offset = self.drained & (self.ring - 1);
        let at = RING_AT + offset as usize;
        let (len, last) = Header::plain_inline(Raw::new(self.peer.load64(at)), self.inline_max)?;
        let size = 16 + u64::from(len).next_multiple_of(16);
        let room = (self.ring - offset).min(self.tail - self.drained);
        if Raw::new(self.peer.load64(at + 8)) != stream || size > room {
            return None;
        }
        let payload = copy(&self.peer, at + 16, len as usize)?;
        steps::reach(Step::RecordTaken);
        self.next = self.drained + size;
        self.drained = self.next;
        Some((payload, len, last))
    }

    /// Ends the use of the record that `next_record` returned last, without asking for another.
    #[inline]
    pub fn done(&mut self) {
        self.drained = self.next;
    }

    /// Ends a batch: publishes the head if the batch held a control record (Q4).
    #[inline]
    pub fn end_batch(&mut self) {
        if std::mem::take(&mut self.saw_control) {
            self.publish_head();
        }
    }

    /// Publishes the head, unless it is up to date.
    #[inline]
    pub fn publish_head(&mut self) {
        if self.head != self.drained {
            self.own.publish64(HEAD_AT, self.drained);
            self.head = self.drained;
        }
    }

    /// Copies inline payload out of the ring; `record` must be the last one that `next_record` returned.
    #[inline]
    pub fn payload(&self, record: &Record) -> Vec<u8> {
        self.peer.read_to_vec(record.payload_at, record.header.value as usize)
    }

    /// The same into `out`, which is as long as the payload.
    pub fn copy_payload(&self, record: &Record, out: &mut [u8]) {
        debug_assert_eq!(out.len(), record.header.value as usize);
        self.peer.read(record.payload_at, out);
    }

    /// Everything before this position has been acted on.
    #[inline]
    pub fn drained(&self) -> u64 {
        self.drained
    }

    /// Our head as published.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head
    }

    #[inline]
    fn parse(&self) -> Result<Record, PeerMisbehaved> {
        let at = RING_AT + (self.drained & (self.ring - 1)) as usize;
        let word = Raw::new(self.peer.load64(at));
        let header = Header::parse(word, self.peer.load64(at + 8))?;
        let to_end = self.ring - (self.drained & (self.ring - 1));
        // Padding fills the end of the ring, so that one record is never behind many of it.
        let wrong = header.size() > to_end.min(self.tail - self.drained)
            || (header.kind == Kind::Inline && header.value > self.inline_max)
            || (header.kind == Kind::Pad && header.size() != to_end);
        if wrong {
            return Err(PeerMisbehaved::RecordLength);
        }
        let extent = (header.kind == Kind::Extent)
            .then(|| ExtentRef::from_words(self.peer.load64(at + 16), self.peer.load64(at + 24)));
        Ok(Record { header, payload_at: at + 16, extent, position: self.drained })
    }
}
