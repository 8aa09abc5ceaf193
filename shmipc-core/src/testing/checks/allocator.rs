//! The allocator: what it hands out is free, aligned and inside; what comes back is what was lent.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::error::PeerMisbehaved;
use crate::layout::{FIRST_DEDICATED, Geometry, LARGEST_SHARED};
use crate::mem::{self, ExtentMut, Raw};
use crate::pool::{Arena, Plan, Region, Returned, Shortage};
use crate::testing::{Script, small_limits, symmetric};

/// An arena, and what is out of it, by address.
struct Model {
    arena: Arena,
    geometry: Geometry,
    held: Vec<ExtentMut>,
    lent: Vec<(u32, Range<usize>)>,
    /// Ids that came back.
    old: Vec<u32>,
    segments: Vec<(u32, Plan)>,
}

fn place(extent: &ExtentMut) -> Range<usize> {
    let start = extent.as_ptr() as usize;
    start..start + extent.len()
}

impl Model {
    fn new(inline_max: u32) -> Self {
        let geometry = Geometry { inline_max, ..symmetric(&small_limits()) };
        let (held, lent, old, segments) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { arena: Arena::new(&geometry), geometry, held, lent, old, segments }
    }

    /// Holds an extent, growing if need be. `None` if there is no room.
    fn hold(&mut self, len: u32) -> Option<ExtentMut> {
        loop {
            match self.arena.hold(len) {
                Ok(extent) => return Some(extent),
                Err(Shortage::Grow(plan)) => self.grow(plan),
                Err(Shortage::Wait(_) | Shortage::Growing(_)) => return None,
            }
        }
    }

    fn grow(&mut self, plan: Plan) {
        let (segment, _) = mem::create_arena(c"shmipc-test", plan.bytes as usize).unwrap();
        self.arena.begin(plan);
        let id = self.arena.add(plan, segment);
        self.arena.announced(id);
        self.arena.returned(Returned::Segment(Raw::new(id))).unwrap();
        let twice = self.arena.returned(Returned::Segment(Raw::new(id)));
        assert_eq!(twice, Err(PeerMisbehaved::ReturnedUnlent));
        self.segments.push((id, plan));
        let mapped: u32 = self.segments.iter().map(|(_, plan)| plan.bytes).sum();
        assert!(mapped == self.arena.mapped() && mapped <= self.geometry.arena_max);
    }

    fn act(&mut self, script: &Script) {
        let byte = script.byte();
        match byte % 8 {
            0..=2 => {
                let len = match script.byte() {
                    byte @ 0..=99 => 1 + 64 * u32::from(byte),
                    100..=239 => 1 + script.below(16_384) as u32,
                    byte => (u32::from(byte) - 238) * 60_000,
                };
                let Some(extent) = self.hold(len) else { return };
                assert_eq!(extent.len(), len as usize);
                let new = place(&extent);
                assert!(new.start % 64 == 0);
                let lent = self.lent.iter().map(|(_, place)| place.clone());
                for other in self.held.iter().map(place).chain(lent) {
                    assert!(new.end <= other.start || other.end <= new.start, "they overlap");
                }
                self.held.push(extent);
            }
            3 | 4 if !self.held.is_empty() => {
                let extent = self.held.swap_remove(script.below(self.held.len()));
                let place = place(&extent);
                let (id, range) = self.arena.lend(extent);
                let (_, plan) = self.segments.iter().find(|(id, _)| *id == range.segment).unwrap();
                assert!(range.offset + range.len <= plan.bytes && range.offset % 64 == 0);
                assert_eq!(range.len as usize, place.len());
                self.lent.push((id, place));
            }
            5 if !self.held.is_empty() => {
                let extent = self.held.swap_remove(script.below(self.held.len()));
                self.arena.release(extent);
            }
            6 if !self.lent.is_empty() => {
                let (id, _) = self.lent.swap_remove(script.below(self.lent.len()));
                self.arena.returned(Returned::Extent(Raw::new(id))).unwrap();
                self.old.push(id);
            }
            _ => self.forge(script),
        }
        assert_eq!(self.arena.lent() as usize, self.lent.len());
        assert_eq!(self.arena.returnable() as usize, self.lent.len() + self.held.len());
        assert!(self.arena.returnable() <= self.geometry.max_lent);
    }

    /// Returns what is not lent: an id from before, of what is held, or any.
    fn forge(&mut self, script: &Script) {
        let id = match script.byte() {
            byte @ 0..=99 => self.old.get(usize::from(byte) % self.old.len().max(1)).copied(),
            byte @ 100..=199 => Some(u32::from(byte) - 100),
            _ => Some(script.word() as u32),
        };
        let Some(id) = id.filter(|id| self.lent.iter().all(|(lent, _)| lent != id)) else { return };
        for forged in [Returned::Extent(Raw::new(id)), Returned::Segment(Raw::new(id))] {
            assert_eq!(self.arena.returned(forged), Err(PeerMisbehaved::ReturnedUnlent));
        }
    }

