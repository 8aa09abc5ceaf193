//! Going away, for applications (`notify::leaving`).

use std::task::{Poll, Waker};

use crate::error::{DrainError, SessionError};
use crate::notify::leaving;
use crate::session::Effects;

use super::session::Session;

/// Why no more streams can be opened on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The peer leaves. Streams that it has seen go on.
    PeerLeaves,
    /// The session is over.
    Over(SessionError),
}

impl Session {
    /// Leaves: streams that the peer has opened so far are served to their end, later ones are refused,
    /// and the peer knows for certain which are which. Ours that are open go on; no more can be opened.
    /// Never blocks; the second time it does nothing.
    ///
    /// The session goes on until [`close`](Self::close).
    pub fn leave(&self) {
        if !self.owner.shared.is_foreign() {
            self.owner.shared.leave();
        }
    }

    /// Ready once we leave and every stream that the peer opened before is over: accepted, and ended by
    /// both sides. Drives the session inline.
    ///
    /// # Errors
    /// [`DrainError::Session`] if the session ends before.
    pub fn poll_drained(&self, waker: Option<&Waker>) -> Poll<Result<(), DrainError>> {
        let shared = &self.owner.shared;
        if shared.is_foreign() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        shared.drive();
        let mut effects = Effects::default();
        let mut clone = waker.cloned();
        let polled = {
            let mut rx = shared.rx();
            let polled = rx.poll_drained(&mut shared.tx(), &mut clone);
            match (polled, rx.over) {
                (Poll::Ready(()), _) => Poll::Ready(Ok(())),
                (Poll::Pending, Some(error)) => Poll::Ready(Err(error.into())),
                (Poll::Pending, None) => {
                    if waker.is_some() {
                        rx.publish_head(&mut effects);
                    }
                    Poll::Pending
                }
            }
        };
        shared.complete(effects, Ok(()));
        polled
    }

    /// To be called by who gives up waiting in [`poll_drained`](Self::poll_drained), lest wakers of those
    /// who have left pile up.
    pub fn forget_drained(&self) {
        let shared = &self.owner.shared;
        if shared.is_foreign() {
            return;
        }
        let mut effects = Effects::default();
        shared.tx().forget_served(&mut effects);
        shared.complete(effects, Ok(()));
    }

    /// Whether the peer leaves: it takes no further streams, so open them on another session. Takes no
    /// lock.
    pub fn is_peer_leaving(&self) -> bool {
        let shared = &self.owner.shared;
        !shared.is_foreign() && leaving::is_leaving(&shared.peer)
    }
    /// Whether no more streams can be opened, and why. Looks at the socket, at most once a millisecond.
    /// Never blocks.
    pub fn parting(&self) -> Option<Parting> {
        self.glance();
        if self.is_peer_leaving() {
            return Some(Parting::PeerLeaves);
        }
        if !self.is_over() {
            return None;
        }
        match self.poll_closed(None) {
            Poll::Ready(error) => Some(Parting::Over(error)),
            Poll::Pending => None,
        }
    }

    /// Ready once no more streams can be opened. Drives the session inline.
    pub fn poll_parting(&self, waker: Option<&Waker>) -> Poll<Parting> {
        let shared = &self.owner.shared;
        if shared.is_foreign() {
            return Poll::Ready(Parting::Over(SessionError::Forked));
        }
        shared.drive();
        let mut effects = Effects::default();
        let mut clone = waker.cloned();
        let polled = {
            let mut rx = shared.rx();
            match (leaving::is_leaving(&shared.peer), rx.over, waker) {
                (true, ..) => Poll::Ready(Parting::PeerLeaves),
                (false, Some(error), _) => Poll::Ready(Parting::Over(error)),
                (false, None, None) => Poll::Pending,
                (false, None, Some(_)) => {
                    // Woken too when the final position is found, which comes after the word.
                    rx.wait_end(&mut clone);
                    rx.publish_head(&mut effects);
                    Poll::Pending
                }
            }
        };
        shared.complete(effects, Ok(()));
        polled
    }
}
