//! Eviction: what lies unread in the peer's memory is copied to our heap and handed back, so that a
//! stream which nobody reads does not keep the peer from sending on others.
//!
//! # Invariants
//! * **V1** Unread extents are moved, the oldest first, while they exceed half of the arena or of
//!   `max_lent`, and all of them once after the peer's plea for memory. An extent with a segment of
//!   its own counts as that segment.
//! * **V2** Nothing is copied under the lock: one thread at a time takes the oldest extent's place,
//!   copies, and puts the copy where the extent was, unless the application was faster.
//! * **V4** No call copies more than a budget: what is left is done by the next call that drains, or as a chore by
//!   the thread that is about to sleep. An application that reads as fast as its peer sends keeps no call beyond its
//!   deadline.
//! * **V3** The heap for the copies is promised already: session credit counts what is unread,
//!   wherever it lies.

#![deny(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;

use crate::layout::Geometry;
use crate::mem::{LentBytes, Memory, MemoryMut};

use crate::session::Effects;

use super::{Payload, Rx};

/// Places of [`Unread::order`] that stay, so that steady traffic allocates nothing.
const KEPT: usize = 256;

/// What lies unread in the peer's memory, in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// Stream and number of each; may hold some that are gone.
    order: VecDeque<(usize, u64)>,
    /// Numbers given so far.
    next: u64,
    /// Those with smaller numbers are to be moved, however few.
    before: u64,
    weight: u64,
    count: usize,
    /// A thread is at it.
    busy: bool,
    /// One has gone before all was moved: the next call goes on.
    owed: bool,
}

/// The extent to be copied next.
#[derive(Debug)]
pub(crate) struct Victim {
    key: usize,
    number: u64,
    bytes: LentBytes,
}

impl Victim {
    /// The copy. To be made without a lock.
    pub(crate) fn copy(&self) -> Box<[u8]> {
        self.bytes.to_vec().into_boxed_slice()
    }
}

impl Unread {
    /// Gives a number to an extent that is put into the inbox of `key`.
    pub(super) fn add(&mut self, key: usize, weight: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        self.order.push_back((key, number));
        self.weight += u64::from(weight);
        self.count += 1;
        number
    }

    /// An extent has left its inbox.
    pub(super) fn remove(&mut self, weight: u32) {
        self.weight -= u64::from(weight);
        self.count -= 1;
    }

    /// Everything that is unread now is to be moved. True if there is anything.
    pub(super) fn move_all(&mut self) -> bool {
        self.before = self.next;
        self.count > 0
    }

    /// Too much is unread (V1).
    pub(super) fn exceeds(&self, incoming: &Geometry) -> bool {
        self.weight > u64::from(incoming.arena_max / 2)
            || self.count > incoming.max_lent as usize / 2
    }

    /// Forgets the oldest. The room that it leaves is given up when it is most.
    fn pop(&mut self) -> Option<(usize, u64)> {
        let popped = self.order.pop_front();
        if self.order.capacity() > 4 * self.order.len() + KEPT {
            self.order.shrink_to(2 * self.order.len() + KEPT / 2);
        }
        popped
    }

    /// Whether most of `order` is gone.
    fn is_sparse(&self) -> bool {
        self.order.len() > 2 * self.count + 64
    }
}

impl<O: MemoryMut + Clone, P: Memory + Clone> Rx<O, P> {
    /// Whether a call has left extents to be moved.
    pub(crate) fn owes_eviction(&self) -> bool {
        self.unread.owed
    }

    /// Puts a copy in the place of its extent, and leaves the rest to another call (V4).
    pub(crate) fn evict_later(&mut self, victim: &Victim, copy: Box<[u8]>, effects: &mut Effects) {
        self.replace(victim, copy, effects);
        self.unread.busy = false;
        self.unread.owed = true;
    }

    /// Puts a copy in the place of its extent, and gives the next one to copy, if any is to be moved.
    pub(crate) fn evict(
        &mut self,
        copied: Option<(Victim, Box<[u8]>)>,
        effects: &mut Effects,
    ) -> Option<Victim> {
        match copied {
            Some((victim, copy)) => self.replace(&victim, copy, effects),
            None if self.unread.busy => return None,
            None => {}
        }
        let victim = self.victim();
        self.unread.busy = victim.is_some();
        self.unread.owed = false;
        victim
    }

    /// The oldest extent, if it is to be moved.
    fn victim(&mut self) -> Option<Victim> {
        if self.over.is_some() {
            return None;
        }
        while let Some(&(key, number)) = self.unread.order.front() {
            if number >= self.unread.before && !self.unread.exceeds(&self.incoming) {
                return None;
            }
            match self.first_lent(key) {
                Some((_, first, bytes)) if first == number => {
                    return Some(Victim { key, number, bytes });
                }
                _ => self.unread.pop(),
            };
        }
        None
    }

    fn replace(&mut self, victim: &Victim, copy: Box<[u8]>, effects: &mut Effects) {
        let Some(stream) = self.streams.get_mut(victim.key) else { return };
        let Some((index, number, _)) = stream.inbox.first_lent() else { return };
        if number != victim.number {
            return;
        }
        let Some(extent) = stream.inbox.replace(index, copy) else { return };
        if let Payload::Lent { weight, .. } = extent {
            self.unread.remove(weight);
        }
        self.evicted += 1;
        effects.dropped.push(extent);
    }

    /// The first extent in the inbox of a stream: where, its number, its bytes.
    fn first_lent(&mut self, key: usize) -> Option<(usize, u64, LentBytes)> {
        self.streams.get_mut(key)?.inbox.first_lent()
    }

    /// Forgets places of extents that are gone, if they are most.
    pub(super) fn prune_unread(&mut self) {
        if !self.unread.is_sparse() {
            return;
        }
        let mut order = std::mem::take(&mut self.unread.order);
        order.retain(|&(key, number)| {
            self.first_lent(key).is_some_and(|(_, first, _)| first <= number)
        });
        order.shrink_to(2 * order.len() + KEPT);
        self.unread.order = order;
    }
}
