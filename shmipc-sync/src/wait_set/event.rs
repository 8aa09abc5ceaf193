//! What a set reports, why it refuses, and what interrupts it.

use std::io;
use std::sync::{Arc, Weak};

use shmipc_core::error::OsError;

use super::queue::Queue;

/// Something to do; see [`WaitSet::wait`](crate::WaitSet::wait).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The entry's token.
    pub token: usize,
    /// The session is over: what arrived before can still be received or accepted, then comes the error.
    pub session_over: bool,
}

/// Ends [`WaitSet::wait`](crate::WaitSet::wait) from any thread; see [`WaitSet::interrupter`](crate::WaitSet::interrupter).
#[derive(Clone, Debug)]
pub struct Interrupter {
    queue: Weak<Queue>,
}

/// Why something cannot be added to a [`WaitSet`](crate::WaitSet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Another entry has the token.
    #[error("token {0} is taken by another entry of the set: choose another or remove that first")]
    TokenTaken(usize),
    /// The operating system refused.
    #[error(transparent)]
    Os(#[from] OsError),
}

impl From<WatchError> for io::Error {
    fn from(error: WatchError) -> Self {
        let kind = match error {
            WatchError::TokenTaken(_) => io::ErrorKind::AlreadyExists,
            WatchError::Os(os) => os.kind(),
        };
        Self::new(kind, error)
    }
}

impl Interrupter {
    pub(super) fn new(queue: &Arc<Queue>) -> Self {
        Self { queue: Arc::downgrade(queue) }
    }

    /// Ends the wait that is in progress, or the next one. Never blocks.
    pub fn interrupt(&self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.interrupt();
        }
    }
}
