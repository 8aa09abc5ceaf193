//! The receiving half of a session: what is drained, where it is put, and what is given back.

#![deny(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use crate::error::{OpenError, PeerMisbehaved, SessionError};
use crate::handshake::Role;
use crate::layout::Geometry;
use crate::mem::{LentBytes, Memory, MemoryMut, OwnMapping, PeerMapping};
use crate::queue::{ExtentRef, Flags, Kind, Record, RecordReader};

use super::{Effects, RecvCredit, StreamId, Tx, charge, footprint};

/// Payload that nobody has read.
#[derive(Debug)]
pub(crate) enum Payload {
    /// On our heap.
    Heap(Box<[u8]>),
    /// Where the peer put it: to be handed back by `id`.
    Lent { bytes: LentBytes, id: u32, segment: u32 },
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::Lent { bytes, .. } => bytes.len(),
        }
    }
}

/// One record with payload in an inbox.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) payload: Payload,
    /// The message goes on in the next entry.
    pub(crate) more: bool,
}

/// C1 charges 64 bytes for an entry, so it must not be larger.
const _: () = assert!(size_of::<Entry>() <= 64);

/// How the peer's direction of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Reset(u32),
}

/// The next thing a stream has for its reader.
#[derive(Debug)]
pub(crate) enum Next {
    Entry(Entry),
    End(End),
    Nothing,
}

/// How a drain ended.
#[derive(Debug)]
pub(crate) enum Drained {
    /// Everything published has been acted on.
    Empty,
    /// The budget is used up.
    Budget,
    /// With the record that was wanted.
    Entry(Entry),
}

/// What the receiving half needs from its surroundings while it drains.
pub(crate) trait Feeds<O = Arc<OwnMapping>, P = Arc<PeerMapping>> {
    /// The sending half.
    fn tx(&self) -> std::sync::MutexGuard<'_, Tx<O, P>>;
    /// Counts an extent as lent to us.
    fn borrowed(&self, segment: u32) -> Result<(), PeerMisbehaved>;
    /// Reads the socket for frames that a record may depend on.
    fn read_socket(&self, rx: &mut Rx<O, P>, effects: &mut Effects) -> Result<(), PeerMisbehaved>;
}

#[derive(Debug)]
struct RxStream {
    id: StreamId,
    inbox: VecDeque<Entry>,
    end: Option<End>,
    waker: Option<Waker>,
    credit: RecvCredit,
    /// The application wants what comes.
    reading: bool,
    /// The application still has the receiving half, which knows the stream by its key.
    received: bool,
    /// The application still has the sending half.
    writing: bool,
}

/// A place among the streams of one opener.
#[derive(Debug, Default)]
struct Place {
    /// Uses so far.
    generation: u32,
    /// The stream that uses it now.
    key: Option<usize>,
    /// Ours only: free once the peer's head has passed this.
    free_at: u64,
}

/// The receiving half. See [the module](super).
#[derive(Debug)]
pub(crate) struct Rx<O = Arc<OwnMapping>, P = Arc<PeerMapping>> {
    reader: RecordReader<O, P>,
    streams: Slab<RxStream>,
    /// Streams that we open, and the places that are free.
    ours: Vec<Place>,
    free: VecDeque<u32>,
    /// Streams that the peer opens.
    theirs: Vec<Place>,
    accept: VecDeque<usize>,
    accept_wakers: Vec<Waker>,
    /// Who waits for the end of the session.
    end_wakers: Vec<Waker>,
    segments: BTreeMap<u32, Arc<PeerMapping>>,
    /// The id of the segment announced last.
    pub(crate) last_segment: u32,
    credit: RecvCredit,
    role: Role,
    out: Geometry,
    incoming: Geometry,
    pub(crate) over: Option<SessionError>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// Most records that one turn of the lock handles.
pub(crate) const BUDGET: usize = 1024;

impl<O: MemoryMut + Clone, P: Memory + Clone> Rx<O, P> {
    pub(crate) fn new(own: &O, peer: &P, role: Role, out: &Geometry, incoming: &Geometry) -> Self {
        Self {
            reader: RecordReader::new(own.clone(), peer.clone(), incoming),
            streams: Slab::new(),
            ours: Vec::new(),
            free: VecDeque::new(),
            theirs: Vec::new(),
            accept: VecDeque::new(),
            accept_wakers: Vec::new(),
            end_wakers: Vec::new(),
            segments: BTreeMap::new(),
            last_segment: 0,
            credit: RecvCredit::session(incoming.unread_max),
            role,
            out: *out,
            incoming: *incoming,
            over: None,
            records: 0,
            bytes: 0,
        }
    }