    /// Frees everything, and sees that the first segment is one piece again.
    fn free_all(&mut self) {
        for extent in self.held.drain(..) {
            self.arena.release(extent);
        }
        for (id, _) in self.lent.drain(..) {
            self.arena.returned(Returned::Extent(Raw::new(id))).unwrap();
        }
        assert_eq!(self.arena.returnable(), 0);
        let small = self.segments.iter().filter(|s| s.1.region == Region::Small);
        let pieces: u32 = small.map(|s| s.1.bytes / LARGEST_SHARED).sum();
        let pieces: Vec<_> = (0..pieces)
            .map(|_| self.arena.hold(LARGEST_SHARED).expect("what was freed is whole again"))
            .collect();
        pieces.into_iter().for_each(|piece| self.arena.release(piece));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn extents_never_overlap(script in vec(any::<u8>(), 0..4000), tiny in any::<bool>()) {
        let mut model = Model::new(if tiny { 0 } else { 240 });
        let script = Script::new(&script);
        while !script.is_over() {
            model.act(&script);
        }
        model.free_all();
    }
}

#[test]
fn what_was_freed_last_is_used_first() {
    for len in [300, 1024, 4097, 5000, 9999, 49_152, 80_000] {
        let mut model = Model::new(240);
        let mut extents: Vec<_> = (0..5).map(|_| model.hold(len).unwrap()).collect();
        // Neighbours are in use, so that nothing merges.
        let (third, first) = (place(&extents[3]), place(&extents[1]));
        let (c, a) = (extents.remove(3), extents.remove(1));
        model.arena.release(a);
        model.arena.release(c);
        let again = [model.hold(len).unwrap(), model.hold(len).unwrap()];
        assert_eq!(again.each_ref().map(place), [third, first], "{len} bytes");
    }
}

#[test]
fn the_cap_holds() {
    let mut model = Model::new(240);
    let extents: Vec<_> = std::iter::from_fn(|| model.hold(64)).collect();
    assert_eq!(extents.len() as u32, model.geometry.max_lent);
    assert_eq!(model.arena.hold(64).err(), Some(Shortage::Wait(Region::Small)));
    assert_eq!(model.arena.hold(FIRST_DEDICATED).err(), Some(Shortage::Wait(Region::Dedicated)));
    let mut extents = extents.into_iter();
    model.arena.release(extents.next().unwrap());
    assert!(model.hold(64).is_some());
}

#[test]
fn a_full_small_region_falls_back_to_the_dedicated_one() {
    let mut model = Model::new(240);
    let piece = LARGEST_SHARED;
    let extents: Vec<_> = std::iter::from_fn(|| model.hold(piece)).collect();
    let regions: Vec<_> =
        model.segments.iter().map(|(_, plan)| (plan.region, plan.bytes)).collect();
    let dedicated = (Region::Dedicated, FIRST_DEDICATED);
    assert_eq!(
        regions,
        [
            (Region::Small, 4 * piece),
            (Region::Small, 2 * piece),
            (Region::Small, piece),
            dedicated,
            dedicated,
            dedicated,
            dedicated
        ]
    );
    assert_eq!(extents.len(), 4 + 2 + 1 + 4);
}

#[test]
fn what_is_idle_is_retired_and_what_is_used_stays() {
    let mut model = Model::new(240);
    let (kept, freed) = (model.hold(64).unwrap(), model.hold(FIRST_DEDICATED).unwrap());
    model.arena.release(freed);
    let mapped = model.arena.mapped();
    model.arena.sweep();
    assert!(model.arena.take_retired().is_empty(), "it was in use a moment ago");
    model.arena.sweep();
    assert_eq!(model.arena.take_retired(), [model.segments[1].0]);
    assert_eq!(model.arena.mapped(), mapped - FIRST_DEDICATED);
    assert!(!model.arena.is_empty(), "the other one is in use");
    model.arena.release(kept);
    model.arena.sweep();
    assert_eq!(model.arena.take_retired(), [model.segments[0].0]);
    assert_eq!(model.arena.mapped(), 0);
}

#[test]
fn what_is_not_acknowledged_is_never_retired() {
    let mut model = Model::new(240);
    let Err(Shortage::Grow(plan)) = model.arena.hold(64) else { panic!("a fresh arena is empty") };
    let (segment, _) = mem::create_arena(c"shmipc-test", plan.bytes as usize).unwrap();
    model.arena.begin(plan);
    let id = model.arena.add(plan, segment);
    model.arena.announced(id);
    model.arena.sweep();
    model.arena.sweep();
    assert!(!model.arena.is_empty() && model.arena.take_retired().is_empty());
    model.arena.returned(Returned::Segment(Raw::new(id))).unwrap();
    model.arena.sweep();
    assert_eq!(model.arena.take_retired(), [id]);
}
