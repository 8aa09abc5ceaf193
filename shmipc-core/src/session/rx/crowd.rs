//! Whether a stream seems to be the only one in use: then whoever looks at it in vain may as well look longer,
//! instead of leaving the thread to others.
//!
//! Written under the lock of the receiving half, read without it: a guess, and only that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// In place of a stream's key: who waits for a stream to accept.
const ACCEPTS: usize = usize::MAX;

/// Who has looked in vain, and who has something to look at. Clones are the same crowd.
#[derive(Clone, Debug)]
pub(crate) struct Crowd(Arc<State>);

#[derive(Debug)]
struct State {
    /// Who was the last to go to sleep.
    waited: AtomicUsize,
    /// Streams whose waker was called and that nobody has looked at since.
    called: AtomicUsize,
}

impl Crowd {
    pub(super) fn new() -> Self {
        // Nobody has this key.
        let nobody = AtomicUsize::new(ACCEPTS - 1);
        Self(Arc::new(State { waited: nobody, called: AtomicUsize::new(0) }))
    }

    /// Somebody sleeps until the stream `key` has something, or until there is one to accept.
    pub(super) fn waits(&self, key: Option<usize>) {
        self.0.waited.store(key.unwrap_or(ACCEPTS), Relaxed);
    }

    /// The waker of one more stream was called.
    pub(super) fn called(&self) {
        self.0.called.store(self.0.called.load(Relaxed) + 1, Relaxed);
    }

    /// Somebody has looked at a stream whose waker was called, or it is gone.
    pub(super) fn looked(&self) {
        self.0.called.store(self.0.called.load(Relaxed) - 1, Relaxed);
    }

    /// Whether who waits for the stream `key`, or for one to accept, slept last, and nobody who was called has yet
    /// to look.
    pub(crate) fn is_alone(&self, key: Option<usize>) -> bool {
        self.0.waited.load(Relaxed) == key.unwrap_or(ACCEPTS) && self.0.called.load(Relaxed) == 0
    }
}