    // --- draining ------------------------------------------------------------------------------

    /// Puts what the peer has published into the inboxes, up to a budget. With `want`, a stream whose
    /// inbox is empty, it ends at the first record for that stream and hands it over.
    ///
    /// # Errors
    /// The rule the peer broke; everything before it has been delivered.
    #[inline]
    pub(crate) fn drain(
        &mut self,
        feeds: &impl Feeds<O, P>,
        want: Option<usize>,
        effects: &mut Effects,
    ) -> Result<Drained, PeerMisbehaved> {
        let before = self.reader.head();
        let result = self.drain_records(feeds, want, effects);
        self.reader.end_batch();
        if self.reader.head() != before {
            effects.head = Some(self.reader.head());
        }
        result
    }

    #[inline]
    fn drain_records(
        &mut self,
        feeds: &impl Feeds<O, P>,
        want: Option<usize>,
        effects: &mut Effects,
    ) -> Result<Drained, PeerMisbehaved> {
        if self.over.is_some() {
            return Ok(Drained::Empty);
        }
        self.reader.load_tail()?;
        for _ in 0..BUDGET {
            let Some(record) = self.reader.next_record()? else { return Ok(Drained::Empty) };
            if let Some(entry) = self.act(&record, feeds, want, effects)? {
                self.reader.done();
                return Ok(Drained::Entry(entry));
            }
        }
        self.reader.done();
        Ok(Drained::Budget)
    }

    /// Publishes the head before a sleep (Q4).
    pub(crate) fn publish_head(&mut self, effects: &mut Effects) {
        let before = self.reader.head();
        self.reader.publish_head();
        if self.reader.head() != before {
            effects.head = Some(self.reader.head());
        }
    }

    /// Everything before this position has been drained.
    pub(crate) fn drained(&self) -> u64 {
        self.reader.drained()
    }

    /// What the session is charged for records that nobody has taken.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn unread(&self) -> u64 {
        self.credit.unread()
    }

    #[inline]
    fn act(
        &mut self,
        record: &Record,
        feeds: &impl Feeds<O, P>,
        want: Option<usize>,
        effects: &mut Effects,
    ) -> Result<Option<Entry>, PeerMisbehaved> {
        let header = record.header;
        if header.kind == Kind::SessionWindow {
            let mut tx = feeds.tx();
            tx.on_session_window(header.stream)?;
            tx.settle(effects)?;
            return Ok(None);
        }
        if header.kind == Kind::Need {
            return Ok(None);
        }
        let id = StreamId::from_word(header.stream);
        let key = self.find(id, header.flags.contains(Flags::OPEN), feeds, effects)?;
        match header.kind {
            Kind::Inline => {
                let payload = Payload::Heap(self.reader.payload(record).into_boxed_slice());
                return self.deliver(key, payload, header.flags, feeds, want, effects);
            }
            Kind::Extent => {
                let extent = record.extent.ok_or(PeerMisbehaved::RecordKind)?;
                let payload = self.borrow(extent, feeds, effects)?;
                return self.deliver(key, payload, header.flags, feeds, want, effects);
            }
            Kind::Finish => self.end(key, End::Finished, feeds, effects)?,
            Kind::Reset => self.end(key, End::Reset(header.value), feeds, effects)?,
            Kind::Window | Kind::Stop => {
                if let Some(key) = key {
                    let mut tx = feeds.tx();
                    match header.kind {
                        Kind::Stop => tx.on_stop(key, header.value),
                        _ => tx.on_window(key, header.value)?,
                    }
                    tx.settle(effects)?;
                }
            }
            Kind::Open | Kind::Pad | Kind::SessionWindow | Kind::Need => {}
        }
        Ok(None)
    }

