//! The arena: what keeps a reservation from waiting for ever, and the peer from having to keep more than
//! was agreed. Each rule with its twin.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::OsError;
use crate::layout::{FIRST_DEDICATED, FIRST_SEGMENT, Geometry, LARGEST_SHARED};
use crate::mem::{self, ExtentMut, Raw};
use crate::pool::{Arena, Plan, Region, Returned, Shortage};
use crate::testing::{small_limits, symmetric};

const ARENA: u32 = 16 << 20;

/// When the owner takes a segment for acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    /// When the reader has mapped it: the rule.
    Mapped,
    /// As soon as it is announced.
    AtOnce,
    /// When an extent of it has been lent and returned.
    Used,
}

/// An arena, its segments, and a reader of its announcements.
struct Owner {
    arena: Arena,
    rule: Acknowledged,
    segments: BTreeMap<u32, Plan>,
    /// Announced and not retired.
    live: BTreeSet<u32>,
    /// Announced or retired, and the reader does not know.
    unread: BTreeSet<u32>,
    acknowledged: BTreeSet<u32>,
    reads: bool,
}

impl Owner {
    fn new(max_message: u32, rule: Acknowledged, reads: bool) -> Self {
        let geometry = Geometry { arena_max: ARENA, max_message, ..symmetric(&small_limits()) };
        Self {
            arena: Arena::new(&geometry),
            rule,
            segments: BTreeMap::new(),
            live: BTreeSet::new(),
            unread: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            reads,
        }
    }

    /// Holds an extent, growing if need be. `None` if only returns could help.
    fn hold(&mut self, len: u32) -> Option<ExtentMut> {
        loop {
            match self.arena.hold(len) {
                Ok(extent) => return Some(extent),
                Err(Shortage::Grow(plan)) => self.grow(plan),
                Err(_) => return None,
            }
        }
    }

    fn grow(&mut self, plan: Plan) {
        let (segment, _) = mem::create_arena(c"shmipc-test", plan.bytes as usize).unwrap();
        self.arena.begin(plan);
        let id = self.arena.add(plan, segment);
        self.tell_retired();
        self.segments.insert(id, plan);
        self.live.insert(id);
        self.unread.insert(id);
        self.arena.announced(id);
        if self.reads {
            self.unread.clear();
        }
        if self.rule == Acknowledged::AtOnce || self.rule == Acknowledged::Mapped && self.reads {
            self.acknowledge(id);
        }
    }

    fn tell_retired(&mut self) {
        for retired in self.arena.take_retired() {
            self.live.remove(&retired);
            self.unread.insert(retired);
        }
    }

    /// Retires what is not used.
    fn sweep(&mut self) {
        self.arena.sweep();
        self.arena.sweep();
        self.tell_retired();
    }

    /// Lends extents until they lie in segments of their own.
    fn fill_small(&mut self) -> Vec<Lent> {
        let mut lent = Vec::new();
        loop {
            let extent = self.hold(LARGEST_SHARED).expect("the dedicated region is free");
            let extent = self.lend(extent);
            if self.segments[&extent.segment].region == Region::Dedicated {
                self.returned(&extent);
                return lent;
            }
            lent.push(extent);
        }
    }

    fn acknowledge(&mut self, id: u32) {
        if self.acknowledged.insert(id) {
            self.arena.returned(Returned::Segment(Raw::new(id))).unwrap();
        }
    }

    /// Lends an extent; gives its id and where it lies.
    fn lend(&mut self, extent: ExtentMut) -> Lent {
        let (id, range) = self.arena.lend(extent);
        let weight = match self.segments[&range.segment] {
            Plan { region: Region::Dedicated, bytes, .. } => bytes,
            _ => range.len,
        };
        Lent { id, segment: range.segment, offset: range.offset, len: range.len, weight }
    }

    fn returned(&mut self, lent: &Lent) {
        self.arena.returned(Returned::Extent(Raw::new(lent.id))).unwrap();
        if self.rule == Acknowledged::Used {
            self.acknowledge(lent.segment);
        }
    }

