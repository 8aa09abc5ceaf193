//! The receiving half of a session: what is drained, where it is put, and what is given back.

#![deny(clippy::unwrap_used, clippy::panic)]

mod crowd;
mod drain;
mod evict;
mod inbox;
mod leaving;
mod spare;
mod streams;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use crate::error::{PeerMisbehaved, SessionError};
use crate::handshake::Role;
use crate::layout::Geometry;
use crate::mem::{LentBytes, Memory, MemoryMut, OwnMapping, PeerMapping};
use crate::notify::leaving::{Final, Limit};
use crate::queue::RecordReader;

pub(crate) use crowd::Crowd;
pub use watch::Readiness;

use super::{Effects, RecvCredit, StreamId, Tx};
use crate::wire::SegmentClass;
use evict::Unread;
use inbox::{Inbox, Room};
use spare::Spare;

/// Payload that nobody has read.
#[derive(Debug)]
pub(crate) enum Payload {
    /// On our heap.
    Heap(Box<[u8]>),
    /// Where the peer put it: to be handed back by `id`. `weight` is what of the arena it keeps
    /// occupied, `number` its place among all extents in inboxes.
    Lent { bytes: LentBytes, id: u32, segment: u32, weight: u32, number: u64 },
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

/// How the peer's direction of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Reset(u32),
    /// The peer leaves and has not seen the stream.
    Unseen,
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
    /// Notes that the peer has asked for memory.
    fn pleaded(&self);
    /// Reads the socket for frames that a record may depend on.
    fn read_socket(&self, rx: &mut Rx<O, P>, effects: &mut Effects) -> Result<(), PeerMisbehaved>;
}

#[derive(Debug)]
struct RxStream {
    id: StreamId,
    inbox: Inbox,
    end: Option<End>,
    waker: Option<Waker>,
    /// The waker was called, and nobody has looked since.
    called: bool,
    /// Who watches the stream without taking anything (see `watch`).
    watcher: Option<Waker>,
    /// The receiving half keeps something that it took out of the inbox and has not handed out.
    kept: bool,
    credit: RecvCredit,
    records: u64,
    bytes: u64,
    /// The application wants what comes.
    reading: bool,
    /// The application still has the receiving half, which knows the stream by its key.
    received: bool,
    /// The application still has the sending half.
    writing: bool,
    /// The peer opened the stream, or we have found it announced.
    heard: bool,
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
    /// Something was put into an inbox or into `accept`, or has ended, since a caller cleared this.
    pub(crate) put_aside: bool,
    accept_wakers: Vec<Waker>,
    /// Who waits for the end of the session.
    end_wakers: Vec<Waker>,
    segments: BTreeMap<u32, (Arc<PeerMapping>, SegmentClass)>,
    unread: Unread,
    /// Streams whose reader waits for the rest of a message of which it holds parts in the peer's memory.
    in_message: BTreeSet<usize>,
    /// What all inboxes take.
    room: Room,
    spare: Spare,
    crowd: Crowd,
    /// The id of the segment announced last.
    pub(crate) last_segment: u32,
    credit: RecvCredit,
    /// Where we stop to take streams in, and where the peer does.
    limit: Limit,
    last: Final,
    own: O,
    peer: P,
    role: Role,
    out: Geometry,
    incoming: Geometry,
    pub(crate) over: Option<SessionError>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Extents moved to the heap while they were unread.
    pub(crate) evicted: u64,
}

