//! One side of a session without sockets, threads or sleep: both halves, and what they need.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::WatchedMemory;
use crate::error::{PeerMisbehaved, SendError, SessionError};
use crate::handshake::Role;
use crate::layout::Geometry;
use crate::mem::{self, Memory, PeerMapping};
use crate::pool::{Plan, ReturnWriter};
use crate::queue::Flags;
use crate::session::{
    Ask, Drained, Effects, Feeds, Grant, Next, Payload, Rx, StreamId, TicketId, Tx,
};
use crate::wire::SegmentClass;

/// Our outbox.
pub(crate) type Own = Arc<WatchedMemory>;

/// A segment on its way from side to side.
pub(crate) type Announced = (u32, SegmentClass, Arc<PeerMapping>);

/// One side of a session whose peer's outbox is a `P`.
pub(crate) struct Side<P> {
    #[cfg(test)]
    pub(crate) own: Own,
    pub(crate) rx: Rx<Own, P>,
    pub(crate) around: Around<P>,
    /// Why it is over.
    pub(crate) over: Option<SessionError>,
    /// Segments that we announce, for whoever plays the socket.
    pub(crate) announced: Vec<Announced>,
    /// Times that unread messages are still moved to the heap when they should: fewer in twins.
    pub(crate) evictions_left: u32,
}

/// What the receiving half needs.
pub(crate) struct Around<P> {
    tx: Mutex<Tx<Own, P>>,
    returns: Mutex<(ReturnWriter<Own>, u32)>,
    max_lent: u32,
    /// Segments that the peer has announced and nobody has read about.
    pub(crate) socket: Mutex<VecDeque<Announced>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: Memory + Clone> Side<P> {
    pub(crate) fn new(own: Own, peer: &P, role: Role, out: &Geometry, incoming: &Geometry) -> Self {
        let around = Around {
            tx: Mutex::new(Tx::new(&own, peer, out, incoming)),
            returns: Mutex::new((ReturnWriter::new(Arc::clone(&own), out, incoming), 0)),
            max_lent: incoming.max_lent,
            socket: Mutex::default(),
        };
        let rx = Rx::new(&own, peer, role, out, incoming);
        Self {
            #[cfg(test)]
            own,
            rx,
            around,
            over: None,
            announced: Vec::new(),
            evictions_left: u32::MAX,
        }
    }

    pub(crate) fn tx(&self) -> MutexGuard<'_, Tx<Own, P>> {
        lock(&self.around.tx)
    }

    pub(crate) fn open(&mut self) -> Option<(usize, StreamId)> {
        self.rx.open(&mut lock(&self.around.tx)).ok()
    }

    #[cfg(test)]
    pub(crate) fn try_open(&mut self) -> Result<(usize, StreamId), crate::error::OpenError> {
        self.rx.open(&mut lock(&self.around.tx))
    }

    /// Takes no further streams of the peer's.
    pub(crate) fn leave(&mut self) {
        let mut effects = Effects::default();
        let left = self.rx.leave(&mut lock(&self.around.tx), &mut effects);
        let _ = self.complete(effects, left);
    }

    /// Whether all streams that were taken before leaving are over.
    #[cfg(test)]
    pub(crate) fn poll_drained(&self) -> std::task::Poll<()> {
        self.rx.poll_drained(&mut self.tx(), &mut None)
    }

    /// Drains once, up to the budget. True if there may be more.
    pub(crate) fn drain(&mut self) -> Result<bool, PeerMisbehaved> {
        let mut effects = Effects::default();
        let drained = self.rx.drain(&self.around, None, &mut effects);
        let drained = drained.map(|drained| matches!(drained, Drained::Budget));
        let settled = self.tx().settle(&mut effects);
        self.complete(effects, drained.and_then(|more| settled.map(|()| more)))
    }

    /// Takes the next message of a stream, and hands it back at once.
    pub(crate) fn take(&mut self, key: usize) -> Result<Option<Vec<u8>>, PeerMisbehaved> {
        let mut effects = Effects::default();
        let next = self.rx.take(key, &self.around, &mut effects);
        let bytes = match next {
            Next::Entry(entry) => {
                let bytes = match &entry.payload {
                    Payload::Heap(bytes) => bytes.to_vec(),
                    Payload::Lent { bytes, .. } => bytes.to_vec(),
                };
                effects.dropped.push(entry.payload);
                Some(bytes)
            }
            Next::End(_) | Next::Nothing => None,
        };
        self.complete(effects, Ok(bytes))
    }

