//! Extents: ranges of arena segments, and the table that is the authority on who has them.
//!
//! An extent is Free, Held (a writer of this process fills it), or Lent (the peer may read it). The
//! table is private memory, so nothing the peer writes can make two parties use the same bytes.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::memfd::ArenaSegment;
use super::{Memory, OwnMapping, PeerMapping, PeerTrust, Raw};
use crate::error::PeerMisbehaved;

/// A range of a segment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The segment.
    pub segment: u32,
    /// Where it starts.
    pub offset: u32,
    /// How long it is.
    pub len: u32,
}

/// All extents of an outbox that are Held or Lent.
#[derive(Debug, Default)]
pub struct ExtentTable {
    segments: BTreeMap<u32, Segment>,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Segment {
    mapping: Arc<OwnMapping>,
    /// Ranges in use: start to end.
    used: BTreeMap<u32, u32>,
}

#[derive(Debug)]
enum Slot {
    Free,
    Held(Range),
    Lent(Range),
}

impl ExtentTable {
    /// Adds a segment.
    pub fn add_segment(&mut self, id: u32, segment: ArenaSegment) {
        let segment = Segment { mapping: segment.mapping, used: BTreeMap::new() };
        let before = self.segments.insert(id, segment);
        assert!(before.is_none(), "segment ids are never reused");
    }

    /// Removes a segment of which no byte is in use; false otherwise.
    pub fn remove_segment(&mut self, id: u32) -> bool {
        let unused = self.segments.get(&id).is_some_and(|segment| segment.used.is_empty());
        unused && self.segments.remove(&id).is_some()
    }

    /// Free → Held. `range` is what the allocator says is free.
    ///
    /// # Panics
    /// If the range is not free after all or lies outside of its segment: a bug of the allocator.
    pub fn hold(&mut self, range: Range) -> ExtentMut {
        let Range { segment: number, offset, len } = range;
        let segment = self.segments.get_mut(&number).expect("the allocator names live segments");
        let end = offset.checked_add(len).expect("ranges end within their segment");
        assert!(
            len > 0 && end as usize <= segment.mapping.size(),
            "ranges end within their segment"
        );
        let below = segment.used.range(..end).next_back();
        assert!(below.is_none_or(|(_, &below_end)| below_end <= offset), "ranges never overlap");
        segment.used.insert(offset, end);
        let mapping = Arc::clone(&segment.mapping);
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            (self.slots.len() - 1) as u32
        });
        self.slots[id as usize] = Slot::Held(range);
        ExtentMut { mapping, offset: offset as usize, len: len as usize, id }
    }

    /// Held → Lent. Returns the id by which the peer will hand it back, and its place.
    ///
    /// # Panics
    /// If the extent belongs to another table.
    pub fn lend(&mut self, extent: ExtentMut) -> (u32, Range) {
        let range = self.range_of(&extent);
        self.slots[extent.id as usize] = Slot::Lent(range);
        (extent.id, range)
    }

    /// Held → Free. Returns the range for the allocator.
    ///
    /// # Panics
    /// If the extent belongs to another table.
    pub fn release(&mut self, extent: ExtentMut) -> Range {
        let range = self.range_of(&extent);
        self.vacate(extent.id, range);
        range
    }

    /// Lent → Free, by the peer's word.
    ///
    /// # Errors
    /// [`PeerMisbehaved::ReturnedUnlent`] if that extent is not lent.
    pub fn give_back(&mut self, id: Raw<u32>) -> Result<Range, PeerMisbehaved> {
        let lent = |id: u32| match self.slots.get(id as usize) {
            Some(Slot::Lent(range)) => Some((id, *range)),
            _ => None,
        };
        let (id, range) = id.parse(lent, PeerMisbehaved::ReturnedUnlent)?;
        self.vacate(id, range);
        Ok(range)
    }

    /// The range of a Held extent.
    ///
    /// # Panics
    /// If it belongs to another table (M5 would not hold for the one of ours with the same id).
    fn range_of(&self, extent: &ExtentMut) -> Range {
        let Some(&Slot::Held(range)) = self.slots.get(extent.id as usize) else {
            panic!("an extent of another table")
        };
        let segment = self.segments.get(&range.segment);
        let ours = segment.is_some_and(|s| Arc::ptr_eq(&s.mapping, &extent.mapping));
        assert!(ours, "an extent of another table");
        range
    }

    fn vacate(&mut self, id: u32, range: Range) {
        self.slots[id as usize] = Slot::Free;
        self.free.push(id);
        if let Some(segment) = self.segments.get_mut(&range.segment) {
            segment.used.remove(&range.offset);
        }
    }
}

/// A Held extent: bytes of our outbox that nobody else uses yet. Dropping it without giving it back to
/// its table only keeps the bytes from being used again.
pub struct ExtentMut {
    mapping: Arc<OwnMapping>,
    offset: usize,
    len: usize,
    id: u32,
}

impl Deref for ExtentMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.mapping.assert_here();
        let start = self.mapping.range_ptr(self.offset, self.len);
        // SAFETY: M1 and M4; M5: until the extent is lent or released, which consumes `self`, only
        // this value touches the bytes. M2: the peer's process cannot write them.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

impl DerefMut for ExtentMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.mapping.assert_here();
        let start = self.mapping.range_ptr(self.offset, self.len);
        // SAFETY: as for `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

impl std::fmt::Debug for ExtentMut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtentMut").field("id", &self.id).field("len", &self.len).finish()
    }
}

/// Bytes of the peer's arena that it has lent to us.
#[derive(Clone)]
pub struct LentBytes {
    mapping: Arc<PeerMapping>,
    // Half the size of a `usize`: inboxes are full of these. A segment is no larger.
    offset: u32,
    len: u32,
}

impl LentBytes {
    /// `len` bytes at `offset`; `None` if they do not lie inside of the mapping.
    pub fn new(mapping: Arc<PeerMapping>, offset: u64, len: u32) -> Option<Self> {
        let offset = u32::try_from(offset).ok()?;
        let fits = offset.checked_add(len)? as usize <= mapping.size();
        fits.then_some(Self { mapping, offset, len })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies bytes out, from `at` on.
    ///
    /// # Panics
    /// If `at + out.len()` exceeds the length.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        let len = self.len();
        assert!(at <= len && out.len() <= len - at, "read past the end of a message");
        self.mapping.assert_here();
        self.mapping.read(self.offset as usize + at, out);
    }

    /// Copies everything out.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.append_to(&mut out);
        out
    }

    /// Copies everything out, behind what `out` holds.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        self.mapping.assert_here();
        self.mapping.append_to(self.offset as usize, self.len(), out);
    }

    /// The bytes where they lie, by the application's promise.
    pub(crate) fn as_slice(&self, _promise: PeerTrust) -> &[u8] {
        self.mapping.assert_here();
        let start = self.mapping.range_ptr(self.offset as usize, self.len());
        // SAFETY: M1 and M4; M6: the token shows the promise that the peer leaves the bytes alone
        // until the extent is returned, which the owner of this value does last.
        unsafe { std::slice::from_raw_parts(start, self.len()) }
    }
}

impl std::fmt::Debug for LentBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LentBytes").field("len", &self.len).finish()
    }
}