/// Records after which whoever finds work without end looks at the socket and at the peer's process, if
/// a millisecond has passed. A power of two.
pub(super) const GLANCE: u64 = 1024;

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
            put_aside: false,
            accept_wakers: Vec::new(),
            end_wakers: Vec::new(),
            segments: BTreeMap::new(),
            unread: Unread::default(),
            in_message: BTreeSet::new(),
            room: Room::default(),
            spare: Spare::default(),
            crowd: Crowd::new(),
            last_segment: 0,
            credit: RecvCredit::session(incoming.unread_max),
            limit: Limit::default(),
            last: Final::default(),
            own: own.clone(),
            peer: peer.clone(),
            role,
            out: *out,
            incoming: *incoming,
            over: None,
            records: 0,
            bytes: 0,
            evicted: 0,
        }
    }

    /// How many others there are, to be asked without the lock.
    pub(crate) fn crowd(&self) -> Crowd {
        self.crowd.clone()
    }

    // --- segments and the end ------------------------------------------------------------------

    /// The peer's segment `id` can be read.
    pub(crate) fn add_segment(&mut self, id: u32, mapping: Arc<PeerMapping>, class: SegmentClass) {
        self.last_segment = id;
        self.segments.insert(id, (mapping, class));
    }

    /// The peer's segment `id` is gone.
    pub(crate) fn remove_segment(&mut self, id: u32) -> Result<(), PeerMisbehaved> {
        self.segments.remove(&id).map(drop).ok_or(PeerMisbehaved::UnknownSegment)
    }

    /// Number and bytes of the peer's segments.
    pub(crate) fn segments(&self) -> (usize, usize) {
        (self.segments.len(), self.segments.values().map(|(mapping, _)| mapping.size()).sum())
    }

    /// The session is over: everybody who waits is told.
    pub(crate) fn finish(
        &mut self,
        error: SessionError,
        feeds: &impl Feeds<O, P>,
        effects: &mut Effects,
    ) {
        // The peer's words can still be read (`notify::leaving`, G5); a liar's prove nothing.
        let honest = !matches!(error, SessionError::Misbehaved(_));
        if honest {
            let _ = self.look_whether_peer_leaves(feeds, effects);
        }
        self.over.get_or_insert(error);
        effects.wakers.append(&mut self.accept_wakers);
        effects.wakers.append(&mut self.end_wakers);
        for (_, stream) in &mut self.streams {
            stream.wake(&self.crowd, effects);
        }
    }
}

impl RxStream {
    fn new(id: StreamId, heard: bool, incoming: &Geometry) -> Self {
        Self {
            id,
            inbox: Inbox::default(),
            end: None,
            waker: None,
            called: false,
            watcher: None,
            kept: false,
            credit: RecvCredit::stream(incoming.stream_window),
            records: 0,
            bytes: 0,
            reading: true,
            received: true,
            writing: true,
            heard,
        }
    }

    /// Whether the peer knows of the stream; `announced` is asked until it says so.
    #[inline]
    fn is_heard(&mut self, announced: impl FnOnce() -> bool) -> bool {
        self.heard = self.heard || announced();
        self.heard
    }

    /// There is something for whoever waits for the stream.
    fn wake(&mut self, crowd: &Crowd, effects: &mut Effects) {
        if let Some(waker) = self.waker.take() {
            if !std::mem::replace(&mut self.called, true) {
                crowd.called();
            }
            effects.wakers.extend(Some(waker));
        }
        effects.wakers.extend(self.watcher.take());
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
        let entries = self.streams.iter().flat_map(|(_, stream)| stream.inbox.iter());
        entries.map(|entry| super::footprint(entry.payload.len() as u32)).sum()
    }

    /// The same of one stream: charge drained, of that taken, and what lies in its inbox.
    pub(crate) fn test_stream(&self, id: StreamId) -> Option<(u64, u64, u64)> {
        let (_, stream) = self.streams.iter().find(|(_, stream)| stream.id == id)?;
        let window = self.incoming.stream_window;
        let charges = stream.inbox.iter().map(|e| super::charge(e.payload.len() as u32, window));
        let (drained, taken) = stream.credit.sums();
        Some((drained, taken, charges.sum()))
    }

    /// Whether the last stream in a place of the peer's has not been forgotten.
    pub(crate) fn test_has_handle(&self, place: u32) -> bool {
        self.theirs.get(place as usize).is_some_and(|place| place.key.is_some())
    }

    /// Streams that are not forgotten.
    pub(crate) fn test_streams(&self) -> usize {
        self.streams.len()
    }
}
