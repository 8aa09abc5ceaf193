//! The sending half of a session: credit, reservations, and what is put into the queue.

#[cfg(test)]
mod conserved;
mod leaving;
mod publish;
mod reserve;

use std::sync::Arc;
use std::task::Waker;

use crate::error::{PeerMisbehaved, SendError, SessionError};
use crate::layout::Geometry;
use crate::mem::{ExtentMut, Memory, MemoryMut, OwnMapping, PeerMapping};
use crate::pool::{Arena, Plan, Region, ReturnReader};
use crate::queue::{Header, Kind, RecordWriter};

use super::openers::Openers;
use super::tickets::{State, Tickets};
use super::{Effects, SendCredit, SendStats, StreamId, charge};

/// Buffers kept for small reservations, each of `inline_max` at most.
const BUFFERS: usize = 4;

/// What a reservation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A record with that many bytes of payload.
    Data(u32),
    /// A record with that many bytes of payload, or with fewer that travel inside of it, if the kernel refuses
    /// memory: a piece of what need not lie in one.
    Piece(u32),
    /// A record that opens the stream and says nothing else.
    Open,
}

impl Ask {
    /// What a stream with this window is charged for it.
    fn charge(self, window: u32) -> u64 {
        self.len().map_or(0, |len| charge(len, window))
    }

    /// Bytes of payload; `None` for a record without.
    fn len(self) -> Option<u32> {
        match self {
            Self::Data(len) | Self::Piece(len) => Some(len),
            Self::Open => None,
        }
    }
}

/// Everything one record needs, granted in one step (C3).
#[derive(Debug)]
pub(crate) struct Grant {
    /// Which stream it belongs to, however often its key is used again.
    serial: u64,
    ring: u64,
    charge: u64,
    footprint: u64,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// Memory, for payload that does not fit into the record.
    pub(crate) extent: Option<ExtentMut>,
}

/// Why a reservation cannot be granted now.
enum Lack {
    Stream,
    Session,
    Memory(Region),
    /// Somebody creates a segment, or an older reservation waits for memory of that region.
    Behind(Region),
    Grow(Plan),
    Ring(u64),
}

/// The plea for memory that we publish when a reservation finds none: the reader copies what is unread
/// and hands it back. One at a time, and none while nothing was lent since the last.
#[derive(Debug, Default)]
struct Plea {
    /// An extent was published since the last plea.
    useful: bool,
    /// The position behind the last plea.
    at: u64,
}

/// Waiting calls of one side, by what they waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// All reservations that waited, also for older ones.
    pub(crate) all: u64,
    pub(crate) credit: u64,
    pub(crate) space: u64,
    pub(crate) memory: u64,
}

/// How our direction of a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Open,
    /// Our terminal is published, or will never be owed because the peer never heard of the stream.
    Ended,
    /// The peer leaves and will never see the stream.
    Unseen,
}

#[derive(Debug)]
struct TxStream {
    id: StreamId,
    /// The peer opened it.
    theirs: bool,
    /// The peer knows of the stream.
    announced: bool,
    /// Where our first record of a stream that we open lies; beyond everything if there is none yet.
    first: u64,
    direction: Direction,
    /// The last record that was sent goes on in the next one.
    in_message: bool,
    stopped: Option<u32>,
    /// The application let its receiving half go before the peer knew of the stream: to be told, with
    /// this code, as soon as it does.
    stop_owed: Option<u32>,
    /// Never used again, unlike its key.
    serial: u64,
    credit: SendCredit,
    records: u64,
    bytes: u64,
    waits: u64,
    /// Behind our last control record for the stream.
    last_control: u64,
}

