//! The next record of a stream.

use std::convert::Infallible;
use std::sync::{Arc, MutexGuard};
use std::task::{Poll, Waker};

use crate::error::{RecvError, SendError, SessionError};
use crate::handle::send::Reserving;
use crate::mem::PeerMapping;
use crate::session::{Ask, Drained, Effects, End, Entry, Next, Rx};

use super::{Announce, RecvHalf};

/// What a stream has next.
pub(super) enum Found<R> {
    /// A whole message, made of its bytes in the queue.
    Copied(R),
    Entry(Entry),
}

/// Makes something of the bytes of a message; `None` leaves it where it is.
type Copy<R> = fn(&Arc<PeerMapping>, usize, usize) -> Option<R>;

impl RecvHalf {
    /// The next record of the stream; `None` at its end.
    #[inline]
    pub(super) fn poll_entry(
        &mut self,
        waker: Option<&Waker>,
    ) -> Poll<Result<Option<Entry>, RecvError>> {
        self.poll_next(None::<Copy<Infallible>>, waker)
            .map_ok(|found| found.map(|Found::Entry(entry)| entry))
    }

    /// The same in one section, of which a whole message in the queue is made by `copy` where it lies.
    #[inline]
    pub(super) fn poll_next<R>(
        &mut self,
        copy: Option<impl FnOnce(&Arc<PeerMapping>, usize, usize) -> Option<R>>,
        waker: Option<&Waker>,
    ) -> Poll<Result<Option<Found<R>>, RecvError>> {
        if self.owner.shared.is_foreign() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let shared = &self.owner.shared;
        let mut rx = shared.rx();
        if let Some(spare) = self.spare.take() {
            rx.reuse(spare);
        }
        if let Some(copy) = copy {
            let mut effects = None;
            if let Some(copied) = shared.take_inline(self.key, &mut rx, &mut effects, copy) {
                drop(rx);
                if let Some(effects) = effects {
                    shared.complete(effects, Ok(()));
                }
                return Poll::Ready(Ok(Some(Found::Copied(copied))));
            }
        }
        let next = self.poll_drain(rx, waker);
        if next.is_pending() && !matches!(self.announce, Announce::Known) {
            return self.poll_announce(waker).map_ok(|never| match never {});
        }
        next.map_ok(|entry| entry.map(Found::Entry))
    }

    /// The next record out of the inbox, or out of the queue. Each section of the receiving half drains one budget:
    /// others that want it come in between.
    fn poll_drain(
        &self,
        rx: MutexGuard<'_, Rx>,
        waker: Option<&Waker>,
    ) -> Poll<Result<Option<Entry>, RecvError>> {
        let shared = &self.owner.shared;
        // Foreign code clones it, and perhaps drops it: without the lock.
        let mut clone = None;
        let mut turns = shared.drains();
        let mut rx = rx;
        loop {
            let mut effects = Effects::default();
            let (mut next, mut result, mut more) =
                (rx.take(self.key, &**shared, &mut effects), Ok(()), false);
            if matches!(next, Next::Nothing) {
                match shared.drain_for(self.key, &mut rx, &mut effects) {
                    Ok(Drained::Entry(entry)) => next = Next::Entry(entry),
                    Ok(Drained::Budget) => more = true,
                    Ok(Drained::Empty) => next = rx.end_of(self.key),
                    Err(misdeed) => {
                        next = rx.end_of(self.key);
                        result = Err(misdeed);
                    }
                }
            }
            turns = turns.saturating_sub(1);
            // After a misdeed the next turn finds the session's end.
            let mut again = result.is_err() || more && turns > 0;
            let mut lacks_clone = false;
            let found = match (next, rx.over) {
                (Next::Nothing, None) => {
                    if let Some(waker) = waker.filter(|_| !again) {
                        // H2: in the section that has found nothing.
                        lacks_clone = !rx.wait(self.key, waker, &mut clone, &mut effects);
                        again = lacks_clone;
                        if self.lent {
                            rx.wait_in_message(self.key);
                        }
                        rx.publish_head(&mut effects);
                    }
                    Poll::Pending
                }
                (Next::Nothing, Some(error)) => Poll::Ready(Err(error.into())),
                (Next::Entry(entry), _) => Poll::Ready(Ok(Some(entry))),
                (Next::End(End::Finished), _) => Poll::Ready(Ok(None)),
                (Next::End(End::Reset(code)), _) => Poll::Ready(Err(RecvError::Reset(code))),
                (Next::End(End::Unseen), _) => Poll::Ready(Err(RecvError::GoingAway)),
            };
            drop(rx);
            shared.complete(effects, result);
            if found.is_ready() || !again {
                return if found.is_pending() && more { come_back(waker) } else { found };
            }
            if lacks_clone {
                clone = waker.cloned();
            }
            rx = shared.rx();
        }
    }

    /// Tells the peer of the stream, if it has not heard of it. Pending in any case, or failed.
    #[cold]
    pub(super) fn poll_announce(
        &mut self,
        waker: Option<&Waker>,
    ) -> Poll<Result<Infallible, RecvError>> {
        let owner = &self.owner;
        let (known, serial) = {
            let tx = owner.shared.tx();
            (tx.is_announced(self.key), tx.serial_of(self.key))
        };
        if known {
            self.announce = Announce::Known;
            return Poll::Pending;
        }
        if matches!(self.announce, Announce::Unknown) {
            self.announce =
                Announce::Asking(Box::new(Reserving::new(owner, self.key, serial, Ask::Open)));
        }
        let Announce::Asking(asking) = &mut self.announce else { return Poll::Pending };
        let announced = asking.poll_grant(waker).map(|granted| {
            let mut effects = Effects::default();
            let announced =
                granted.and_then(|grant| owner.shared.tx().announce(self.key, grant, &mut effects));
            owner.shared.complete(effects, Ok(()));
            announced
        });
        match announced {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                // Nobody will ever hear of it; the next call says so again.
                self.announce = Announce::Unknown;
                Poll::Ready(Err(match error {
                    SendError::Session(error) => error.into(),
                    SendError::GoingAway => RecvError::GoingAway,
                    error => RecvError::Open(error),
                }))
            }
            Poll::Ready(Ok(())) => {
                self.announce = Announce::Known;
                Poll::Pending
            }
        }
    }
}

/// There is more to do than one turn allows: pending, and to be polled again, so that time-outs are
/// looked at in between.
pub(super) fn come_back<R>(waker: Option<&Waker>) -> Poll<R> {
    if let Some(waker) = waker {
        waker.wake_by_ref();
    }
    Poll::Pending
}