    /// Bytes that stay allocated because of announcements: segments that are live, and those retired
    /// of which the reader has not heard.
    fn pinned(&self) -> u32 {
        self.live.union(&self.unread).map(|id| self.segments[id].bytes).sum()
    }
}

struct Lent {
    id: u32,
    segment: u32,
    offset: u32,
    len: u32,
    /// What it keeps occupied: of a dedicated segment all.
    weight: u32,
}

// --- the largest message beside guards -------------------------------------------------------------

/// Whether the largest message finds room whatever guards the application keeps: it may keep messages,
/// of these lengths in any order, while those it has weigh less than a quarter of the arena.
fn largest_finds_room(max_message: u32, weight: fn(&Lent) -> u32) -> bool {
    let lengths = [600 << 10, FIRST_DEDICATED + 1, max_message];
    (0..3u32.pow(5)).all(|order| {
        let mut owner = Owner::new(max_message, Acknowledged::Mapped, true);
        let (mut order, mut kept) = (order, 0);
        loop {
            let Some(extent) = owner.hold(lengths[order as usize % 3]) else { return false };
            let lent = owner.lend(extent);
            if kept >= ARENA / 4 {
                // Delivered as a copy.
                owner.returned(&lent);
                break;
            }
            kept += weight(&lent);
            order /= 3;
        }
        owner.hold(max_message).is_some()
    })
}

#[test]
fn the_largest_message_finds_room_beside_guards() {
    assert!(largest_finds_room(ARENA / 8, |lent| lent.weight));
}

#[test]
fn a_message_of_a_quarter_of_the_arena_would_not() {
    assert!(!largest_finds_room(ARENA / 4, |lent| lent.weight));
}

#[test]
fn nor_would_it_if_a_guard_counted_as_its_length() {
    assert!(!largest_finds_room(ARENA / 8, |lent| lent.len));
}

/// Whether a tiny message finds a place when the application keeps as many as it may.
fn tiny_finds_a_place(may_keep: fn(bytes: u32, count: u32) -> bool) -> bool {
    let mut owner = Owner::new(ARENA / 8, Acknowledged::Mapped, true);
    let (mut bytes, mut count) = (0, 0);
    while may_keep(bytes, count) {
        let Some(extent) = owner.hold(64) else { return false };
        bytes += owner.lend(extent).weight;
        count += 1;
    }
    owner.hold(64).is_some()
}

#[test]
fn guards_are_bounded_in_bytes_and_in_number() {
    let max_lent = small_limits().max_lent;
    assert!(
        max_lent == 256 && tiny_finds_a_place(|bytes, count| bytes < ARENA / 4 && count < 256 / 4)
    );
    assert!(!tiny_finds_a_place(|bytes, _| bytes < ARENA / 4), "tiny ones would stop the sender");
}

// --- a small message in a fragmented region --------------------------------------------------------

/// Whether a small message finds room when guards of a few small ones leave no hole that is large enough.
fn small_finds_room(dedicated_is_free: bool) -> bool {
    let mut owner = Owner::new(ARENA / 8, Acknowledged::Mapped, true);
    let (piece, largest) = (64 << 10, LARGEST_SHARED);
    let taken: Vec<_> = match dedicated_is_free {
        true => Vec::new(),
        false => std::iter::from_fn(|| owner.hold(FIRST_DEDICATED)).collect(),
    };
    let mut lent = Vec::new();
    while let Some(extent) = owner.hold(piece) {
        let extent = owner.lend(extent);
        if owner.segments[&extent.segment].region == Region::Dedicated {
            owner.returned(&extent);
            break;
        }
        lent.push(extent);
    }
    let (kept, returned): (Vec<_>, Vec<_>) =
        lent.into_iter().partition(|lent| (lent.offset / piece) % (largest / piece) == 0);
    assert!(kept.iter().map(|lent| lent.weight).sum::<u32>() < ARENA / 4, "guards may hold these");
    assert!(!returned.is_empty());
    returned.iter().for_each(|lent| owner.returned(lent));
    let served = owner.hold(largest).is_some();
    drop(taken);
    served
}

