//! What is left to be done when a lock has been released: to hand back, to ring, to wake.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;

use crate::error::{OsError, PeerMisbehaved};
use crate::notify::event::Cursor;
use crate::notify::leaving;
use crate::session::{Effects, Payload, Tx};
use crate::steps::{self, Step};

use super::Shared;

/// How often a ring is tried at once that the kernel refuses, and how often after a pause, if no other thread will.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(1);

impl Shared {
    /// Does what was left to be done after the locks: hands back, rings, wakes; ends the session if
    /// the peer broke a rule.
    #[inline]
    pub(in crate::handle) fn complete(
        &self,
        effects: Effects,
        result: Result<impl Sized, PeerMisbehaved>,
    ) {
        if effects.only_moves() && result.is_ok() {
            self.signal(&effects);
        } else {
            self.complete_all(effects, result.err());
        }
    }

    pub(super) fn complete_all(&self, mut effects: Effects, misdeed: Option<PeerMisbehaved>) {
        for payload in std::mem::take(&mut effects.dropped) {
            if let Payload::Lent { id, segment, .. } = payload {
                self.hand_back(id, segment);
            }
        }
        self.signal(&effects);
        std::mem::take(&mut effects.wakers).wake();
        if effects.took_bell {
            self.pass_bell_on();
        }
        drop(std::mem::take(&mut effects.stale));
        if effects.evict {
            self.evict();
        }
        if effects.glance {
            self.glance_now_and_then();
        }
        if let Some(error) = effects.failed {
            self.end(error.into());
        } else if let Some(misdeed) = misdeed.or(effects.misdeed) {
            self.end(misdeed.into());
        }
        if effects.opened {
            self.look_whether_peer_leaves();
        }
        effects.log.tell();
    }

    /// A bell was taken by somebody whom it need not have meant (N4).
    #[cold]
    fn pass_bell_on(&self) {
        if self.gate().another_asleep(None) {
            self.link.kick();
        }
        let mut effects = Effects::default();
        // A final position is rung for once (`notify::leaving`, G3).
        let looked = match leaving::is_leaving(&self.peer) {
            true => self.rx().look_whether_peer_leaves(self, &mut effects),
            false => Ok(()),
        };
        let settled = looked.and_then(|()| self.settle(&mut effects));
        self.complete(effects, settled);
    }

    /// P2 to P4 for everything a call has published: one fence, at most one ring.
    #[inline]
    pub(super) fn signal(&self, effects: &Effects) {
        let moved = [
            (Cursor::Tail, effects.tail),
            (Cursor::Head, effects.head),
            (Cursor::Returned, effects.returned),
        ];
        if moved.iter().any(|(_, position)| position.is_some()) {
            self.signal_moved(moved);
        }
    }

    pub(super) fn signal_moved(&self, moved: [(Cursor, Option<u64>); 3]) {
        self.checks.fence(&self.peer);
        for (cursor, position) in moved {
            let Some(position) = position else { continue };
            if self.checks.check(&self.peer, cursor, position) && self.ring() {
                self.checks.rung(cursor, position);
            }
        }
    }

    /// Publishes what was put under the lock, and rings for it after it.
    #[inline]
    pub(in crate::handle) fn publish(&self, mut tx: MutexGuard<'_, Tx>) {
        let (tail, opened) = (tx.publish(), tx.take_opened());
        drop(tx);
        if let Some(tail) = tail {
            self.signal_tail(tail);
        }
        if opened {
            self.look_whether_peer_leaves();
        }
    }

    /// P2 to P4 for records alone.
    #[inline]
    pub(super) fn signal_tail(&self, position: u64) {
        if self.checks.needs_ring(&self.peer, Cursor::Tail, position) && self.ring() {
            self.checks.rung(Cursor::Tail, position);
        }
    }

    /// Rings the peer. Returns `false` if the kernel refuses that: the ring is owed, and the check that asked for it
    /// is not completed, so that the next publication rings as well (N11).
    #[cold]
    pub(super) fn ring(&self) -> bool {
        self.bells_rung.fetch_add(1, Ordering::Relaxed);
        steps::reach(Step::BellUnrung);
        for _ in 0..ATTEMPTS {
            if self.try_ring() {
                steps::reach(Step::BellRung);
                return true;
            }
            std::thread::yield_now();
        }
        self.owe_ring();
        false
    }

    /// Rings once. A bell that cannot be rung at all ends the session: the peer would sleep without end.
    fn try_ring(&self) -> bool {
        self.link.ring().unwrap_or_else(|error| {
            self.end(error.into());
            true
        })
    }

    /// The chores are to ring: of the threads that wait in this session, or of its event loop. If there are neither, this
    /// thread tries for a moment longer, and then ends the session rather than leave the peer asleep.
    fn owe_ring(&self) {
        self.ring_owed.store(true, Ordering::Release);
        let (asleep, others) = {
            let gate = self.gate();
            (gate.another_asleep(None), !gate.is_empty())
        };
        if asleep {
            self.link.kick();
        }
        if asleep || others || self.has_loop.load(Ordering::Relaxed) {
            return;
        }
        for _ in 0..ATTEMPTS {
            std::thread::sleep(PAUSE);
            if !self.is_ring_owed() {
                return;
            }
        }
        self.end(OsError::new("sendmsg", Errno::ENOBUFS).into());
    }

    /// A thread stops waiting, whose chores a ring may have been left to.
    pub(in crate::handle) fn leave_no_ring_owed(&self) {
        if self.is_ring_owed() {
            self.owe_ring();
        }
    }

    /// Makes the ring that is owed, if one is. Returns whether it is owed still.
    pub(super) fn is_ring_owed(&self) -> bool {
        if !self.ring_owed.load(Ordering::Relaxed) {
            return false;
        }
        if !self.ring_owed.swap(false, Ordering::AcqRel) || self.is_over() || self.try_ring() {
            return false;
        }
        self.ring_owed.store(true, Ordering::Release);
        true
    }
}
