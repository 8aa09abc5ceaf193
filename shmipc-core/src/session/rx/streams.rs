//! What the application does with streams: taking, opening, letting go.

#![deny(clippy::unwrap_used, clippy::panic)]

use std::task::Waker;

use crate::error::{OpenError, SessionError};
use crate::mem::{Memory, MemoryMut};
use crate::notify::leaving;

use crate::session::{Effects, RecvStats, StreamId, Tx, add_waker, charge, footprint, store_waker};

use super::{End, Feeds, GLANCE, Next, Payload, Place, Rx, RxStream};

impl<O: MemoryMut + Clone, P: Memory + Clone> Rx<O, P> {
    /// Takes the next entry of a stream, and announces the credit it frees (C2).
    #[inline]
    pub(crate) fn take(
        &mut self,
        key: usize,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Next {
        let Some(stream) = self.streams.get_mut(key) else { return Next::Nothing };
        if std::mem::take(&mut stream.called) {
            self.crowd.looked();
        }
        let Some(entry) = stream.inbox.pop(&mut self.room) else {
            return stream.end.map_or(Next::Nothing, Next::End);
        };
        let len = entry.payload.len() as u32;
        self.credit.take(footprint(len));
        stream.credit.take(charge(len, self.incoming.stream_window));
        if let Payload::Lent { weight, .. } = entry.payload {
            self.unread.remove(weight);
            self.prune_unread();
        }
        self.announce_credit(key, feeds, effects);
        Next::Entry(entry)
    }

    /// Announces what a take has freed, where it is due (C2).
    #[inline]
    pub(super) fn announce_credit(
        &mut self,
        key: usize,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) {
        let session_grant = self.credit.due();
        let stream = self.streams.get_mut(key).filter(|stream| stream.end.is_none());
        let stream_grant = stream.and_then(|stream| stream.credit.due());
        if stream_grant.is_none() && session_grant.is_none() {
            return;
        }
        let mut tx = feeds.tx();
        if let Some(grant) = stream_grant {
            tx.window(key, grant, effects);
        }
        if let Some(grant) = session_grant {
            tx.session_window(grant, effects);
        }
    }

    /// Takes the next message of a stream straight out of the queue, if it is the next record and lies
    /// inside of it: what [`Rx::drain`] and [`Rx::take`] do for the most frequent case. `None` leaves
    /// everything else to them.
    #[inline]
    pub(crate) fn take_inline<R>(
        &mut self,
        key: usize,
        feeds: &impl Feeds<O, P>,
        effects: &mut Option<Effects>,
        copy: impl FnOnce(&P, usize, usize) -> Option<R>,
    ) -> Option<R> {
        let stream = self.streams.get_mut(key)?;
        if !stream.inbox.is_empty()
            || stream.end.is_some()
            || !stream.reading
            || self.over.is_some()
        {
            return None;
        }
        if !stream.is_heard(|| feeds.tx().is_announced(key)) {
            return None;
        }
        // A peer that overdraws is left to `deliver`: nothing fits that would not have been granted.
        let window = self.incoming.stream_window;
        let most = charge(self.incoming.inline_max, window);
        if !stream.credit.fits(most) || !self.credit.fits(footprint(self.incoming.inline_max)) {
            return None;
        }
        let (payload, len, last) = self.reader.take_inline(stream.id.word(), copy)?;
        self.records += 1;
        self.bytes += u64::from(len);
        stream.records += 1;
        stream.bytes += u64::from(len);
        if self.records % GLANCE == 0 {
            effects.get_or_insert_default().glance = true;
        }
        if last {
            // Before credit is announced: none is for a direction that is over.
            stream.end = Some(End::Finished);
        }
        let stream_due = stream.credit.pass(charge(len, window));
        if self.credit.pass(footprint(len)) || stream_due {
            self.announce_credit(key, feeds, effects.get_or_insert_default());
        }
        if last {
            self.ended_with_message(key, feeds, effects.get_or_insert_default());
        }
        Some(payload)
    }

    /// The message that was taken is the last: what [`Rx::deliver`] does about that.
    #[cold]
    fn ended_with_message(&mut self, key: usize, feeds: &impl Feeds<O, P>, effects: &mut Effects) {
        if let Some(stream) = self.streams.get_mut(key) {
            effects.wakers.extend(stream.watcher.take());
        }
        self.put_aside = true;
        self.peer_ended(key, feeds, effects);
        if std::mem::take(&mut effects.settle) {
            feeds.tx().settle_or_end(effects);
        }
    }

    /// Takes memory back that was handed out with a message, for the next of its size.
    pub(crate) fn reuse(&mut self, payload: Box<[u8]>) {
        self.spare.keep(payload);
    }

    /// Counters of a stream.
    pub(crate) fn stats_of(&self, key: usize) -> RecvStats {
        let Some(stream) = self.streams.get(key) else { return RecvStats::default() };
        let unread = stream.inbox.iter().map(|entry| entry.payload.len() as u64).sum();
        let (records, bytes) = (stream.records, stream.bytes);
        RecvStats {
            records,
            bytes,
            unread_records: stream.inbox.len() as u64,
            unread_bytes: unread,
        }
    }

    /// The end of a stream whose inbox is empty, if it has come.
    pub(crate) fn end_of(&self, key: usize) -> Next {
        let end = self.streams.get(key).and_then(|stream| stream.end);
        end.map_or(Next::Nothing, Next::End)
    }

    /// The waker for when the stream has something. False without a `clone` of the waker, if one is needed: then
    /// nothing is remembered, and the caller makes one without the lock, looks again, and comes back.
    pub(crate) fn wait(
        &mut self,
        key: usize,
        waker: &Waker,
        clone: &mut Option<Waker>,
        effects: &mut Effects,
    ) -> bool {
        if let Some(stream) = self.streams.get_mut(key) {
            let known = stream.waker.as_ref().is_some_and(|old| old.will_wake(waker));
            if !known && clone.is_none() {
                return false;
            }
            store_waker(&mut stream.waker, clone, effects);
        }
        self.crowd.waits(Some(key));
        true
    }

    /// The reader of a stream waits for the rest of a message of which it holds parts in the peer's memory: it
    /// is woken too when the peer asks for memory.
    pub(crate) fn wait_in_message(&mut self, key: usize) {
        self.in_message.insert(key);
    }

    /// Wakes the readers that wait in the middle of a message. Each has registered since the last plea, so a
    /// peer that pleads without end gains nothing.
    pub(super) fn wake_in_message(&mut self, effects: &mut Effects) {
        for key in std::mem::take(&mut self.in_message) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.wake(&self.crowd, effects);
            }
        }
    }

    /// Whom to wake when a place may be free, after [`Rx::open`] found none.
    pub(crate) fn wait_open(
        &self,
        waker: &mut Option<Waker>,
        tx: &mut Tx<O, P>,
        effects: &mut Effects,
    ) {
        let free = self.free.iter().map(|&number| self.ours[number as usize].free_at);
        tx.openers.wait(waker, free.min());
        tx.settle_or_end(effects);
    }

    /// Takes the next stream that the peer opened.
    pub(crate) fn accept(&mut self) -> Option<(usize, StreamId)> {
        let key = self.accept.pop_front()?;
        self.streams.get(key).map(|stream| (key, stream.id))
    }

    /// Whom to wake when the peer opens a stream.
    pub(crate) fn wait_accept(&mut self, waker: &mut Option<Waker>) {
        self.crowd.waits(None);
        add_waker(&mut self.accept_wakers, waker);
    }

    /// Somebody gives up waiting for a stream. It may be any of them: the others are woken, and come back.
    pub(crate) fn forget_accepts(&mut self, effects: &mut Effects) {
        effects.wakers.append(&mut self.accept_wakers);
    }

    /// Whom to wake when the session ends, or the peer leaves.
    pub(crate) fn wait_end(&mut self, waker: &mut Option<Waker>) {
        add_waker(&mut self.end_wakers, waker);
    }

    /// Somebody gives up waiting for the end. The others are woken, and come back.
    pub(crate) fn forget_ends(&mut self, effects: &mut Effects) {
        effects.wakers.append(&mut self.end_wakers);
    }

    /// Opens a stream, of which the peer hears with its first record.
    pub(crate) fn open(&mut self, tx: &mut Tx<O, P>) -> Result<(usize, StreamId), OpenError> {
        if let Some(error) = self.over {
            return Err(error.into());
        }
        if self.limit.is_fixed() {
            return Err(OpenError::Leaving);
        }
        if leaving::is_leaving(&self.peer) {
            return Err(OpenError::GoingAway);
        }
        let number = self.free_place(tx)?;
        let place = &mut self.ours[number as usize];
        place.generation += 1;
        let id = StreamId::new(self.role, number, place.generation);
        let key = self.streams.insert(RxStream::new(id, false, &self.incoming));
        place.key = Some(key);
        tx.insert(key, id, false);
        Ok((key, id))
    }

    /// A place that the peer has no unread control record of ours for (C5).
    pub(super) fn free_place(&mut self, tx: &mut Tx<O, P>) -> Result<u32, OpenError> {
        let limit = self.out.writer_streams;
        let more = (self.ours.len() as u32) < limit;
        // Places come free in another order than the peer reads about them. The front has waited
        // longest; if it is not free, a place that was never used is as good as the others.
        for index in 0..if more { self.free.len().min(1) } else { self.free.len() } {
            let number = self.free[index];
            let free_at = self.ours[number as usize].free_at;
            if tx.has_read(free_at).map_err(SessionError::from)? {
                self.free.remove(index);
                return Ok(number);
            }
        }
        if !more {
            return Err(OpenError::TooManyStreams { limit });
        }
        self.ours.push(Place::default());
        Ok(self.ours.len() as u32 - 1)
    }

    /// The application let the sending half go; `Tx` has ended the direction.
    pub(crate) fn drop_sender(&mut self, key: usize, tx: &mut Tx<O, P>, effects: &mut Effects) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.writing = false;
        }
        self.release_and_settle(key, tx, effects);
    }

    /// The application let the receiving half go: what is unread goes back.
    pub(crate) fn drop_receiver(
        &mut self,
        key: usize,
        code: u32,
        tx: &mut Tx<O, P>,
        effects: &mut Effects,
    ) {
        self.stop_receiver(key, code, tx, effects);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.received = false;
            stream.wake(&self.crowd, effects);
        }
        self.release_and_settle(key, tx, effects);
    }

    /// The application asks the peer to stop: what is unread goes back. The stream stays, because the
    /// receiving half goes on to use its key.
    pub(crate) fn stop_receiver(
        &mut self,
        key: usize,
        code: u32,
        tx: &mut Tx<O, P>,
        effects: &mut Effects,
    ) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !std::mem::take(&mut stream.reading) {
            return;
        }
        stream.wake(&self.crowd, effects);
        let stop = stream.end.is_none();
        for entry in stream.inbox.take(&mut self.room) {
            let len = entry.payload.len() as u32;
            self.credit.take(footprint(len));
            stream.credit.take(charge(len, self.incoming.stream_window));
            if let Payload::Lent { weight, .. } = entry.payload {
                self.unread.remove(weight);
            }
            effects.dropped.push(entry.payload);
        }
        self.prune_unread();
        if let Some(grant) = self.credit.due() {
            tx.session_window(grant, effects);
        }
        if stop {
            tx.stop(key, code, effects);
        }
    }

    /// Forgets a stream that the application lets go of, if it is over.
    fn release_and_settle(&mut self, key: usize, tx: &mut Tx<O, P>, effects: &mut Effects) {
        self.release(key, tx, effects);
        if std::mem::take(&mut effects.settle) {
            tx.settle_or_end(effects);
        }
    }

    /// Forgets a stream when both directions are over and the application has let it go. The caller settles if
    /// `effects` says so.
    pub(super) fn release(&mut self, key: usize, tx: &mut Tx<O, P>, effects: &mut Effects) {
        let Some(stream) = self.streams.get(key) else { return };
        let unheard = !tx.is_announced(key);
        let over = (stream.end.is_some() || unheard) && tx.is_ended(key);
        if stream.received || stream.writing || !over {
            return;
        }
        let id = stream.id;
        let stream = self.streams.remove(key);
        if stream.called {
            self.crowd.looked();
        }
        let last_control = tx.remove(key);
        let places = if id.opener() == self.role { &mut self.ours } else { &mut self.theirs };
        let Some(place) = places.get_mut(id.place() as usize) else { return };
        if place.key == Some(key) {
            place.key = None;
            if id.opener() == self.role {
                place.free_at = last_control;
                // The peer never heard of this use: it will expect the same generation.
                place.generation -= u32::from(unheard);
                // After its last generation a place is never used again.
                if place.generation < u32::MAX {
                    let free_at = place.free_at;
                    self.free.push_back(id.place());
                    if tx.openers.are_waiting() {
                        tx.openers.on_released(free_at);
                        effects.settle = true;
                    }
                }
            }
        }
    }
}
