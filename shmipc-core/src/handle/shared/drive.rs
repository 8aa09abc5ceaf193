//! Looking for what the peer has published, and acting on it for all.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::PeerMisbehaved;
use crate::layout::RING_AT;
use crate::mem::{Memory as _, PeerMapping, Raw};
use crate::notify::event::Cursor;
use crate::session::{BUDGET, Drained, Effects, Rx};

use super::Shared;

impl Shared {
    /// Whether the peer has published records that nobody has drained. Takes no lock.
    pub(in crate::handle) fn has_records(&self) -> bool {
        Raw::new(self.peer.load64(Cursor::Tail.cursor_at())) != self.drained()
    }

    /// Whether there is something to drive for: records, or, if somebody waits for them, space or returns
    /// since the last drive. Takes no lock.
    pub(in crate::handle) fn has_news(&self) -> bool {
        self.has_records()
            || (self.waiting.load(Ordering::Relaxed) > 0
                && self.given_back() != self.settled.load(Ordering::Relaxed))
    }

    /// Changes whenever the peer gives space or memory back.
    fn given_back(&self) -> u64 {
        let [head, returned] =
            [Cursor::Head, Cursor::Returned].map(|cursor| self.peer.load64(cursor.cursor_at()));
        head.wrapping_add(returned)
    }

    /// Fetches the lines of the next record while the lock is being taken.
    #[inline]
    pub(in crate::handle) fn will_read(&self) {
        let next = self.drained.load(Ordering::Relaxed) & u64::from(self.incoming.ring_bytes - 1);
        self.peer.will_read(RING_AT + next as usize);
    }

    /// Position up to which the peer's records have been drained.
    pub(in crate::handle) fn drained(&self) -> u64 {
        self.drained.load(Ordering::Acquire)
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
        self.drained.store(rx.drained(), Ordering::Release);
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
        self.drained.store(rx.drained(), Ordering::Release);
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
        self.drained.store(rx.drained(), Ordering::Release);
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
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        // Before the look: what comes after it is news.
        self.settled.store(self.given_back(), Ordering::Relaxed);
        self.tx().settle(effects)
    }

    /// Counts those who wait for something that is not a record.
    pub(in crate::handle) fn count_waiting(&self, more: bool) {
        if more {
            self.waiting.fetch_add(1, Ordering::AcqRel);
        } else {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