    /// The stream of a record; `None` if it is over. An OPEN makes it.
    #[inline]
    fn find(
        &mut self,
        id: StreamId,
        open: bool,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<Option<usize>, PeerMisbehaved> {
        if open {
            return self.on_open(id, feeds, effects).map(Some);
        }
        let places = if id.opener() == self.role { &self.ours } else { &self.theirs };
        let place = places.get(id.place() as usize).ok_or(PeerMisbehaved::UnknownStream)?;
        if id.generation() == 0 || id.generation() > place.generation {
            return Err(PeerMisbehaved::UnknownStream);
        }
        // Of a generation before this one: late.
        Ok(place.key.filter(|_| id.generation() == place.generation))
    }

    fn on_open(
        &mut self,
        id: StreamId,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<usize, PeerMisbehaved> {
        let number = id.place() as usize;
        if id.opener() == self.role || id.place() >= self.incoming.writer_streams {
            return Err(PeerMisbehaved::StreamPlace);
        }
        if self.theirs.len() <= number {
            self.theirs.resize_with(number + 1, Place::default);
        }
        let place = &mut self.theirs[number];
        if place.generation.checked_add(1) != Some(id.generation()) {
            return Err(PeerMisbehaved::StreamPlace);
        }
        let mut tx = feeds.tx();
        if let Some(key) = place.key {
            // C5: the application may keep a handle whose both directions are over.
            let over = self.streams.get(key).is_none_or(|s| s.end.is_some()) && tx.is_ended(key);
            if !over {
                return Err(PeerMisbehaved::StreamPlace);
            }
        }
        let key = self.streams.insert(RxStream::new(id, &self.incoming));
        place.generation = id.generation();
        place.key = Some(key);
        tx.insert(key, id, true);
        self.accept.push_back(key);
        effects.wakers.append(&mut self.accept_wakers);
        Ok(key)
    }

    /// Checks an extent that the peer lends us.
    fn borrow(
        &mut self,
        extent: ExtentRef,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<Payload, PeerMisbehaved> {
        if extent.segment > self.last_segment {
            feeds.read_socket(self, effects)?;
        }
        let mapping = self.segments.get(&extent.segment).ok_or(PeerMisbehaved::UnknownSegment)?;
        if extent.len == 0 || extent.len > self.incoming.max_message {
            return Err(PeerMisbehaved::ExtentBounds);
        }
        let bytes = LentBytes::new(Arc::clone(mapping), extent.offset, extent.len)
            .ok_or(PeerMisbehaved::ExtentBounds)?;
        feeds.borrowed(extent.segment)?;
        Ok(Payload::Lent { bytes, id: extent.id, segment: extent.segment })
    }

    #[inline]
    fn deliver(
        &mut self,
        key: Option<usize>,
        payload: Payload,
        flags: Flags,
        feeds: &impl Feeds<O, P>,
        want: Option<usize>,
        effects: &mut Effects,
    ) -> Result<Option<Entry>, PeerMisbehaved> {
        // Bounded by `max_message`, which was checked for both kinds of payload.
        let len = payload.len() as u32;
        self.records += 1;
        self.bytes += u64::from(len);
        self.credit.charge(footprint(len), footprint(self.incoming.max_message))?;
        let Some((key, stream)) = key.and_then(|key| Some((key, self.streams.get_mut(key)?)))
        else {
            self.give_up(payload, feeds, effects);
            return Ok(None);
        };
        if stream.end.is_some() {
            return Err(PeerMisbehaved::AfterEnd);
        }
        let charge = charge(len, self.incoming.stream_window);
        stream.credit.charge(charge, 0)?;
        let last = flags.contains(Flags::FIN);
        if last {
            stream.end = Some(End::Finished);
        }
        let mut wanted = None;
        if stream.reading {
            let entry = Entry { payload, more: flags.contains(Flags::MORE) };
            if want == Some(key) {
                self.credit.take(footprint(len));
                stream.credit.take(charge);
                self.announce_credit(key, feeds, effects);
                wanted = Some(entry);
            } else {
                effects.wakers.extend(stream.waker.take());
                stream.inbox.push_back(entry);
            }
        } else {
            stream.credit.take(charge);
            self.give_up(payload, feeds, effects);
        }
        if last {
            self.release(key, &mut feeds.tx());
        }
        Ok(wanted)
    }

    fn end(
        &mut self,
        key: Option<usize>,
        end: End,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<(), PeerMisbehaved> {
        let Some((key, stream)) = key.and_then(|key| Some((key, self.streams.get_mut(key)?)))
        else {
            return Ok(());
        };
        if stream.end.replace(end).is_some() {
            return Err(PeerMisbehaved::AfterEnd);
        }
        effects.wakers.extend(stream.waker.take());
        self.release(key, &mut feeds.tx());
        Ok(())
    }

    /// Counts payload that nobody will read as taken, and leaves it to be handed back (C4).
    fn give_up(&mut self, payload: Payload, feeds: &impl Feeds<O, P>, effects: &mut Effects) {
        self.credit.take(footprint(payload.len() as u32));
        effects.dropped.push(payload);
        if let Some(grant) = self.credit.due() {
            feeds.tx().session_window(grant, effects);
        }
    }

    // --- what the application does -------------------------------------------------------------

    /// Takes the next entry of a stream, and announces the credit it frees (C2).
    #[inline]
    pub(crate) fn take(
        &mut self,
        key: usize,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Next {
        let Some(stream) = self.streams.get_mut(key) else { return Next::Nothing };
        let Some(entry) = stream.inbox.pop_front() else {
            return stream.end.map_or(Next::Nothing, Next::End);
        };
        let len = entry.payload.len() as u32;
        self.credit.take(footprint(len));
        stream.credit.take(charge(len, self.incoming.stream_window));
        self.announce_credit(key, feeds, effects);
        Next::Entry(entry)
    }

    /// Announces what a take has freed, where it is due (C2).
    #[inline]
    fn announce_credit(&mut self, key: usize, feeds: &impl Feeds<O, P>, effects: &mut Effects) {
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
        // A peer that overdraws is left to `deliver`: nothing fits that would not have been granted.
        let window = self.incoming.stream_window;
        let most = charge(self.incoming.inline_max, window);
        if !stream.credit.fits(most) || !self.credit.fits(footprint(self.incoming.inline_max)) {
            return None;
        }
        let (payload, len) = self.reader.take_inline(stream.id.word(), |peer, at, len| {
            Some((copy(peer, at, len as usize)?, len))
        })?;
        self.records += 1;
        self.bytes += u64::from(len);
        let stream_due = stream.credit.pass(charge(len, window));
        if self.credit.pass(footprint(len)) || stream_due {
            self.announce_credit(key, feeds, effects.get_or_insert_default());
        }
        Some(payload)
    }

    /// The end of a stream whose inbox is empty, if it has come.
    pub(crate) fn end_of(&self, key: usize) -> Next {
        let end = self.streams.get(key).and_then(|stream| stream.end);
        end.map_or(Next::Nothing, Next::End)
    }

    /// Whom to wake when the stream has something.
    pub(crate) fn wait(&mut self, key: usize, waker: &Waker) {
        if let Some(stream) = self.streams.get_mut(key) {
            match &mut stream.waker {
                Some(old) if old.will_wake(waker) => {}
                old => *old = Some(waker.clone()),
            }
        }
    }

    /// Takes the next stream that the peer opened.
    pub(crate) fn accept(&mut self) -> Option<(usize, StreamId)> {
        let key = self.accept.pop_front()?;
        self.streams.get(key).map(|stream| (key, stream.id))
    }

    /// Whom to wake when the peer opens a stream.
    pub(crate) fn wait_accept(&mut self, waker: &Waker) {
        if !self.accept_wakers.iter().any(|old| old.will_wake(waker)) {
            self.accept_wakers.push(waker.clone());
        }
    }

    /// Somebody gives up waiting for a stream. It may be any of them: the others are woken, and come back.
    pub(crate) fn forget_accepts(&mut self, effects: &mut Effects) {
        effects.wakers.append(&mut self.accept_wakers);
    }

    /// Whom to wake when the session ends.
    pub(crate) fn wait_end(&mut self, waker: &Waker) {
        if !self.end_wakers.iter().any(|old| old.will_wake(waker)) {
            self.end_wakers.push(waker.clone());
        }
    }

    /// Opens a stream, of which the peer hears with its first record.
    pub(crate) fn open(&mut self, tx: &mut Tx<O, P>) -> Result<(usize, StreamId), OpenError> {
        if let Some(error) = self.over {
            return Err(error.into());
        }
        let number = self.free_place(tx)?;
        let place = &mut self.ours[number as usize];
        place.generation += 1;
        let id = StreamId::new(self.role, number, place.generation);
        let key = self.streams.insert(RxStream::new(id, &self.incoming));
        place.key = Some(key);
        tx.insert(key, id, false);
        Ok((key, id))
    }

    /// A place that the peer has no unread control record of ours for (C5).
    fn free_place(&mut self, tx: &mut Tx<O, P>) -> Result<u32, OpenError> {
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
    pub(crate) fn drop_sender(&mut self, key: usize, tx: &mut Tx<O, P>) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.writing = false;
        }
        self.release(key, tx);
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
        }
        self.release(key, tx);
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
        effects.wakers.extend(stream.waker.take());
        let stop = stream.end.is_none();
        for entry in std::mem::take(&mut stream.inbox) {
            let len = entry.payload.len() as u32;
            self.credit.take(footprint(len));
            stream.credit.take(charge(len, self.incoming.stream_window));
            effects.dropped.push(entry.payload);
        }
        if let Some(grant) = self.credit.due() {
            tx.session_window(grant, effects);
        }
        if stop {
            tx.stop(key, code, effects);
        }
    }

    /// Forgets a stream when both directions are over and the application has let it go.
    fn release(&mut self, key: usize, tx: &mut Tx<O, P>) {
        let Some(stream) = self.streams.get(key) else { return };
        let unheard = !tx.is_announced(key);
        let over = (stream.end.is_some() || unheard) && tx.is_ended(key);
        if stream.received || stream.writing || !over {
            return;
        }
        let id = stream.id;
        self.streams.remove(key);
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
                    self.free.push_back(id.place());
                }
            }
        }
    }

