//! The private allocator of an outbox: which segment, and where in it.

mod growth;

use std::collections::BTreeMap;
use std::time::Duration;

use offset_allocator::{Allocation, Allocator};

use crate::error::{OsError, PeerMisbehaved};
use crate::layout::{EXTENT_ALIGN, Geometry, LARGEST_SHARED};
use crate::mem::{ExtentMut, ExtentTable, Range};
use crate::wire::SegmentClass;

use super::Returned;

/// Which half of the arena an extent belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Several extents per segment.
    Small,
    /// One extent per segment.
    Dedicated,
}

impl Region {
    /// What the peer is told of it.
    pub fn class(self) -> SegmentClass {
        match self {
            Self::Small => SegmentClass::Small,
            Self::Dedicated => SegmentClass::Dedicated,
        }
    }
}

/// A segment that would help, to be created without holding a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The region it would belong to.
    pub region: Region,
    /// Its size.
    pub bytes: u32,
    /// The extent that it is for, bytes: a smaller segment will do if the kernel refuses this one.
    pub needs: u32,
}

/// Why an extent cannot be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Create this segment, then try again.
    Grow(Plan),
    /// Wait for returns; younger waiters of this region wait behind.
    Wait(Region),
    /// Wait for a segment: another thread is creating it, or the reader has two to acknowledge first (P4).
    Growing(Region),
}

/// Allocates extents, grows on demand, and knows what is lent. The caller's lock guards it.
pub struct Arena {
    table: ExtentTable,
    segments: BTreeMap<u32, Segment>,
    next_id: u32,
    /// Retired, and the reader not yet told.
    retired: Vec<u32>,
    arena_max: u32,
    max_lent: u32,
    max_segments: u32,
    inline_max: u32,
    /// Bytes of live segments, by region.
    bytes: [u32; 2],
    /// A segment of the region is being created.
    creating: [bool; 2],
    /// What the kernel said when it was last asked for a segment, if that was a refusal.
    refusal: Option<OsError>,
    /// The kernel is not asked again before this time; `None` if it may be asked now.
    ask_again: Option<Duration>,
    refusals: u64,
    /// Segments that the reader has not acknowledged.
    unacknowledged: u32,
    /// Extents Held or Lent, and segments not acknowledged (P2).
    out: u32,
    lent: u32,
    high_water: u32,
}

struct Segment {
    region: Region,
    bytes: u32,
    /// `None` for a dedicated segment.
    space: Option<Allocator>,
    /// Allocations by offset.
    used: BTreeMap<u32, Option<Allocation>>,
    acknowledged: bool,
    /// Its announcement is on the socket.
    live: bool,
    /// An extent of it was held since the last sweep.
    touched: bool,
}