#[test]
fn a_small_message_that_is_fragmented_out_finds_room_in_the_dedicated_region() {
    assert!(small_finds_room(true));
}

#[test]
fn without_that_way_it_would_wait_for_ever() {
    assert!(!small_finds_room(false));
}

/// A whole segment for a small message is the last resort: when its own region cannot grow, be it that
/// the kernel refuses.
#[test]
fn a_small_message_takes_a_whole_segment_only_for_want_of_another() {
    let mut owner = Owner::new(ARENA / 8, Acknowledged::Mapped, true);
    let small = LARGEST_SHARED;
    let cancelled = owner.hold(FIRST_DEDICATED).unwrap();
    owner.arena.release(cancelled);
    let Err(Shortage::Grow(plan)) = owner.arena.hold(small) else { panic!("it may grow") };
    assert_eq!(plan.region, Region::Small);
    owner.arena.begin(plan);
    assert!(owner.arena.refused(plan, REFUSAL, Duration::ZERO), "there is the other region");
    // Nothing is to come back: the kernel is asked for more than there is.
    assert!(matches!(owner.arena.hold(ARENA / 8), Err(Shortage::Grow(_))));
    let extent = owner.arena.hold(small).unwrap();
    let lent = owner.lend(extent);
    assert_eq!(owner.segments[&lent.segment].region, Region::Dedicated);
    assert!(matches!(owner.arena.hold(ARENA / 8), Err(Shortage::Wait(_))), "now something is");
    owner.returned(&lent);
    assert!(owner.arena.end_pause(Duration::from_secs(1)));
    let extent = owner.hold(small).unwrap();
    let lent = owner.lend(extent);
    assert_eq!(owner.segments[&lent.segment].region, Region::Small);
}

const REFUSAL: OsError = OsError { call: "memfd_create", code: nix::libc::EMFILE };

/// With something out the kernel is left alone until the pause is over, whatever comes back; then it is asked
/// again, whether anything has come back or not.
#[test]
fn the_kernel_is_asked_again_when_the_pause_after_a_refusal_is_over() {
    let mut owner = Owner::new(ARENA / 8, Acknowledged::Mapped, true);
    let (first, second) = (owner.hold(LARGEST_SHARED).unwrap(), owner.hold(64).unwrap());
    let Err(Shortage::Grow(plan)) = owner.arena.hold(FIRST_DEDICATED) else {
        panic!("it may grow")
    };
    owner.arena.begin(plan);
    assert!(owner.arena.refused(plan, REFUSAL, Duration::ZERO), "something is out");
    assert_eq!(owner.arena.refusal(), Some(REFUSAL));
    let waits = |arena: &mut Arena| arena.hold(FIRST_DEDICATED).err();
    assert_eq!(waits(&mut owner.arena), Some(Shortage::Wait(Region::Dedicated)));
    owner.arena.release(second);
    assert_eq!(waits(&mut owner.arena), Some(Shortage::Wait(Region::Dedicated)));
    let at = owner.arena.asks_again_at().expect("a pause");
    assert!(!owner.arena.end_pause(at - Duration::from_millis(1)));
    assert!(owner.arena.end_pause(at));
    assert_eq!(waits(&mut owner.arena), Some(Shortage::Grow(plan)));
    // What the kernel gives ends the shortage.
    owner.grow(plan);
    assert_eq!((owner.arena.refusal(), owner.arena.refusals()), (None, 1));
    owner.arena.release(first);
}

