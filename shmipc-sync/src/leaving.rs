//! Going away: a session ends without a request lost or handled twice.

use std::time::{Duration, Instant};

use shmipc_core::error::DrainError;

use crate::Session;
use crate::block::{For, block_on, deadline};

impl Session {
    /// Leaves: takes no streams but those that the peer has opened so far. These are served to their end
    /// as if nothing were; the peer knows for certain which ones they are, and repeats the others
    /// elsewhere ([`RecvError::GoingAway`](crate::RecvError::GoingAway)). Streams of ours go on; no more
    /// can be opened. Never blocks; the second time it does nothing.
    ///
    /// The session goes on until [`close`](Self::close), as a rule after [`drained`](Self::drained).
    pub fn leave(&self) {
        self.core.leave();
    }

    /// **Blocks** until every stream that the peer opened before we [left](Self::leave) is over: accepted,
    /// and ended by both sides. Drives the session meanwhile. Without `leave` it waits for that too.
    ///
    /// # Errors
    /// [`DrainError::Session`] if the session ends before.
    pub fn drained(&self) -> Result<(), DrainError> {
        self.drained_until(None)
    }

    /// As [`drained`](Self::drained), for at most `timeout`.
    ///
    /// # Errors
    /// [`DrainError::TimedOut`] too.
    pub fn drained_timeout(&self, timeout: Duration) -> Result<(), DrainError> {
        self.drained_until(deadline(Some(timeout)))
    }

    pub(crate) fn drained_until(&self, deadline: Option<Instant>) -> Result<(), DrainError> {
        let drained =
            block_on(&self.core, For::Record, deadline, |waker| self.core.poll_drained(waker));
        drained.unwrap_or_else(|| {
            self.core.forget_drained();
            Err(DrainError::TimedOut)
        })
    }

    /// Whether the peer leaves: it serves the streams that we have opened, and takes no more. Never
    /// blocks.
    pub fn is_peer_leaving(&self) -> bool {
        self.core.is_peer_leaving()
    }
}