impl Arena {
    /// An empty arena for the outbox that writes direction `geometry`.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            table: ExtentTable::default(),
            segments: BTreeMap::new(),
            next_id: 1,
            retired: Vec::new(),
            arena_max: geometry.arena_max,
            max_lent: geometry.max_lent,
            max_segments: geometry.max_segments(),
            inline_max: geometry.inline_max,
            bytes: [0; 2],
            creating: [false; 2],
            refusal: None,
            ask_again: None,
            refusals: 0,
            unacknowledged: 0,
            out: 0,
            lent: 0,
            high_water: 0,
        }
    }

    /// Free → Held: `len` bytes, 64-byte aligned, or what to do about the lack of them.
    pub fn hold(&mut self, len: u32) -> Result<ExtentMut, Shortage> {
        let region = self.region_of(len);
        if self.out >= self.max_lent {
            return Err(Shortage::Wait(region));
        }
        let found = match self.find(len, region) {
            // A whole segment for a small extent is the last resort.
            None if region == Region::Small && !self.may_grow_small(len) => {
                self.find(len, Region::Dedicated)
            }
            found => found,
        };
        match found {
            Some(range) => {
                self.out += 1;
                Ok(self.table.hold(range))
            }
            None => Err(self.shortage(len, region)),
        }
    }

    /// Held → Lent. Returns the id to publish, and the place.
    pub fn lend(&mut self, extent: ExtentMut) -> (u32, Range) {
        self.lent += 1;
        self.table.lend(extent)
    }

    /// Held → Free.
    pub fn release(&mut self, extent: ExtentMut) {
        let range = self.table.release(extent);
        self.free(range);
    }

    /// What the peer handed back.
    ///
    /// # Errors
    /// [`PeerMisbehaved::ReturnedUnlent`] for an extent that is not lent, or a segment that needs no
    /// acknowledgement.
    pub fn returned(&mut self, entry: Returned) -> Result<(), PeerMisbehaved> {
        match entry {
            Returned::Extent(id) => {
                let range = self.table.give_back(id)?;
                self.lent -= 1;
                self.free(range);
            }
            Returned::Segment(id) => {
                // The peer may be faster than the thread that has put the announcement on the socket.
                let waits = |id| self.segments.get(&id).is_some_and(|s| !s.acknowledged);
                let id = id.parse(|id| waits(id).then_some(id), PeerMisbehaved::ReturnedUnlent)?;
                if let Some(segment) = self.segments.get_mut(&id) {
                    segment.acknowledged = true;
                }
                self.out -= 1;
                self.unacknowledged -= 1;
            }
        }
        Ok(())
    }

    /// Extents lent to the peer.
    pub fn lent(&self) -> u32 {
        self.lent
    }

    /// What the peer may return at most: extents lent and segments to acknowledge.
    pub fn returnable(&self) -> u32 {
        self.out
    }

    /// The most bytes of segments that were live at one time.
    pub fn high_water(&self) -> u32 {
        self.high_water
    }

    /// Bytes of live segments.
    pub fn mapped(&self) -> u32 {
        self.bytes.iter().sum()
    }

    /// Where an extent of that length belongs.
    pub fn region_of(&self, len: u32) -> Region {
        if len <= LARGEST_SHARED { Region::Small } else { Region::Dedicated }
    }

    /// A free range in the live segments of a region, the youngest segment first: what was used last
    /// is warm.
    fn find(&mut self, len: u32, region: Region) -> Option<Range> {
        let candidates =
            self.segments.iter_mut().rev().filter(|(_, s)| s.live && s.region == region);
        for (&id, segment) in candidates {
            if let Some(offset) = segment.allocate(len) {
                return Some(Range { segment: id, offset, len });
            }
        }
        None
    }

    /// Whether there is no segment.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    fn free(&mut self, range: Range) {
        self.out -= 1;
        if let Some(segment) = self.segments.get_mut(&range.segment) {
            segment.free(range.offset);
        }
    }
}

impl Segment {
    /// Nothing of it is in use, and the reader has acknowledged it.
    fn is_idle(&self) -> bool {
        self.live && self.acknowledged && self.used.is_empty()
    }

    fn allocate(&mut self, len: u32) -> Option<u32> {
        let allocation = match &mut self.space {
            Some(space) => Some(space.allocate(units(len))?),
            None if self.used.is_empty() && len <= self.bytes => None,
            None => return None,
        };
        let offset = allocation.map_or(0, |a| a.offset * EXTENT_ALIGN);
        self.touched = true;
        self.used.insert(offset, allocation);
        Some(offset)
    }

    fn free(&mut self, offset: u32) {
        if let (Some(Some(allocation)), Some(space)) = (self.used.remove(&offset), &mut self.space)
        {
            space.free(allocation);
        }
    }
}

/// What an extent takes, in units of the allocator, whose bins are eight sizes to each power of two.
/// With one of these, what is freed lies in the bin where the next extent of that length is looked for.
fn units(len: u32) -> u32 {
    let units = len.div_ceil(EXTENT_ALIGN).max(1);
    units.next_multiple_of(1 << units.ilog2().saturating_sub(3))
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena")
            .field("segments", &self.segments.len())
            .field("mapped", &self.mapped())
            .field("out", &self.out)
            .field("lent", &self.lent)
            .finish()
    }
}
