//! Segments: created on demand, retired when they are in the way or idle.

use std::collections::BTreeMap;
use std::time::Duration;

use offset_allocator::Allocator;

use crate::error::OsError;
use crate::layout::{EXTENT_ALIGN, FIRST_DEDICATED, FIRST_SEGMENT, LARGEST_SHARED};
use crate::mem::ArenaSegment;

use super::{Arena, Plan, Region, Segment, Shortage, units};

/// How long the kernel is left alone after it has refused a segment: short for the caller, long for a kernel
/// that has to clear pages before it finds that there are too few.
const PAUSE: Duration = Duration::from_millis(50);
/// Most segments that the reader has not acknowledged when another one is created (P4).
const UNACKNOWLEDGED: u32 = 2;
/// Extents of the length asked for that a new segment has room for, unless memory is short.
const EXTENTS: u32 = 4;
/// A dedicated segment that is smaller than usual has a multiple of this size: that of the largest page.
const PAGE: u32 = 64 << 10;

impl Arena {
    /// Reserves the right to create the segment of `plan`; others wait until it is there or given up.
    pub fn begin(&mut self, plan: Plan) {
        self.creating[plan.region as usize] = true;
    }

    /// The next segment of an arena that is to be there as a whole: then none will be created, nor retired to make
    /// room, however large the messages are. `None` once it is there.
    pub fn next_of_whole(&self, max_message: u32) -> Option<Plan> {
        if !self.may_grow() {
            return None;
        }
        if let Some(bytes) = self.next_small(LARGEST_SHARED) {
            return Some(Plan { region: Region::Small, bytes, needs: LARGEST_SHARED });
        }
        let bytes = max_message.next_power_of_two().max(FIRST_DEDICATED);
        let fits = bytes <= self.room(Region::Dedicated);
        fits.then_some(Plan { region: Region::Dedicated, bytes, needs: max_message })
    }

