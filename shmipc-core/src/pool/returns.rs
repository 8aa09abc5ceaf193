//! The return queue: ids of extents that a reader hands back to their owner.

use crate::error::PeerMisbehaved;
use crate::layout::{Geometry, RETURNED_AT, returns_at};
use crate::mem::{Memory, MemoryMut, Raw};

/// Set in an entry that acknowledges a segment instead of returning an extent.
const ACK: u32 = 1 << 31;

/// One entry, not yet checked against the extent table.
#[derive(Clone, Copy, Debug)]
pub enum Returned {
    /// An extent is handed back.
    Extent(Raw<u32>),
    /// A segment has been mapped.
    Segment(Raw<u32>),
}

/// Writes returns into our outbox. The caller's lock makes it the only writer.
#[derive(Debug)]
pub struct ReturnWriter<O> {
    own: O,
    at: usize,
    places: u64,
    written: u64,
}

impl<O: MemoryMut> ReturnWriter<O> {
    /// The writer of the returns in outbox `own`, which writes direction `out` and reads `incoming`.
    pub fn new(own: O, out: &Geometry, incoming: &Geometry) -> Self {
        let (at, places) = (returns_at(out.ring_bytes), u64::from(incoming.max_lent));
        Self { own, at, places, written: 0 }
    }

    /// Hands an extent back and publishes it. Returns the new position of the cursor.
    pub fn extent(&mut self, id: u32) -> u64 {
        self.push(id & !ACK)
    }

    /// Acknowledges a segment and publishes it. Returns the new position of the cursor.
    pub fn segment(&mut self, id: u32) -> u64 {
        self.push(id | ACK)
    }

    /// There is always a place: the peer is refused before it lends more than there are (P2).
    fn push(&mut self, entry: u32) -> u64 {
        let place = (self.written & (self.places - 1)) as usize;
        self.own.store32(self.at + 4 * place, entry);
        self.written += 1;
        self.own.publish64(RETURNED_AT, self.written);
        self.written
    }
}

/// Reads the returns that the peer wrote. The caller's lock makes it the only reader.
#[derive(Debug)]
pub struct ReturnReader<P> {
    peer: P,
    at: usize,
    places: u64,
    read: u64,
    cursor: u64,
}

impl<P: Memory> ReturnReader<P> {
    /// The reader of the returns in outbox `peer`, which writes `incoming` and hands back what we
    /// lent in direction `out`.
    pub fn new(peer: P, out: &Geometry, incoming: &Geometry) -> Self {
        let (at, places) = (returns_at(incoming.ring_bytes), u64::from(out.max_lent));
        Self { peer, at, places, read: 0, cursor: 0 }
    }

    /// Loads the cursor; `lent` is what could have been returned. Gives the cursor.
    ///
    /// # Errors
    /// [`PeerMisbehaved::ReturnedJumped`] if it ran backwards or past what was lent.
    pub fn load(&mut self, lent: u32) -> Result<u64, PeerMisbehaved> {
        let raw = Raw::new(self.peer.load64(RETURNED_AT));
        // Pairs with the Release store in `ReturnWriter::push`.
        self.peer.fence_acquire();
        let possible = self.cursor..=self.read.saturating_add(u64::from(lent));
        let check = |cursor: u64| possible.contains(&cursor).then_some(cursor);
        self.cursor = raw.parse(check, PeerMisbehaved::ReturnedJumped)?;
        Ok(self.cursor)
    }

    /// The next entry before the loaded cursor.
    pub fn next_entry(&mut self) -> Option<Returned> {
        if self.read == self.cursor {
            return None;
        }
        let place = (self.read & (self.places - 1)) as usize;
        let entry = self.peer.load32(self.at + 4 * place);
        self.read += 1;
        let id = Raw::new(entry & !ACK);
        Some(if entry & ACK == 0 { Returned::Extent(id) } else { Returned::Segment(id) })
    }

    /// True if the peer has returned something that was not loaded yet. Only a hint.
    pub fn has_news(&self) -> bool {
        Raw::new(self.peer.load64(RETURNED_AT)) != self.cursor
    }

    /// The cursor as last loaded.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }
}