/// The kernel lacks memory for a segment of the usual size: smaller ones will do, down to what is asked for.
#[test]
fn smaller_segments_are_tried_when_memory_is_short() {
    let owner = Owner::new(ARENA / 8, Acknowledged::Mapped, true);
    let sizes = |plan: Plan| -> Vec<u32> {
        let smaller = |plan: &Plan| owner.arena.smaller(*plan);
        std::iter::successors(Some(plan), smaller).map(|plan| plan.bytes).collect()
    };
    let shared = Plan { region: Region::Small, bytes: 1 << 20, needs: 100_000 };
    assert_eq!(sizes(shared), [1 << 20, 512 << 10, 256 << 10, 128 << 10]);
    let dedicated = Plan { region: Region::Dedicated, bytes: 1 << 20, needs: 600_000 };
    assert_eq!(sizes(dedicated), [1 << 20, 640 << 10]);
}

/// A reader that acknowledges nothing gets two segments, and the second one has room for what is sent until it
/// does.
#[test]
fn at_most_two_segments_are_not_acknowledged() {
    let mut owner = Owner::new(ARENA / 8, Acknowledged::Mapped, false);
    let held: Vec<_> = std::iter::from_fn(|| owner.hold(FIRST_SEGMENT / 4)).collect();
    let sizes: Vec<_> = owner.segments.values().map(|plan| plan.bytes).collect();
    assert_eq!(sizes, [FIRST_SEGMENT, 4 * LARGEST_SHARED]);
    assert!(held.len() > 100);
    let growing = Shortage::Growing(Region::Small);
    assert_eq!(owner.arena.hold(FIRST_SEGMENT / 4).err(), Some(growing), "no plea for memory");
    owner.acknowledge(1);
    assert!(owner.hold(FIRST_SEGMENT / 4).is_some());
}

/// Which segment an idle time leaves is chance. Small messages have as much room after it as before.
#[test]
fn small_messages_have_the_same_room_after_an_idle_time() {
    for survivor in 1..=4 {
        let mut owner = Owner::new(ARENA / 8, Acknowledged::Mapped, true);
        let before = owner.fill_small();
        let (kept, returned): (Vec<_>, Vec<_>) =
            before.iter().partition(|lent| lent.segment == survivor);
        assert!(!kept.is_empty() && !returned.is_empty());
        returned.iter().for_each(|lent| owner.returned(lent));
        owner.sweep();
        assert_eq!(owner.live, BTreeSet::from([survivor]));
        assert_eq!(kept.len() + owner.fill_small().len(), before.len(), "{survivor} has stayed");
    }
}

// --- retiring --------------------------------------------------------------------------------------

/// Reservations that are cancelled leave the dedicated region full of small segments; then a message
/// needs a larger one. Returns whether it is served, and how many bytes are pinned.
fn after_cancelled_reservations(rule: Acknowledged, reads: bool) -> (bool, u32) {
    let mut owner = Owner::new(ARENA / 8, rule, reads);
    let small: Vec<_> = std::iter::from_fn(|| owner.hold(FIRST_DEDICATED)).collect();
    small.into_iter().for_each(|extent| owner.arena.release(extent));
    let unread = rule == Acknowledged::Used || !reads && rule == Acknowledged::Mapped;
    assert_eq!(owner.pinned(), if unread { 2 * FIRST_DEDICATED } else { ARENA / 2 });
    let served = owner.hold(ARENA / 8).is_some();
    (served, owner.pinned())
}

#[test]
fn segments_that_were_never_used_make_way() {
    assert!(after_cancelled_reservations(Acknowledged::Mapped, true).0);
    let weak = after_cancelled_reservations(Acknowledged::Used, true);
    assert!(!weak.0, "they would stay if they had to be used first");
}

#[test]
fn a_reader_that_reads_nothing_pins_no_more_than_the_arena() {
    let pinned = 2 * FIRST_DEDICATED;
    assert_eq!(after_cancelled_reservations(Acknowledged::Mapped, false), (false, pinned));
    let weak = after_cancelled_reservations(Acknowledged::AtOnce, false);
    assert!(weak.1 > ARENA / 2, "retired without an acknowledgement they would pile up");
}
