//! Going away, and the end of a session.

use std::sync::atomic::Ordering;

use crate::error::SessionError;
use crate::link::Sent;
use crate::log;
use crate::notify::leaving;
use crate::session::Effects;
use crate::steps::{self, Step};
use crate::wire;

use super::Shared;

/// How often closing is tried to be told to the peer while the kernel has no memory for it.
const CLOSE_ATTEMPTS: u32 = 10;

impl Shared {
    /// Leaves, once: the streams that the peer has opened are served, and no others.
    pub(in crate::handle) fn leave(&self) {
        let mut effects = Effects::default();
        let left = self.rx().leave(&mut self.tx(), &mut effects);
        let first_time = matches!(left, Ok(true));
        self.complete(effects, left);
        if first_time {
            // One that is refused is owed.
            let _: bool = self.ring();
            log::tell(|| tracing::debug!("we leave"));
        }
    }

    /// After a stream was opened, and its ring check made (`notify::leaving`, G1).
    pub(super) fn look_whether_peer_leaves(&self) {
        if leaving::is_leaving(&self.peer) {
            self.drive();
        }
    }

    /// Closes the session: the peer reads what was published and learns the code.
    pub(in crate::handle) fn close(&self, code: u32) {
        if self.is_foreign() || self.is_over() {
            return;
        }
        // Without the frame the peer takes the end of the connection for a death.
        for _ in 0..CLOSE_ATTEMPTS {
            match self.link.send_frame(&wire::close(code), &[]) {
                Ok(Sent::Later) => std::thread::yield_now(),
                Ok(Sent::Whole | Sent::Full | Sent::Gone) => break,
                Err(error) => {
                    log::tell(|| {
                        tracing::debug!(%error, "the peer cannot be told that the session is closed");
                    });
                    break;
                }
            }
        }
        self.end(SessionError::Closed);
    }

    /// The peer is gone: everything it published is delivered first.
    pub(super) fn end_after_drain(&self, error: SessionError) {
        // Once: the drive may look at the socket and come here again, for as long as a peer that is
        // not gone publishes.
        if !self.is_over() && !self.ending.swap(true, Ordering::AcqRel) {
            self.drive();
            self.end(error);
        }
    }

    /// Ends the session for everybody, once.
    pub(in crate::handle) fn end(&self, error: SessionError) {
        let mut effects = Effects::default();
        {
            let mut rx = self.rx();
            if self.over.swap(true, Ordering::AcqRel) {
                return;
            }
            rx.finish(error, self, &mut effects);
            self.tx().end(error, &mut effects);
        }
        self.link.shutdown();
        steps::reach(Step::SocketShut);
        effects.wakers.wake();
        // Whoever is inside looks at its result.
        self.link.kick();
        drop(effects.stale);
        effects.log.tell();
        log::tell(|| tracing::debug!(%error, "session over"));
    }
}