    /// Adds the created segment, not yet allocatable, and returns its id.
    pub fn add(&mut self, plan: Plan, memory: ArenaSegment) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.table.add_segment(id, memory);
        let space = (plan.region == Region::Small).then(|| {
            // Each extent can leave a free fragment beside it.
            let extents = plan.bytes / self.inline_max.max(512) * 2 + 64;
            Allocator::with_max_allocs(plan.bytes / EXTENT_ALIGN, extents)
        });
        let used = BTreeMap::new();
        let segment = Segment {
            region: plan.region,
            bytes: plan.bytes,
            space,
            used,
            acknowledged: false,
            live: false,
            touched: true,
        };
        self.segments.insert(id, segment);
        self.bytes[plan.region as usize] += plan.bytes;
        self.out += 1;
        self.unacknowledged += 1;
        (self.refusal, self.ask_again) = (None, None);
        self.high_water = self.high_water.max(self.bytes.iter().sum());
        id
    }

    /// The announcement of segment `id` is on the socket: records may name it.
    pub fn announced(&mut self, id: u32) {
        if let Some(segment) = self.segments.get_mut(&id) {
            segment.live = true;
            self.creating[segment.region as usize] = false;
        }
    }

    /// What to try instead of `plan`, for which the kernel lacks memory: a smaller segment in which the
    /// extent that is asked for finds room all the same.
    pub fn smaller(&self, plan: Plan) -> Option<Plan> {
        let bytes = match plan.region {
            Region::Small => self.next_below(plan.bytes / 2, plan.needs),
            Region::Dedicated => Some(plan.needs.next_multiple_of(PAGE)),
        };
        let bytes = bytes.filter(|bytes| *bytes < plan.bytes);
        bytes.map(|bytes| Plan { bytes, ..plan })
    }

    /// The kernel refused the segment of `plan` at the time `now`. Returns `true` if the reservation can wait
    /// (P5): for what is out, for the time at which the kernel is asked again, or not at all because the
    /// other region has memory.
    pub fn refused(&mut self, plan: Plan, error: OsError, now: Duration) -> bool {
        self.give_up(plan);
        self.refusal = Some(error);
        self.refusals += 1;
        self.ask_again = Some(now.saturating_add(PAUSE));
        let other = plan.region == Region::Small && self.bytes[Region::Dedicated as usize] > 0;
        self.out > 0 || other
    }

    /// What the kernel said when it was last asked for a segment, if that was a refusal.
    pub fn refusal(&self) -> Option<OsError> {
        self.refusal
    }

    /// How often the kernel has refused a segment.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// When the kernel can be asked again for memory, if it is being left alone.
    pub fn asks_again_at(&self) -> Option<Duration> {
        self.ask_again
    }

    /// Ends the pause after a refusal if it is over at the time `now`. Returns `true` if it ended.
    pub fn end_pause(&mut self, now: Duration) -> bool {
        let over = self.ask_again.is_some_and(|at| at <= now);
        if over {
            self.ask_again = None;
        }
        over
    }

    /// The segment of `plan` is not created.
    pub fn give_up(&mut self, plan: Plan) {
        self.creating[plan.region as usize] = false;
    }

    pub(super) fn shortage(&mut self, len: u32, region: Region) -> Shortage {
        let dedicated = len.next_power_of_two().max(FIRST_DEDICATED);
        if !self.creating[Region::Dedicated as usize] && region == Region::Dedicated {
            self.make_room(dedicated);
        }
        if !self.may_grow() {
            return Shortage::Wait(region);
        }
        let grow = |region: Region, bytes: u32| {
            // The acknowledgement is a return, and wakes like one.
            match self.unacknowledged < UNACKNOWLEDGED {
                true => Shortage::Grow(Plan { region, bytes, needs: len }),
                false => Shortage::Growing(region),
            }
        };
        if region == Region::Small {
            if self.creating[Region::Small as usize] {
                return Shortage::Growing(region);
            }
            if let Some(next) = self.next_small(len) {
                return grow(Region::Small, next);
            }
        }
        if self.creating[Region::Dedicated as usize] {
            return Shortage::Growing(region);
        }
        if dedicated <= self.room(Region::Dedicated) {
            return grow(Region::Dedicated, dedicated);
        }
        Shortage::Wait(region)
    }

    /// Whether there may be one more segment, of whatever size. With nothing out, the kernel is asked in any
    /// case: the reservation has nothing to wait for.
    pub(super) fn may_grow(&self) -> bool {
        let full = self.segments.len() >= self.max_segments as usize;
        let in_vain = self.ask_again.is_some() && self.out > 0;
        !full && !in_vain && self.out + 2 <= self.max_lent
    }

    pub(super) fn may_grow_small(&self, len: u32) -> bool {
        let begun = self.creating[Region::Small as usize];
        self.ask_again.is_none() && self.may_grow() && (begun || self.next_small(len).is_some())
    }

    /// Bytes that a region can grow by.
    pub(super) fn room(&self, region: Region) -> u32 {
        self.arena_max / 2 - self.bytes[region as usize]
    }

    /// Retires segments of the dedicated region that are free and too small, if a segment of `bytes`
    /// then has room: only the owner retires, and only what the reader has acknowledged.
    pub(super) fn make_room(&mut self, bytes: u32) {
        let half = self.arena_max / 2;
        let used = self.bytes[Region::Dedicated as usize];
        let crowded = self.segments.len() >= self.max_segments as usize;
        let mut lacking = (used + bytes).saturating_sub(half).max(u32::from(crowded));
        if lacking == 0 {
            return;
        }
        let idle = self.idle(|segment| segment.region == Region::Dedicated);
        if idle.iter().map(|(_, bytes)| bytes).sum::<u32>() < lacking {
            return;
        }
        for (id, bytes) in idle {
            if lacking == 0 {
                break;
            }
            lacking = lacking.saturating_sub(bytes);
            self.retire(id);
        }
    }

    /// Retires what no extent was held of since the last sweep. Ids are in
    /// [`take_retired`](Self::take_retired).
    pub fn sweep(&mut self) {
        for (id, _) in self.idle(|segment| !segment.touched) {
            self.retire(id);
        }
        self.segments.values_mut().for_each(|segment| segment.touched = false);
    }

    /// Segments that could be retired, with their bytes.
    pub(super) fn idle(&self, which: impl Fn(&Segment) -> bool) -> Vec<(u32, u32)> {
        let idle = self.segments.iter().filter(|(_, s)| s.is_idle() && which(s));
        idle.map(|(&id, s)| (id, s.bytes)).collect()
    }

    pub(super) fn retire(&mut self, id: u32) {
        let unused = self.table.remove_segment(id);
        debug_assert!(unused, "allocator and table agree");
        if let Some(segment) = self.segments.remove(&id) {
            self.bytes[segment.region as usize] -= segment.bytes;
        }
        self.retired.push(id);
    }

    /// Segments retired since the last call: the reader is to be told before it hears of another one.
    pub fn take_retired(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.retired)
    }

    /// Size of the next small segment for an extent of `len`: double the largest, and room for a few such
    /// extents; or else the largest that fits and that no other has, since [`sweep`](Self::sweep) may have left
    /// any of them. No two are alike, so they are few.
    pub(super) fn next_small(&self, len: u32) -> Option<u32> {
        let few = (len * EXTENTS).next_power_of_two().max(FIRST_SEGMENT);
        // The reader has not kept up: what is sent until it does is to find room in this one.
        let few = if self.unacknowledged == 0 { few } else { LARGEST_SHARED * EXTENTS };
        let double = self.small().map(|s| s.bytes.saturating_mul(2)).max().unwrap_or(0);
        self.next_below(double.max(few), len)
    }

    /// The largest size up to `most` that fits, that no small segment has, and in which an extent of `len`
    /// finds room.
    fn next_below(&self, most: u32, len: u32) -> Option<u32> {
        let room = self.room(Region::Small);
        let least = (units(len) * EXTENT_ALIGN).next_power_of_two().max(FIRST_SEGMENT);
        std::iter::successors(Some(most), |size| Some(size / 2))
            .take_while(|size| *size >= least)
            .find(|&size| size <= room && self.small().all(|s| s.bytes != size))
    }

    fn small(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values().filter(|segment| segment.region == Region::Small)
    }
}