/// The sending half. See [the module](super).
#[derive(Debug)]
pub(crate) struct Tx<O = Arc<OwnMapping>, P = Arc<PeerMapping>> {
    writer: RecordWriter<O, P>,
    own: O,
    returns: ReturnReader<P>,
    pub(crate) arena: Arena,
    credit: SendCredit,
    streams: Vec<Option<TxStream>>,
    /// Streams so far.
    serial: u64,
    tickets: Tickets,
    pub(crate) openers: Openers,
    plea: Plea,
    /// A stream was opened, and nobody has looked whether the peer leaves.
    opened: bool,
    /// Directions of streams that the peer opened and that have not ended.
    serving: usize,
    served_wakers: Vec<Waker>,
    /// For the next reservations of payload that goes into its record.
    pub(crate) buffers: Vec<Vec<u8>>,
    geometry: Geometry,
    over: Option<SessionError>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) waits: Waits,
    pub(crate) pleas: u64,
    /// Times an event word was written for somebody who waits.
    pub(crate) armings: u64,
    /// Times a reservation was looked at.
    #[cfg(test)]
    pub(crate) attempts: u64,
}

impl<O: MemoryMut + Clone, P: Memory + Clone> Tx<O, P> {
    pub(crate) fn new(own: &O, peer: &P, out: &Geometry, incoming: &Geometry) -> Self {
        Self {
            writer: RecordWriter::new(own.clone(), peer.clone(), out),
            own: own.clone(),
            returns: ReturnReader::new(peer.clone(), out, incoming),
            arena: Arena::new(out),
            credit: SendCredit::session(out.unread_max),
            streams: Vec::new(),
            serial: 0,
            tickets: Tickets::default(),
            openers: Openers::default(),
            plea: Plea::default(),
            opened: false,
            serving: 0,
            served_wakers: Vec::new(),
            buffers: Vec::new(),
            geometry: *out,
            over: None,
            records: 0,
            bytes: 0,
            waits: Waits::default(),
            pleas: 0,
            armings: 0,
            #[cfg(test)]
            attempts: 0,
        }
    }