    // --- segments and the end ------------------------------------------------------------------

    /// The peer's segment `id` can be read.
    pub(crate) fn add_segment(&mut self, id: u32, mapping: Arc<PeerMapping>) {
        self.last_segment = id;
        self.segments.insert(id, mapping);
    }

    /// The peer's segment `id` is gone.
    pub(crate) fn remove_segment(&mut self, id: u32) -> Result<(), PeerMisbehaved> {
        self.segments.remove(&id).map(drop).ok_or(PeerMisbehaved::UnknownSegment)
    }

    /// Number and bytes of the peer's segments.
    pub(crate) fn segments(&self) -> (usize, usize) {
        (self.segments.len(), self.segments.values().map(|mapping| mapping.size()).sum())
    }

    /// The session is over: everybody who waits is told.
    pub(crate) fn finish(&mut self, error: SessionError, effects: &mut Effects) {
        self.over.get_or_insert(error);
        effects.wakers.append(&mut self.accept_wakers);
        effects.wakers.append(&mut self.end_wakers);
        for (_, stream) in &mut self.streams {
            effects.wakers.extend(stream.waker.take());
        }
    }
}

impl RxStream {
    fn new(id: StreamId, incoming: &Geometry) -> Self {
        Self {
            id,
            inbox: VecDeque::new(),
            end: None,
            waker: None,
            credit: RecvCredit::stream(incoming.stream_window),
            reading: true,
            received: true,
            writing: true,
        }
    }
}

/// For checks of what is conserved.
#[cfg(test)]
impl<O: MemoryMut + Clone, P: Memory + Clone> Rx<O, P> {
    /// Charge of everything that was drained, and of what was taken of it.
    pub(crate) fn test_sums(&self) -> (u64, u64) {
        self.credit.sums()
    }

    /// Charge of what lies in inboxes, counted anew.
    pub(crate) fn test_unread(&self) -> u64 {
        let entries = self.streams.iter().flat_map(|(_, stream)| &stream.inbox);
        entries.map(|entry| footprint(entry.payload.len() as u32)).sum()
    }

    /// Streams that are not forgotten.
    pub(crate) fn test_streams(&self) -> usize {
        self.streams.len()
    }
}
