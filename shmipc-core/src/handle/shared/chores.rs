//! What is due now and then, by whichever thread is about to sleep or passes by: memory that is not used goes
//! back to the kernel, frames and bells that the kernel refused are sent again, it is asked again for memory
//! that it refused, and unread messages that a call has left in the peer's memory are moved.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::session::Effects;
use crate::wire;

use super::Shared;
use super::frames::{Backlog, Frame};

/// After which the kernel is asked again that lacked memory for a frame or a bell.
const RETRY: Duration = Duration::from_millis(10);

impl Shared {
    /// Does what is due, and says when to come again; `None` if nothing will be due until something
    /// else happens. For who is about to sleep, or passes by once a millisecond.
    pub(in crate::handle) fn do_chores(&self) -> Option<Instant> {
        let mut effects = Effects::default();
        let sweep = self.sweep(&mut effects);
        let ask_again = self.tx().ask_again(self.began.elapsed(), &mut effects);
        let ask_again = ask_again.and_then(|at| self.began.checked_add(at));
        let backlog = match self.has_frames() {
            true => self.flush_frames(&mut effects),
            false => Backlog::None,
        };
        self.complete(effects, Ok(()));
        let waits = backlog == Backlog::Kernel || self.is_ring_owed();
        let retry = waits.then(|| Instant::now() + RETRY);
        let evict = self.evict_rest().then(Instant::now);
        sweep.into_iter().chain(retry).chain(ask_again).chain(evict).min()
    }

    /// Goes on with what a call has left unmoved (`session::rx::evict`, V4). True if some is left even so.
    fn evict_rest(&self) -> bool {
        if !self.rx().owes_eviction() {
            return false;
        }
        self.evict();
        self.rx().owes_eviction()
    }

    /// Retires segments that were free for a whole period; when to look again. While there is a segment
    /// somebody looks: the peer does not ring for what it hands back.
    fn sweep(&self, effects: &mut Effects) -> Option<Instant> {
        let mut tx = self.tx();
        let now = self.began.elapsed();
        let due = Duration::from_millis(self.sweep_at.load(Ordering::Relaxed));
        if !tx.arena.is_empty() && !due.is_zero() && now < due {
            return self.began.checked_add(due);
        }
        // The first look only begins a period.
        if !due.is_zero() && !self.has_frames() {
            effects.misdeed = tx.take_returns().err().or(effects.misdeed);
            tx.arena.sweep();
            self.retire(tx.arena.take_retired(), effects);
        }
        if tx.arena.is_empty() {
            self.sweep_at.store(0, Ordering::Relaxed);
            return None;
        }
        // Rounded up, lest the next look comes too early.
        let next = now.saturating_add(self.idle_memory_timeout).as_millis().saturating_add(1);
        let next = u64::try_from(next).unwrap_or(u64::MAX);
        self.sweep_at.store(next, Ordering::Relaxed);
        self.began.checked_add(Duration::from_millis(next))
    }

    /// Tells the peer of segments that are retired. In a section of the sending half.
    pub(super) fn retire(&self, retired: Vec<u32>, effects: &mut Effects) {
        if retired.is_empty() {
            return;
        }
        super::lock(&self.own_files).retain(|id, _| !retired.contains(id));
        for &id in &retired {
            let bytes = wire::retire_segment(id);
            self.queue_frame(Frame { bytes, segment: None, announces: None });
        }
        effects.log.later(move || {
            tracing::debug!(segments = ?retired, "retired payload memory that nobody uses");
        });
    }
}
