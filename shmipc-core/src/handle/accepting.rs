//! Taking streams that the peer has opened.

use std::task::{Poll, Waker};

use crate::error::{AcceptError, SessionError};
use crate::session::Effects;
use crate::steps::{self, Step};

use super::recv::RecvHalf;
use super::send::SendHalf;
use super::session::Session;

impl Session {
    /// Takes the next stream that the peer opened. Drives the session inline.
    pub fn poll_accept(
        &self,
        waker: Option<&Waker>,
    ) -> Poll<Result<(SendHalf, RecvHalf), AcceptError>> {
        if self.owner.shared.is_foreign() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        for _ in 0..self.owner.shared.drains() {
            if let Some(polled) = self.accept_once(waker) {
                return polled;
            }
        }
        // The peer publishes faster than we drain: come back, so that time-outs are looked at.
        if let Some(waker) = waker {
            waker.wake_by_ref();
        }
        Poll::Pending
    }

    /// One section of the receiving half; `None` if there is more to drain.
    fn accept_once(
        &self,
        waker: Option<&Waker>,
    ) -> Option<Poll<Result<(SendHalf, RecvHalf), AcceptError>>> {
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        let mut result = Ok(false);
        let mut clone = waker.cloned();
        let accepted = {
            let mut rx = shared.rx();
            let mut accepted = rx.accept();
            if accepted.is_none() {
                result = shared.drain(&mut rx, &mut effects);
                accepted = rx.accept();
            }
            match (accepted, rx.over) {
                (Some((key, id)), _) => Poll::Ready(Ok((key, id, shared.tx().serial_of(key)))),
                (None, Some(error)) => Poll::Ready(Err(error.into())),
                (None, None) if rx.has_all_streams() => Poll::Ready(Err(AcceptError::Leaving)),
                (None, None) => {
                    if waker.is_some() {
                        rx.wait_accept(&mut clone);
                        rx.publish_head(&mut effects);
                    }
                    Poll::Pending
                }
            }
        };
        let again = !matches!(result, Ok(false));
        shared.complete(effects, result);
        match accepted {
            Poll::Pending if again => None,
            Poll::Pending => Some(Poll::Pending),
            Poll::Ready(Err(error)) => Some(Poll::Ready(Err(error))),
            Poll::Ready(Ok((key, id, serial))) => {
                steps::reach(Step::Accepted);
                Some(Poll::Ready(Ok(self.halves(key, id, serial, true))))
            }
        }
    }

    /// Whether no stream seems to be in use, so that who looks for one to accept may look longer. A guess.
    pub fn is_alone(&self) -> bool {
        self.owner.shared.crowd.is_alone(None)
    }

    /// To be called by who gives up waiting in [`poll_accept`](Self::poll_accept), lest wakers of those
    /// who have left pile up.
    pub fn forget_accepts(&self) {
        if self.owner.shared.is_foreign() {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        shared.rx().forget_accepts(&mut effects);
        shared.complete(effects, Ok(()));
    }
}