    /// Takes the next message of a stream out of the queue, if it is the next record.
    pub(crate) fn take_inline(&mut self, key: usize) -> Option<usize> {
        let mut effects = None;
        let copy = |peer: &P, at, len| Some(peer.read_to_vec(at, len).len());
        let taken = self.rx.take_inline(key, &self.around, &mut effects, copy);
        let _ = self.complete(effects.unwrap_or_default(), Ok(()));
        taken
    }

    /// Sends a message inside of its record, if nothing has to be waited for.
    pub(crate) fn put_inline(&mut self, key: usize, data: &[u8], flags: Flags) -> bool {
        let mut tx = lock(&self.around.tx);
        let put = tx.put_inline(key, data, flags);
        tx.publish();
        drop(tx);
        if let (Err(SendError::Session(error @ SessionError::Misbehaved(_))), None) =
            (put, self.over)
        {
            self.end(error);
        }
        put.unwrap_or(false)
    }

    /// Grants a reservation at once, or not at all.
    pub(crate) fn reserve(&mut self, key: usize, ask: Ask) -> Result<Option<Grant>, SendError> {
        let mut effects = Effects::default();
        let mut granted = self.tx().try_grant(key, ask, &mut effects);
        if let Some(plan) = effects.grow.take() {
            self.grow(plan, &mut effects);
            granted = self.tx().try_grant(key, ask, &mut effects);
            if let Some(plan) = effects.grow.take() {
                self.tx().arena.give_up(plan);
            }
        }
        let _ = self.complete(effects, Ok(()));
        granted
    }

    /// Queues up for a reservation.
    pub(crate) fn join(&mut self, key: usize, ask: Ask) -> TicketId {
        let ticket = self.tx().join(key, ask);
        self.settle();
        ticket
    }

    /// What has become of a ticket; it is gone if there is an answer.
    pub(crate) fn poll(&mut self, ticket: TicketId) -> Option<Result<Grant, SendError>> {
        let mut effects = Effects::default();
        let answer = self.tx().poll(ticket, &mut None, &mut effects);
        if let Some(plan) = effects.grow.take() {
            self.grow(plan, &mut effects);
            self.tx().grown(ticket);
            self.settle();
        }
        let _ = self.complete(effects, Ok(()));
        answer
    }

    pub(crate) fn cancel(&mut self, ticket: TicketId) {
        let mut effects = Effects::default();
        self.tx().cancel(ticket, &mut effects);
        let _ = self.complete(effects, Ok(()));
    }

    pub(crate) fn settle(&mut self) {
        let mut effects = Effects::default();
        let result = self.tx().settle(&mut effects);
        let _ = self.complete(effects, result);
    }

    /// Sends `data` by a grant for at least as many bytes.
    pub(crate) fn commit(
        &mut self,
        key: usize,
        mut grant: Grant,
        data: &[u8],
        flags: Flags,
    ) -> Result<(), SendError> {
        if let Some(extent) = &mut grant.extent {
            extent[..data.len()].copy_from_slice(data);
        }
        let mut effects = Effects::default();
        let result = self.tx().commit(key, grant, data, data.len() as u32, flags, &mut effects);
        let _ = self.complete(effects, Ok(()));
        result
    }

    pub(crate) fn ungrant(&mut self, key: usize, grant: Grant) {
        let mut effects = Effects::default();
        self.tx().ungrant(key, grant, &mut effects);
        let _ = self.complete(effects, Ok(()));
    }

    pub(crate) fn finish(&mut self, key: usize) {
        let mut effects = Effects::default();
        let _ = self.tx().finish(key, &mut effects);
        let _ = self.complete(effects, Ok(()));
    }

    #[cfg(test)]
    pub(crate) fn try_finish(&mut self, key: usize) -> Result<(), SendError> {
        self.tx().finish(key, &mut Effects::default())
    }

    /// Lets the sending half go.
    pub(crate) fn drop_sender(&mut self, key: usize) {
        let mut effects = Effects::default();
        {
            let mut tx = lock(&self.around.tx);
            tx.reset(key, 0, &mut effects);
            self.rx.drop_sender(key, &mut tx, &mut effects);
        }
        let _ = self.complete(effects, Ok(()));
    }

