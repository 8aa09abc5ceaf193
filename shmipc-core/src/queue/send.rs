//! The writing end of a record queue.

use crate::error::PeerMisbehaved;
use crate::layout::{Geometry, HEAD_AT, RING_AT, TAIL_AT};
use crate::mem::{Memory, MemoryMut, Raw, Unpublished};
use crate::steps;

use super::record::{ExtentRef, Header, Kind};

/// How far ahead of a record lines are fetched, bytes: what a burst of small records writes while
/// one transfer between CPUs takes (measured; see `docs/decisions.md`).
const AHEAD: u64 = 384;

/// Writes records into our outbox and publishes them. The caller's lock makes it the only writer.
#[derive(Debug)]
pub struct RecordWriter<O, P> {
    own: O,
    peer: P,
    ring: u64,
    data_limit: u64,
    /// The most padding that granted data may need.
    padding: u64,
    /// Where the next record goes.
    written: u64,
    /// Value of the tail.
    published: u64,
    /// The reader's head as last loaded and checked.
    head: u64,
    /// Bytes granted to reservations and not yet written.
    held: u64,
}

impl<O: MemoryMut, P: Memory> RecordWriter<O, P> {
    /// The writer of the outbox `own`, whose reader keeps its head in `peer`.
    ///
    /// # Panics
    /// If the outbox has a writer already (M10 of the module [`mem`](crate::mem)).
    pub fn new(own: O, peer: P, geometry: &Geometry) -> Self {
        own.claim();
        let (ring, data_limit) = (u64::from(geometry.ring_bytes), geometry.data_limit());
        let padding = geometry.max_record() - 16;
        Self { own, peer, ring, data_limit, padding, written: 0, published: 0, head: 0, held: 0 }
    }

    /// Grants `len` bytes of the ring to data if they are free (Q2). The head is loaded again only if
    /// the one known does not suffice.
    ///
    /// # Errors
    /// [`PeerMisbehaved::HeadJumped`] if the loaded head is impossible.
    #[inline]
    pub fn grant(&mut self, len: u64) -> Result<bool, PeerMisbehaved> {
        self.grant_within(len, self.data_limit)
    }

    /// The same if no more than half of the queue is in use then: for what can do without.
    ///
    /// # Errors
    /// As [`grant`](Self::grant).
    #[inline]
    pub fn grant_half(&mut self, len: u64) -> Result<bool, PeerMisbehaved> {
        self.grant_within(len, self.data_limit / 2)
    }

    #[inline]
    fn grant_within(&mut self, len: u64, limit: u64) -> Result<bool, PeerMisbehaved> {
        if self.in_use() + len > limit {
            self.load_head()?;
            if self.in_use() + len > limit {
                return Ok(false);
            }
        }
        self.held += len;
        Ok(true)
    }

    /// Takes back `len` bytes of what was granted.
    #[inline]
    pub fn ungrant(&mut self, len: u64) {
        debug_assert!(len <= self.held);
        self.held -= len;
    }

    /// Loads the reader's head.
    ///
    /// # Errors
    /// [`PeerMisbehaved::HeadJumped`] if it ran backwards or past what is published.
    pub fn load_head(&mut self) -> Result<u64, PeerMisbehaved> {
        let raw = Raw::new(self.peer.load64(HEAD_AT));
        self.peer.fence_acquire();
        let possible = self.head..=self.published;
        self.head =
            raw.parse(|head| possible.contains(&head).then_some(head), PeerMisbehaved::HeadJumped)?;
        Ok(self.head)
    }

    /// Writes a record with inline payload (none for control records). Data uses up bytes that were
    /// granted; control records use the reserve.
    #[inline]
    pub fn put(&mut self, header: Header, payload: &[u8]) {
        let size = header.size();
        let at = self.place(size);
        self.own.will_write(RING_AT + ((self.written + AHEAD) & (self.ring - 1)) as usize);
        self.own.write_unpublished(at + 16, payload, Unpublished::of_the_ring());
        self.own.store64(at + 8, header.stream);
        self.own.store64(at, header.word());
        steps::written(header.kind);
        self.account(&header, size);
    }

    /// Writes a control record. Q2 keeps room for it, if the reader follows Q4.
    ///
    /// # Errors
    /// [`PeerMisbehaved::HeadWithheld`] if there is no room all the same: the peer goes on to cause
    /// control records and does not publish that it read those before.
    /// [`PeerMisbehaved::HeadJumped`] as for [`load_head`](Self::load_head).
    #[inline]
    pub fn put_control(&mut self, header: Header) -> Result<(), PeerMisbehaved> {
        debug_assert!(header.is_control());
        if !self.control_fits() {
            self.load_head()?;
            if !self.control_fits() {
                return Err(PeerMisbehaved::HeadWithheld);
            }
        }
        self.put(header, &[]);
        Ok(())
    }

    /// Writes a record that names an extent.
    pub fn put_extent(&mut self, header: Header, extent: ExtentRef) {
        debug_assert_eq!(header.kind, Kind::Extent);
        let size = header.size();
        let at = self.place(size);
        let (place, range) = extent.words();
        self.own.store64(at + 16, place);
        self.own.store64(at + 24, range);
        self.own.store64(at + 8, header.stream);
        self.own.store64(at, header.word());
        steps::written(header.kind);
        self.account(&header, size);
    }

    /// Publishes everything written; returns the new position if there was anything.
    #[inline]
    pub fn publish(&mut self) -> Option<u64> {
        (self.published != self.written).then(|| {
            self.own.publish64(TAIL_AT, self.written);
            self.published = self.written;
            self.written
        })
    }

    /// Hints that the next record will soon be written: its lines were the reader's, a lap ago.
    #[inline]
    pub fn warm(&self) {
        self.own.will_write(self.offset());
    }

    /// Where the next record goes.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Value of the tail.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The reader's head as last loaded.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Bytes granted and not yet written.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Bytes in flight or granted.
    #[inline]
    fn in_use(&self) -> u64 {
        self.written - self.head + self.held
    }

    /// Whether a control record fits beside everything in flight and granted. Granted data needs
    /// padding if the end of the ring is near enough.
    #[inline]
    fn control_fits(&self) -> bool {
        let to_end = self.ring - (self.written & (self.ring - 1));
        let pads = self.held > 0 && to_end < 16 + self.held + self.padding;
        let padding = if pads { self.padding } else { 0 };
        self.in_use() + 16 + padding <= self.ring
    }

    /// Offset of the next `size` bytes, behind padding if the end of the ring is too near.
    #[inline]
    fn place(&mut self, size: u64) -> usize {
        let left = self.ring - (self.written & (self.ring - 1));
        if left < size {
            let pad = Header::control(Kind::Pad, 0, (left - 16) as u32);
            let at = self.offset();
            self.own.store64(at + 8, 0);
            self.own.store64(at, pad.word());
            self.written += left;
        }
        debug_assert!(self.written + size - self.head <= self.ring, "Q1 and Q2 leave room");
        self.offset()
    }

    #[inline]
    fn offset(&self) -> usize {
        RING_AT + (self.written & (self.ring - 1)) as usize
    }

    #[inline]
    fn account(&mut self, header: &Header, size: u64) {
        self.written += size;
        if !header.is_control() {
            self.ungrant(size);
        }
    }
}
