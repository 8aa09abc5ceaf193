//! Who has something: filled by wakers of all threads, emptied by the one that waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Wake;

use shmipc_core::error::OsError;
use shmipc_core::link::Poller;

/// What wakers leave for the waiting thread, and what wakes that.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) poller: Poller,
    left: Mutex<Left>,
}

#[derive(Debug, Default)]
struct Left {
    /// Numbers of entries that may have something.
    entries: Vec<usize>,
    interrupted: bool,
    /// The waiting thread sleeps, or is about to.
    asleep: bool,
}

/// The waker of an entry. It does not keep the set's descriptors open.
#[derive(Debug)]
pub(super) struct Caller {
    queue: Weak<Queue>,
    entry: usize,
    /// It is in the queue.
    called: AtomicBool,
}

impl Queue {
    pub(super) fn new() -> Result<Self, OsError> {
        Ok(Self { poller: Poller::new()?, left: Mutex::default() })
    }

    /// Leaves something, and wakes the waiting thread if it sleeps.
    fn leave(&self, what: impl FnOnce(&mut Left)) {
        let asleep = {
            let mut left = self.left();
            what(&mut left);
            std::mem::take(&mut left.asleep)
        };
        if asleep {
            self.poller.wake();
        }
    }

    pub(super) fn interrupt(&self) {
        // In a forked child the lock may be held by a thread that did not come along.
        if self.poller.check_home().is_ok() {
            self.leave(|left| left.interrupted = true);
        }
    }

    /// Whether [`interrupt`](Self::interrupt) was called since this was last asked.
    pub(super) fn take_interrupt(&self) -> bool {
        std::mem::take(&mut self.left().interrupted)
    }

    /// Takes the entries left so far into `entries`, which is empty.
    pub(super) fn take(&self, entries: &mut Vec<usize>) {
        std::mem::swap(&mut self.left().entries, entries);
    }

    /// The waiting thread is going to sleep; false if something is left for it.
    pub(super) fn fall_asleep(&self) -> bool {
        let mut left = self.left();
        left.asleep = left.entries.is_empty() && !left.interrupted;
        left.asleep
    }

    pub(super) fn wake_up(&self) {
        self.left().asleep = false;
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        // Nothing that can panic runs while it is held.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    pub(super) fn new(queue: &Arc<Queue>, entry: usize) -> Self {
        Self { queue: Arc::downgrade(queue), entry, called: AtomicBool::new(false) }
    }

    /// From here on it may call again. To be followed by a look.
    pub(super) fn heard(&self) {
        // What was delivered before the call is seen by that look: the lock of the queue is between.
        self.called.store(false, Ordering::Release);
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.called.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(queue) = self.queue.upgrade() {
            queue.leave(|left| left.entries.push(self.entry));
        }
    }
}