    /// Lets the receiving half go.
    pub(crate) fn drop_receiver(&mut self, key: usize) {
        let mut effects = Effects::default();
        self.rx.drop_receiver(key, 0, &mut lock(&self.around.tx), &mut effects);
        let _ = self.complete(effects, Ok(()));
    }

    /// Says on a stream that it is open, and nothing else.
    pub(crate) fn announce(&mut self, key: usize, grant: Grant) {
        let mut effects = Effects::default();
        let _ = self.tx().announce(key, grant, &mut effects);
        let _ = self.complete(effects, Ok(()));
    }

    /// Makes a segment of the peer's known, as a frame on the socket would.
    pub(crate) fn announce_here(&self, segment: Announced) {
        lock(&self.around.socket).push_back(segment);
    }

    /// Charge of what the application has not taken.
    pub(crate) fn unread(&self) -> u64 {
        self.rx.unread()
    }

    /// Reads what the peer announced.
    #[cfg(test)]
    pub(crate) fn read_socket(&mut self) {
        let read = self.around.read_socket(&mut self.rx, &mut Effects::default());
        let _ = self.complete(Effects::default(), read);
    }

    /// Takes in what the peer has handed back.
    #[cfg(test)]
    pub(crate) fn take_returns(&mut self) {
        let result = self.tx().take_returns();
        let _ = self.complete(Effects::default(), result);
    }

    /// Publishes the head, as before a sleep.
    pub(crate) fn rest(&mut self) {
        let mut effects = Effects::default();
        self.rx.publish_head(&mut effects);
    }

    fn grow(&mut self, plan: Plan, effects: &mut Effects) {
        let Ok((segment, theirs)) = mem::recycled_arena(plan.bytes as usize) else {
            return self.tx().arena.give_up(plan);
        };
        let id = self.tx().arena.add(plan, segment);
        self.announced.push((id, plan.region.class(), theirs));
        self.tx().arena.announced(id);
        effects.misdeed = self.tx().settle(effects).err().or(effects.misdeed);
    }

    /// What a flavour does after it has released the locks. A broken rule ends the session.
    fn complete<T>(
        &mut self,
        effects: Effects,
        result: Result<T, PeerMisbehaved>,
    ) -> Result<T, PeerMisbehaved> {
        self.hand_back(effects.dropped);
        if effects.evict && self.evictions_left > 0 {
            self.evictions_left -= 1;
            self.evict();
        }
        let result = match effects.misdeed {
            Some(misdeed) => Err(misdeed),
            None => result,
        };
        if let (Err(misdeed), None) = (&result, self.over) {
            self.end(SessionError::from(*misdeed));
        }
        result
    }

    fn hand_back(&mut self, dropped: Vec<Payload>) {
        for payload in dropped {
            if let (Payload::Lent { id, .. }, None) = (payload, self.over) {
                let mut returns = lock(&self.around.returns);
                returns.0.extent(id);
                returns.1 -= 1;
            }
        }
    }

    /// Moves what is to be moved to the heap.
    fn evict(&mut self) {
        let mut copied = None;
        loop {
            let mut effects = Effects::default();
            let victim = self.rx.evict(copied.take(), &mut effects);
            self.hand_back(effects.dropped);
            let Some(victim) = victim else { return };
            let copy = victim.copy();
            copied = Some((victim, copy));
        }
    }

    pub(crate) fn end(&mut self, error: SessionError) {
        self.over = Some(error);
        let mut effects = Effects::default();
        self.rx.finish(error, &self.around, &mut effects);
        self.tx().end(error, &mut effects);
    }
}

impl<P: Memory + Clone> Feeds<Own, P> for Around<P> {
    fn tx(&self) -> MutexGuard<'_, Tx<Own, P>> {
        lock(&self.tx)
    }

    fn borrowed(&self, _segment: u32) -> Result<(), PeerMisbehaved> {
        let mut returns = lock(&self.returns);
        if returns.1 >= self.max_lent {
            return Err(PeerMisbehaved::LentTooMany);
        }
        returns.1 += 1;
        Ok(())
    }

    fn pleaded(&self) {}

    fn read_socket(
        &self,
        rx: &mut Rx<Own, P>,
        _effects: &mut Effects,
    ) -> Result<(), PeerMisbehaved> {
        while let Some((id, class, mapping)) = lock(&self.socket).pop_front() {
            rx.add_segment(id, mapping, class);
            lock(&self.returns).0.segment(id);
        }
        Ok(())
    }
}