    /// Keeps the buffer of a reservation, unless there are enough.
    pub(crate) fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.buffers.len() < BUFFERS {
            self.buffers.push(buffer);
        }
    }

    // --- streams -------------------------------------------------------------------------------

    /// Adds the stream that the other half knows as `key`. Of those that the peer opened it knows.
    pub(crate) fn insert(&mut self, key: usize, id: StreamId, theirs: bool) {
        if self.streams.len() <= key {
            self.streams.resize_with(key + 1, || None);
        }
        let credit = SendCredit::stream(self.geometry.stream_window);
        self.serial += 1;
        self.serving += if theirs { 2 } else { 0 };
        self.streams[key] = Some(TxStream {
            id,
            theirs,
            announced: theirs,
            first: u64::MAX,
            direction: Direction::Open,
            in_message: false,
            stopped: None,
            stop_owed: None,
            serial: self.serial,
            credit,
            records: 0,
            bytes: 0,
            waits: 0,
            last_control: 0,
        });
    }

    /// Forgets a stream. Returns the position behind our last control record for it.
    pub(crate) fn remove(&mut self, key: usize) -> u64 {
        self.streams[key].take().map_or(0, |stream| stream.last_control)
    }

    /// Nothing of ours is owed on this stream: our terminal is published, or the peer never heard of it.
    pub(crate) fn is_ended(&self, key: usize) -> bool {
        self.streams[key].as_ref().is_none_or(|stream| stream.direction != Direction::Open)
    }

    /// The peer knows of the stream.
    pub(crate) fn is_announced(&self, key: usize) -> bool {
        self.streams[key].as_ref().is_some_and(|stream| stream.announced)
    }

    /// What was sent last is not the end of its message, and the direction is open.
    pub(crate) fn is_in_message(&self, key: usize) -> bool {
        let stream = self.streams[key].as_ref();
        stream.is_some_and(|stream| stream.in_message && stream.direction == Direction::Open)
    }

    /// True once the peer's head has passed `position`: what we published before has been read.
    pub(crate) fn has_read(&mut self, position: u64) -> Result<bool, PeerMisbehaved> {
        Ok(self.writer.head() >= position || self.writer.load_head()? >= position)
    }

    fn stream(&mut self, key: usize) -> &mut TxStream {
        self.streams[key].as_mut().expect("a stream lives as long as a half of it")
    }

    /// Fails once nothing more can be sent on the stream.
    fn check(&self, key: usize) -> Result<&TxStream, SendError> {
        let stream = self.streams[key].as_ref();
        if let Some(error) = self.over {
            let unseen = stream.is_some_and(|stream| stream.direction == Direction::Unseen);
            return Err(if unseen { SendError::GoingAway } else { error.into() });
        }
        // A reservation may outlive its stream.
        let Some(stream) = stream else { return Err(SendError::Ended) };
        match (stream.direction, stream.stopped) {
            (Direction::Unseen, _) => Err(SendError::GoingAway),
            (Direction::Ended, _) => Err(SendError::Ended),
            (Direction::Open, Some(code)) => Err(SendError::Stopped(code)),
            (Direction::Open, None) => Ok(stream),
        }
    }

    /// Counters of a stream.
    pub(crate) fn stats_of(&self, key: usize) -> SendStats {
        let stream = self.streams.get(key).and_then(Option::as_ref);
        stream.map_or(SendStats::default(), |stream| SendStats {
            records: stream.records,
            bytes: stream.bytes,
            credit: stream.credit.left().max(0) as u64,
            reserve_waits: stream.waits,
        })
    }

    /// Which use of its key a stream is.
    pub(crate) fn serial_of(&self, key: usize) -> u64 {
        self.streams[key].as_ref().map_or(0, |stream| stream.serial)
    }

    /// The same for a reservation that may have outlived its stream.
    pub(crate) fn check_serial(&self, key: usize, serial: u64) -> Result<(), SendError> {
        match self.check(key)?.serial == serial {
            true => Ok(()),
            false => Err(SendError::Ended),
        }
    }

    /// Tells the peer, which now knows of the stream, that nobody reads it; left unpublished.
    #[inline]
    fn pay_stop(&mut self, key: usize) -> Result<(), PeerMisbehaved> {
        let Some(stream) = &mut self.streams[key] else { return Ok(()) };
        if let Some(code) = stream.stop_owed.take() {
            self.writer.put_control(Header::control(Kind::Stop, stream.id.word(), code))?;
            stream.last_control = self.writer.written();
        }
        Ok(())
    }

    // --- what the peer says --------------------------------------------------------------------

    /// The peer granted credit to a stream. True if a reservation may fit now: then the caller settles.
    pub(crate) fn on_window(&mut self, key: usize, units: u32) -> Result<bool, PeerMisbehaved> {
        let stream = self.stream(key);
        stream.credit.update_units(units)?;
        let serial = stream.serial;
        Ok(self.unpark(key, serial))
    }

    /// The peer granted credit to the session. True if a reservation may fit now: then the caller settles.
    pub(crate) fn on_session_window(&mut self, grant: u64) -> Result<bool, PeerMisbehaved> {
        self.credit.update(grant)?;
        Ok(!self.tickets.is_idle())
    }

    /// The peer does not read a stream any more. True if a reservation is to be told: then the caller settles.
    pub(crate) fn on_stop(&mut self, key: usize, code: u32) -> bool {
        let stream = self.stream(key);
        if stream.stopped.is_some() {
            return false;
        }
        stream.stopped = Some(code);
        let serial = stream.serial;
        self.unpark(key, serial);
        !self.tickets.is_idle()
    }

    /// The session is over: nothing more is published, and everybody who waits is told.
    pub(crate) fn end(&mut self, error: SessionError, effects: &mut Effects) {
        self.over.get_or_insert(error);
        self.openers.wake(effects);
        while let Some(id) = self.tickets.any() {
            let state = State::Failed(error.into());
            effects.wakers.extend(self.tickets.answer(id, state));
        }
        self.forget_served(effects);
    }

    /// Settles; a lie found on the way ends the session once the lock is released.
    pub(crate) fn settle_or_end(&mut self, effects: &mut Effects) {
        effects.misdeed = self.settle(effects).err().or(effects.misdeed);
    }
}
