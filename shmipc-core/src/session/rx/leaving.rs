//! Going away, as far as the receiving half is concerned (`notify::leaving`): which streams of the
//! peer's we still take, and which of ours the peer has not seen.

#![deny(clippy::unwrap_used, clippy::panic)]

use std::task::{Poll, Waker};

use crate::error::PeerMisbehaved;
use crate::mem::{Memory, MemoryMut};
use crate::notify::leaving;

use crate::session::{Effects, Tx};
use crate::steps::{self, Step};

use super::{End, Feeds, Rx, RxStream};

impl<O: MemoryMut + Clone, P: Memory + Clone> Rx<O, P> {
    /// Takes no further streams of the peer's than those it has published (G1 to G3). True the first
    /// time: then the peer is to be rung.
    pub(crate) fn leave(
        &mut self,
        tx: &mut Tx<O, P>,
        effects: &mut Effects,
    ) -> Result<bool, PeerMisbehaved> {
        if self.limit.is_fixed() || self.over.is_some() {
            return Ok(false);
        }
        leaving::announce(&self.own);
        steps::reach(Step::LeavingStored);
        let tail = self.reader.load_tail()?;
        self.limit.fix(&self.own, tail);
        self.put_aside = true;
        effects.wakers.append(&mut self.accept_wakers);
        tx.openers.wake(effects);
        tx.forget_served(effects);
        Ok(true)
    }

    /// Whether we leave and have read of every stream that we still take.
    pub(crate) fn has_all_streams(&self) -> bool {
        self.limit.is_reached(self.reader.drained())
    }

    /// Ready when we leave and every stream that we took is over in both directions.
    pub(crate) fn poll_drained(&self, tx: &mut Tx<O, P>, waker: &mut Option<Waker>) -> Poll<()> {
        if !self.has_all_streams() {
            tx.wait_served(waker);
            return Poll::Pending;
        }
        if tx.poll_served(waker) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// If the peer leaves and has said where, each stream of ours that it has not seen is told so (G5).
    #[inline]
    pub(crate) fn look_whether_peer_leaves(
        &mut self,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<(), PeerMisbehaved> {
        if leaving::is_leaving(&self.peer) { self.look_for_final(feeds, effects) } else { Ok(()) }
    }

    #[cold]
    fn look_for_final(
        &mut self,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<(), PeerMisbehaved> {
        if !self.last.look(&self.peer, || feeds.tx().published())? {
            return Ok(());
        }
        steps::reach(Step::FinalFound);
        let mut tx = feeds.tx();
        let (role, last) = (self.role, self.last);
        let unseen = |key: usize, stream: &RxStream| {
            stream.id.opener() == role && last.excludes(tx.first(key))
        };
        let streams = self.streams.iter().filter(|(key, stream)| unseen(*key, stream));
        let unseen: Vec<usize> = streams.map(|(key, _)| key).collect();
        for &key in &unseen {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            if stream.is_answered() {
                return Err(PeerMisbehaved::FinalPosition);
            }
            stream.end = Some(End::Unseen);
            stream.wake(&self.crowd, effects);
            tx.refuse(key);
        }
        self.put_aside |= !unseen.is_empty();
        let count = unseen.len();
        effects.log.later(move || tracing::debug!(unseen = count, "the peer leaves"));
        for key in unseen {
            self.release(key, &mut tx, effects);
        }
        // Reservations of these streams are answered too, who waits for a place, and who waits to learn that
        // the peer leaves.
        tx.openers.wake(effects);
        effects.wakers.append(&mut self.end_wakers);
        effects.settle = false;
        tx.settle(effects)
    }
}

impl RxStream {
    /// The peer has put a message on it, or its end.
    fn is_answered(&self) -> bool {
        self.end.is_some() || self.credit.is_used()
    }
}
