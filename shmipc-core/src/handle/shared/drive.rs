//! Looking for what the peer has published, and acting on it for all.

use std::sync::Arc;

use crate::error::PeerMisbehaved;
use crate::layout::RING_AT;
use crate::mem::{Memory as _, PeerMapping};
use crate::session::{BUDGET, Drained, Effects, Rx};

use super::Shared;

impl Shared {
    /// Fetches the lines of the next record while the lock is being taken.
    #[inline]
    pub(in crate::handle) fn will_read(&self) {
        let mask = u64::from(self.incoming.ring_bytes - 1);
        let next = self.progress.drained_about() & mask;
        self.peer.will_read(RING_AT + next as usize);
    }

    /// Drains the peer's records under the lock `rx`; errors are left in the result for
    /// [`Shared::complete`].
    #[inline]
    pub(in crate::handle) fn drain(
        &self,
        rx: &mut Rx,
        effects: &mut Effects,
    ) -> Result<bool, PeerMisbehaved> {
        let result = rx.drain(self, None, effects);
        self.progress.drained_to(rx.drained());
        result.map(|drained| matches!(drained, Drained::Budget))
    }

    /// Takes a message straight out of the queue; see [`Rx::take_inline`].
    #[inline]
    pub(in crate::handle) fn take_inline<R>(
        &self,
        key: usize,
        rx: &mut Rx,
        effects: &mut Option<Effects>,
        copy: impl FnOnce(&Arc<PeerMapping>, usize, usize) -> Option<R>,
    ) -> Option<R> {
        let payload = rx.take_inline(key, self, effects, copy)?;
        self.progress.drained_to(rx.drained());
        Some(payload)
    }

    /// Drains until a record for the stream `key` is found, whose inbox is empty.
    #[inline]
    pub(in crate::handle) fn drain_for(
        &self,
        key: usize,
        rx: &mut Rx,
        effects: &mut Effects,
    ) -> Result<Drained, PeerMisbehaved> {
        let result = rx.drain(self, Some(key), effects);
        self.progress.drained_to(rx.drained());
        result
    }

    /// Drains after which everything published before the first of them has been acted on: a peer that
    /// publishes without end keeps nobody longer.
    pub(in crate::handle) fn drains(&self) -> usize {
        self.incoming.ring_bytes as usize / 16 / BUDGET + 1
    }

    /// Drives: drains records and answers reservations that wait. What was published before the call
    /// has an effect after it.
    pub(in crate::handle) fn drive(&self) {
        let mut effects = Effects::default();
        let mut result = Ok(true);
        for _ in 0..self.drains() {
            result = self.drain(&mut self.rx(), &mut effects);
            if !matches!(result, Ok(true)) {
                break;
            }
        }
        let result = result.and_then(|_| self.settle(&mut effects));
        self.complete(effects, result);
    }

    /// Answers those who wait for something that is not a record, if there are any.
    pub(in crate::handle) fn settle(&self, effects: &mut Effects) -> Result<(), PeerMisbehaved> {
        self.progress.settle(&*self.peer, || self.tx().settle(effects))
    }
}
