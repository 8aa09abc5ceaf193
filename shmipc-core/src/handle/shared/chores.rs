//! What is due now and then, whoever passes by: memory that nobody uses goes back to the kernel, and
//! frames that the kernel refused are sent again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::session::Effects;
use crate::wire;

use super::Shared;
use super::frames::{Backlog, Frame};

/// After which the kernel is asked again that lacked memory for a frame.
const RETRY: Duration = Duration::from_millis(10);

impl Shared {
    /// Does what is due, and says when to come again; `None` if nothing will be due until something
    /// else happens. For who is about to sleep, or passes by once a millisecond.
    pub(in crate::handle) fn do_chores(&self) -> Option<Instant> {
        let mut effects = Effects::default();
        let sweep = self.sweep();
        let backlog = match self.has_frames() {
            true => self.flush_frames(&mut effects),
            false => Backlog::None,
        };
        self.complete(effects, Ok(()));
        let retry = (backlog == Backlog::Kernel).then(|| Instant::now() + RETRY);
        sweep.into_iter().chain(retry).min()
    }

    /// Retires segments that were free for a whole period; when to look again.
    fn sweep(&self) -> Option<Instant> {
        let mut tx = self.tx();
        if !tx.arena.is_sweepable() {
            self.sweep_at.store(0, Ordering::Relaxed);
            return None;
        }
        let now = self.began.elapsed();
        let due = Duration::from_millis(self.sweep_at.load(Ordering::Relaxed));
        if !due.is_zero() && now < due {
            return self.began.checked_add(due);
        }
        // The first look begins a period: whatever was in use until now counts as touched.
        if !due.is_zero() && !self.has_frames() {
            tx.arena.sweep();
            self.retire(tx.arena.take_retired());
        }
        if !tx.arena.is_sweepable() {
            self.sweep_at.store(0, Ordering::Relaxed);
            return None;
        }
        let next = now.saturating_add(self.idle_memory_timeout).max(Duration::from_millis(1));
        // Rounded up, lest the next look comes too early.
        let next = next.as_millis().saturating_add(1).min(u128::from(u64::MAX)) as u64;
        self.sweep_at.store(next, Ordering::Relaxed);
        self.began.checked_add(Duration::from_millis(next))
    }

    /// Tells the peer of segments that are retired. In a section of the sending half.
    pub(super) fn retire(&self, retired: Vec<u32>) {
        if retired.is_empty() {
            return;
        }
        tracing::debug!(segments = ?retired, "retired payload memory that nobody uses");
        super::lock(&self.own_files).retain(|id, _| !retired.contains(id));
        for id in retired {
            let bytes = wire::retire_segment(id);
            self.queue_frame(Frame { bytes, segment: None, announces: None });
        }
    }
}
