//! Draining: each record of the peer is acted on once.

#![deny(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use crate::error::PeerMisbehaved;
use crate::layout::EXTENT_ALIGN;
use crate::mem::{LentBytes, Memory, MemoryMut};
use crate::queue::{ExtentRef, Flags, Kind, Record};

use crate::session::{Effects, StreamId, charge, footprint};
use crate::steps::{self, Step};
use crate::wire::SegmentClass;

use super::{BUDGET, Drained, End, Entry, Feeds, GLANCE, Payload, Place, Rx, RxStream};

impl<O: MemoryMut + Clone, P: Memory + Clone> Rx<O, P> {
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
        effects.evict |= self.owes_eviction();
        if std::mem::take(&mut effects.settle) {
            feeds.tx().settle_or_end(effects);
        }
        result
    }

    #[inline]
    pub(super) fn drain_records(
        &mut self,
        feeds: &impl Feeds<O, P>,
        want: Option<usize>,
        effects: &mut Effects,
    ) -> Result<Drained, PeerMisbehaved> {
        if self.over.is_some() {
            return Ok(Drained::Empty);
        }
        self.reader.load_tail()?;
        steps::reach(Step::TailLoaded);
        for _ in 0..BUDGET {
            let Some(record) = self.reader.next_record()? else {
                self.look_whether_peer_leaves(feeds, effects)?;
                return Ok(Drained::Empty);
            };
            if let Some(entry) = self.act(&record, feeds, want, effects)? {
                steps::reach(Step::RecordTaken);
                self.reader.done();
                return Ok(Drained::Entry(entry));
            }
            steps::reach(Step::RecordTaken);
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
    pub(super) fn act(
        &mut self,
        record: &Record,
        feeds: &impl Feeds<O, P>,
        want: Option<usize>,
        effects: &mut Effects,
    ) -> Result<Option<Entry>, PeerMisbehaved> {
        let header = record.header;
        if header.kind == Kind::SessionWindow {
            effects.settle |= feeds.tx().on_session_window(header.stream)?;
            return Ok(None);
        }
        if header.kind == Kind::Need {
            effects.evict |= self.unread.move_all();
            feeds.pleaded();
            self.wake_in_message(effects);
            return Ok(None);
        }
        let id = StreamId::from_word(header.stream);
        let opens = header.flags.contains(Flags::OPEN).then_some(record.position);
        let key = self.find(id, opens, feeds, effects)?;
        match header.kind {
            Kind::Inline => {
                let bytes = match self.spare.take(record.header.value as usize) {
                    Some(mut bytes) => {
                        self.reader.copy_payload(record, &mut bytes);
                        bytes
                    }
                    None => self.reader.payload(record).into_boxed_slice(),
                };
                let payload = Payload::Heap(bytes);
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
                    effects.settle |= match header.kind {
                        Kind::Stop => tx.on_stop(key, header.value),
                        _ => tx.on_window(key, header.value)?,
                    };
                }
            }
            Kind::Open | Kind::Pad | Kind::SessionWindow | Kind::Need => {}
        }
        Ok(None)
    }

    /// The stream of a record; `None` if it is over, or refused. An OPEN at that position makes it. A
    /// stream of ours that the peer has not heard of does not exist for it.
    #[inline]
    pub(super) fn find(
        &mut self,
        id: StreamId,
        opens: Option<u64>,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<Option<usize>, PeerMisbehaved> {
        if let Some(position) = opens {
            return self.on_open(id, position, feeds, effects);
        }
        let places = if id.opener() == self.role { &self.ours } else { &self.theirs };
        let place = places.get(id.place() as usize).ok_or(PeerMisbehaved::UnknownStream)?;
        if id.generation() == 0 || id.generation() > place.generation {
            return Err(PeerMisbehaved::UnknownStream);
        }
        // Of a generation before this one: late.
        let current = place.key.filter(|_| id.generation() == place.generation);
        let Some((key, stream)) = current.and_then(|key| Some((key, self.streams.get_mut(key)?)))
        else {
            return Ok(None);
        };
        match stream.is_heard(|| feeds.tx().is_announced(key)) {
            true => Ok(Some(key)),
            false => Err(PeerMisbehaved::UnknownStream),
        }
    }

    pub(super) fn on_open(
        &mut self,
        id: StreamId,
        position: u64,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<Option<usize>, PeerMisbehaved> {
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
        place.generation = id.generation();
        if self.limit.refuses(position) {
            // We leave: nobody hears of it, and what comes after it is late (G4).
            place.key = None;
            return Ok(None);
        }
        let key = self.streams.insert(RxStream::new(id, true, &self.incoming));
        place.key = Some(key);
        tx.insert(key, id, true);
        self.accept.push_back(key);
        self.put_aside = true;
        effects.wakers.append(&mut self.accept_wakers);
        Ok(Some(key))
    }

    /// Checks an extent that the peer lends us.
    pub(super) fn borrow(
        &mut self,
        extent: ExtentRef,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) -> Result<Payload, PeerMisbehaved> {
        if extent.segment > self.last_segment {
            feeds.read_socket(self, effects)?;
        }
        let (mapping, class) =
            self.segments.get(&extent.segment).ok_or(PeerMisbehaved::UnknownSegment)?;
        if extent.len == 0 || extent.len > self.incoming.max_message {
            return Err(PeerMisbehaved::ExtentBounds);
        }
        let weight = match class {
            SegmentClass::Small => extent.len.next_multiple_of(EXTENT_ALIGN),
            SegmentClass::Dedicated => mapping.size() as u32,
        };
        let bytes = LentBytes::new(Arc::clone(mapping), extent.offset, extent.len)
            .ok_or(PeerMisbehaved::ExtentBounds)?;
        feeds.borrowed(extent.segment)?;
        Ok(Payload::Lent { bytes, id: extent.id, segment: extent.segment, weight, number: 0 })
    }

    #[inline]
    pub(super) fn deliver(
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
        // A large message takes its time.
        effects.glance |= self.records % GLANCE == 0 || len >= 1 << 16;
        self.credit.charge(footprint(len), footprint(self.incoming.max_message))?;
        let Some((key, stream)) = key.and_then(|key| Some((key, self.streams.get_mut(key)?)))
        else {
            self.give_up(payload, feeds, effects);
            return Ok(None);
        };
        if stream.end.is_some() {
            return Err(PeerMisbehaved::AfterEnd);
        }
        stream.records += 1;
        stream.bytes += u64::from(len);
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
                stream.wake(&self.crowd, effects);
                let mut entry = entry;
                if let Payload::Lent { weight, number, .. } = &mut entry.payload {
                    *number = self.unread.add(key, *weight);
                    effects.evict |= self.unread.exceeds(&self.incoming);
                }
                stream.inbox.push(entry, &mut self.room);
                self.put_aside = true;
            }
        } else {
            stream.credit.take(charge);
            self.give_up(payload, feeds, effects);
        }
        if last {
            self.peer_ended(key, feeds, effects);
        }
        Ok(wanted)
    }

    pub(super) fn end(
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
        self.peer_ended(key, feeds, effects);
        Ok(())
    }

    /// A stream has got its end.
    pub(super) fn peer_ended(
        &mut self,
        key: usize,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.wake(&self.crowd, effects);
        }
        self.put_aside = true;
        let mut tx = feeds.tx();
        tx.peer_ended(key, effects);
        self.release(key, &mut tx, effects);
    }

    /// Counts payload that nobody will read as taken, and leaves it to be handed back (C4).
    pub(super) fn give_up(
        &mut self,
        payload: Payload,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) {
        self.credit.take(footprint(payload.len() as u32));
        effects.dropped.push(payload);
        if let Some(grant) = self.credit.due() {
            feeds.tx().session_window(grant, effects);
        }
    }
}
