//! The sending half of a session: credit, reservations, and what is put into the queue.

use std::sync::Arc;
use std::task::Waker;

use crate::error::{PeerMisbehaved, SendError, SessionError};
use crate::layout::Geometry;
use crate::mem::{ExtentMut, Memory, MemoryMut, OwnMapping, PeerMapping};
use crate::notify::event::{self, Cursor, Settle, space_event};
use crate::pool::{Arena, Plan, Region, ReturnReader, Shortage};
use crate::queue::{ExtentRef, Flags, Header, Kind, RecordWriter};

use super::tickets::{State, TicketId, Tickets};
use super::{Effects, SendCredit, StreamId, charge, footprint};

/// What a reservation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A record with that many bytes of payload.
    Data(u32),
    /// A record that opens the stream and says nothing else.
    Open,
}

/// Everything one record needs, granted in one step (C3).
#[derive(Debug)]
pub(crate) struct Grant {
    /// Which stream it belongs to, however often its key is used again.
    serial: u64,
    ring: u64,
    charge: u64,
    footprint: u64,
    /// Memory, for payload that does not fit into the record.
    pub(crate) extent: Option<ExtentMut>,
}

/// Why a reservation cannot be granted now.
enum Lack {
    Stream,
    Session,
    Memory(Region),
    Grow(Plan),
    Ring(u64),
}

/// How our direction of a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Open,
    /// Our terminal is published, or will never be owed because the peer never heard of the stream.
    Ended,
}

#[derive(Debug)]
struct TxStream {
    id: StreamId,
    /// The peer knows of the stream.
    announced: bool,
    direction: Direction,
    stopped: Option<u32>,
    /// The application let its receiving half go before the peer knew of the stream: to be told, with
    /// this code, as soon as it does.
    stop_owed: Option<u32>,
    /// Never used again, unlike its key.
    serial: u64,
    credit: SendCredit,
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
    geometry: Geometry,
    over: Option<SessionError>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) waits: u64,
    /// Times an event word was written for somebody who waits.
    pub(crate) armings: u64,
}

impl<O: MemoryMut + Clone, P: Memory + Clone> Tx<O, P> {
    pub(crate) fn new(own: &O, peer: &P, out: &Geometry, incoming: &Geometry) -> Self {
        Self {
            writer: RecordWriter::new(own.clone(), peer.clone(), out),
            own: own.clone(),
            returns: ReturnReader::new(peer.clone(), out, incoming),
            arena: Arena::new(out),
            credit: SendCredit::new(out.unread_max),
            streams: Vec::new(),
            serial: 0,
            tickets: Tickets::default(),
            geometry: *out,
            over: None,
            records: 0,
            bytes: 0,
            waits: 0,
            armings: 0,
        }
    }

    // --- streams -------------------------------------------------------------------------------

    /// Adds the stream that the other half knows as `key`.
    pub(crate) fn insert(&mut self, key: usize, id: StreamId, announced: bool) {
        if self.streams.len() <= key {
            self.streams.resize_with(key + 1, || None);
        }
        let credit = SendCredit::new(self.geometry.stream_window);
        self.serial += 1;
        self.streams[key] = Some(TxStream {
            id,
            announced,
            direction: Direction::Open,
            stopped: None,
            stop_owed: None,
            serial: self.serial,
            credit,
            last_control: 0,
        });
    }

    /// Forgets a stream. Returns the position behind our last control record for it.
    pub(crate) fn remove(&mut self, key: usize) -> u64 {
        self.streams[key].take().map_or(0, |stream| stream.last_control)
    }

    /// Nothing of ours is owed on this stream: our terminal is published, or the peer never heard of it.
    pub(crate) fn is_ended(&self, key: usize) -> bool {
        self.streams[key].as_ref().is_none_or(|stream| stream.direction == Direction::Ended)
    }

    /// The peer knows of the stream.
    pub(crate) fn is_announced(&self, key: usize) -> bool {
        self.streams[key].as_ref().is_some_and(|stream| stream.announced)
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
        if let Some(error) = self.over {
            return Err(error.into());
        }
        // A reservation may outlive its stream.
        let Some(stream) = &self.streams[key] else { return Err(SendError::Ended) };
        match (stream.direction, stream.stopped) {
            (Direction::Ended, _) => Err(SendError::Ended),
            (Direction::Open, Some(code)) => Err(SendError::Stopped(code)),
            (Direction::Open, None) => Ok(stream),
        }
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

    // --- reservations --------------------------------------------------------------------------

    /// Grants at once if nobody waits and everything is there.
    ///
    /// `Ok(None)` means: [`Tx::join`] the queue, or create the segment in `effects.grow` first.
    pub(crate) fn try_grant(
        &mut self,
        key: usize,
        ask: Ask,
        effects: &mut Effects,
    ) -> Result<Option<Grant>, SendError> {
        self.check(key)?;
        if !self.tickets.is_idle() {
            return Ok(None);
        }
        match self.grant(key, ask).map_err(SessionError::from)? {
            Ok(grant) => Ok(Some(grant)),
            Err(Lack::Grow(plan)) => {
                self.arena.begin(plan);
                effects.grow = Some(plan);
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    /// Publishes what was put; gives the new tail if there was anything.
    #[inline]
    pub(crate) fn publish(&mut self) -> Option<u64> {
        let tail = self.writer.publish();
        self.writer.warm();
        tail
    }

    /// Puts a message inside of its record into the queue, if nobody waits and everything is there:
    /// what [`Tx::try_grant`] and [`Tx::commit`] do, in one go, without publishing.
    #[inline]
    pub(crate) fn put_inline(
        &mut self,
        key: usize,
        data: &[u8],
        flags: Flags,
    ) -> Result<bool, SendError> {
        self.check(key)?;
        let len = data.len() as u32;
        let (charge, footprint) = (charge(len, self.geometry.stream_window), footprint(len));
        let stream = self.streams[key].as_mut().expect("a stream lives as long as a half of it");
        let credit = stream.credit.left() >= charge as i64 && self.credit.left() > 0;
        let size = 16 + u64::from(len).next_multiple_of(16);
        if !credit
            || !self.tickets.is_idle()
            || !self.writer.grant(size).map_err(SessionError::from)?
        {
            return Ok(false);
        }
        stream.credit.take(charge);
        self.credit.take(footprint);
        let flags = flags.with_if(Flags::OPEN, !stream.announced);
        stream.announced = true;
        if flags.contains(Flags::FIN) {
            stream.direction = Direction::Ended;
        }
        let header = Header { kind: Kind::Inline, flags, value: len, stream: stream.id.word() };
        self.writer.put(header, data);
        self.pay_stop(key).map_err(SessionError::from)?;
        self.records += 1;
        self.bytes += u64::from(len);
        Ok(true)
    }

    /// Queues up.
    pub(crate) fn join(&mut self, key: usize, ask: Ask) -> TicketId {
        self.waits += 1;
        let serial = self.serial_of(key);
        self.tickets.join(key, serial, ask)
    }

    /// What has become of a ticket: `Ok(None)` while it waits. An answered ticket is gone after this.
    pub(crate) fn poll(
        &mut self,
        id: TicketId,
        waker: Option<&Waker>,
        effects: &mut Effects,
    ) -> Option<Result<Grant, SendError>> {
        let ticket = self.tickets.get(id);
        match ticket.state {
            State::Waiting | State::Growing => {
                if let Some(waker) = waker {
                    ticket.waker = Some(waker.clone());
                }
                None
            }
            State::Grow(plan) => {
                ticket.state = State::Growing;
                effects.grow = Some(plan);
                None
            }
            State::Granted(_) | State::Failed(_) => match self.tickets.remove(id) {
                State::Granted(grant) => Some(Ok(grant)),
                State::Failed(error) => Some(Err(error)),
                _ => unreachable!("the state was just looked at"),
            },
        }
    }

    /// The owner of the ticket has created its segment, or failed to.
    pub(crate) fn grown(&mut self, id: TicketId) {
        let ticket = self.tickets.get(id);
        if matches!(ticket.state, State::Growing) {
            ticket.state = State::Waiting;
        }
    }

    /// Leaves the queue, giving back what was granted.
    pub(crate) fn cancel(&mut self, id: TicketId, effects: &mut Effects) {
        let stream = self.tickets.get(id).stream;
        match self.tickets.remove(id) {
            State::Granted(grant) => self.ungrant(stream, grant, effects),
            State::Grow(plan) => {
                self.arena.give_up(plan);
                self.settle_or_end(effects);
            }
            _ => self.settle_or_end(effects),
        }
    }

    /// Gives back what a reservation was granted and did not use.
    pub(crate) fn ungrant(&mut self, key: usize, grant: Grant, effects: &mut Effects) {
        self.writer.ungrant(grant.ring);
        self.credit.untake(grant.footprint);
        if let Some(stream) = self.streams[key].as_mut().filter(|s| s.serial == grant.serial) {
            stream.credit.untake(grant.charge);
        }
        if let Some(extent) = grant.extent {
            self.arena.release(extent);
        }
        self.settle_or_end(effects);
    }

    /// Answers every ticket that can be, oldest first, and arms the event words for the first that
    /// cannot (`notify`, N-rules on settling).
    pub(crate) fn settle(&mut self, effects: &mut Effects) -> Result<(), PeerMisbehaved> {
        while !self.tickets.is_idle() {
            self.writer.load_head()?;
            self.take_returns()?;
            let (head, returned) = self.scan(effects)?;
            if !self.arm(Cursor::Head, head) & !self.arm(Cursor::Returned, returned) {
                break;
            }
            // The look is the next turn's load (notify, N2).
            self.own.fence_seq_cst();
        }
        Ok(())
    }

    /// Arms a word for the front of the queue; true if it was not armed there already (N5).
    fn arm(&mut self, cursor: Cursor, front: Option<u64>) -> bool {
        match Settle::after_scan(self.own.load64(cursor.event_at()), front) {
            Settle::Write(position) => {
                event::arm(&self.own, cursor, position);
                self.armings += 1;
                true
            }
            Settle::Done => false,
        }
    }

    /// One pass over the queue. Returns the positions of head and return cursor that the first ones
    /// left waiting need to see passed.
    fn scan(
        &mut self,
        effects: &mut Effects,
    ) -> Result<(Option<u64>, Option<u64>), PeerMisbehaved> {
        let (mut head, mut returned) = (None, None);
        let mut blocked = [false; 2];
        let mut index = 0;
        while let Some(id) = self.tickets.nth(index) {
            let ticket = self.tickets.get(id);
            let (key, serial, ask) = (ticket.stream, ticket.serial, ticket.ask);
            if matches!(ticket.state, State::Grow(_) | State::Growing) {
                blocked[Region::Small as usize] = true;
                blocked[Region::Dedicated as usize] = true;
                index += 1;
                continue;
            }
            if let Err(error) = self.check_serial(key, serial) {
                effects.wakers.extend(self.tickets.answer(id, State::Failed(error)));
                continue;
            }
            match self.grant_unless(key, ask, blocked)? {
                Ok(grant) => {
                    effects.wakers.extend(self.tickets.answer(id, State::Granted(grant)));
                    continue;
                }
                Err(Lack::Stream) => {}
                Err(Lack::Session) => break,
                Err(Lack::Memory(region)) => {
                    blocked[region as usize] = true;
                    returned = Some(self.returns.cursor());
                }
                Err(Lack::Grow(plan)) => {
                    self.arena.begin(plan);
                    blocked[plan.region as usize] = true;
                    let ticket = self.tickets.get(id);
                    ticket.state = State::Grow(plan);
                    effects.wakers.extend(ticket.waker.take());
                }
                Err(Lack::Ring(need)) => {
                    let (tail, held) = (self.writer.written(), self.writer.held());
                    head = Some(space_event(&self.geometry, tail, held, need));
                    break;
                }
            }
            index += 1;
        }
        Ok((head, returned))
    }

    fn grant_unless(
        &mut self,
        key: usize,
        ask: Ask,
        blocked: [bool; 2],
    ) -> Result<Result<Grant, Lack>, PeerMisbehaved> {
        match ask {
            Ask::Data(len) if len > self.geometry.inline_max => {
                let region = self.arena.region_of(len);
                if blocked[region as usize] {
                    return Ok(Err(Lack::Memory(region)));
                }
            }
            _ => {}
        }
        self.grant(key, ask)
    }

    /// All or nothing (C3).
    fn grant(&mut self, key: usize, ask: Ask) -> Result<Result<Grant, Lack>, PeerMisbehaved> {
        let window = self.geometry.stream_window;
        let (ring, charge, footprint, extent) = match ask {
            Ask::Open => (16, 0, 0, None),
            Ask::Data(len) if len <= self.geometry.inline_max => (
                16 + u64::from(len).next_multiple_of(16),
                charge(len, window),
                footprint(len),
                None,
            ),
            Ask::Data(len) => (32, charge(len, window), footprint(len), Some(len)),
        };
        if self.stream(key).credit.left() < charge as i64 {
            return Ok(Err(Lack::Stream));
        }
        if footprint > 0 && self.credit.left() <= 0 {
            return Ok(Err(Lack::Session));
        }
        let extent = match extent.map(|len| self.hold(len)).transpose()? {
            Some(Ok(extent)) => Some(extent),
            Some(Err(Shortage::Wait(region))) => return Ok(Err(Lack::Memory(region))),
            Some(Err(Shortage::Grow(plan))) => return Ok(Err(Lack::Grow(plan))),
            None => None,
        };
        if !self.writer.grant(ring)? {
            if let Some(extent) = extent {
                self.arena.release(extent);
            }
            return Ok(Err(Lack::Ring(ring)));
        }
        let stream = self.stream(key);
        stream.credit.take(charge);
        let serial = stream.serial;
        self.credit.take(footprint);
        Ok(Ok(Grant { serial, ring, charge, footprint, extent }))
    }

    fn hold(&mut self, len: u32) -> Result<Result<ExtentMut, Shortage>, PeerMisbehaved> {
        self.take_returns()?;
        Ok(self.arena.hold(len))
    }

    /// Takes everything in that the peer has handed back.
    fn take_returns(&mut self) -> Result<(), PeerMisbehaved> {
        if !self.returns.has_news() {
            return Ok(());
        }
        self.returns.load(self.arena.returnable())?;
        while let Some(entry) = self.returns.next_entry() {
            self.arena.returned(entry)?;
        }
        Ok(())
    }

    // --- publishing ----------------------------------------------------------------------------

    /// Puts granted payload into the queue and publishes it. An extent's first `len` bytes are the
    /// payload, or `inline` is. On error the grant is given back and nothing was sent.
    pub(crate) fn commit(
        &mut self,
        key: usize,
        mut grant: Grant,
        inline: &[u8],
        len: u32,
        flags: Flags,
        effects: &mut Effects,
    ) -> Result<(), SendError> {
        if let Err(error) = self.check_serial(key, grant.serial) {
            self.ungrant(key, grant, effects);
            return Err(error);
        }
        let waiting = !self.tickets.is_idle();
        let window = self.geometry.stream_window;
        let (fewer, less) = (footprint(len), charge(len, window));
        self.credit.untake(grant.footprint - fewer);
        let stream = self.stream(key);
        stream.credit.untake(grant.charge - less);
        let flags = flags.with_if(Flags::OPEN, !stream.announced);
        stream.announced = true;
        if flags.contains(Flags::FIN) {
            stream.direction = Direction::Ended;
        }
        let word = stream.id.word();
        let inline_size = 16 + u64::from(len).next_multiple_of(16);
        match grant.extent.take() {
            Some(extent)
                if len > self.geometry.inline_max || !self.regrant(grant.ring, inline_size) =>
            {
                let header = Header { kind: Kind::Extent, flags, value: 0, stream: word };
                let (id, range) = self.arena.lend(extent);
                let offset = u64::from(range.offset);
                self.writer
                    .put_extent(header, ExtentRef { segment: range.segment, id, offset, len });
            }
            extent => {
                let header = Header { kind: Kind::Inline, flags, value: len, stream: word };
                match extent {
                    Some(extent) => {
                        self.writer.put(header, &extent[..len as usize]);
                        self.arena.release(extent);
                    }
                    None => {
                        self.writer.ungrant(grant.ring - inline_size);
                        self.writer.put(header, inline);
                    }
                }
            }
        }
        effects.misdeed = self.pay_stop(key).err().or(effects.misdeed);
        self.records += 1;
        self.bytes += u64::from(len);
        effects.tail = self.writer.publish().or(effects.tail);
        self.writer.warm();
        if waiting {
            self.settle_or_end(effects);
        }
        Ok(())
    }

    /// Changes a grant of ring bytes from `have` to `want`, if the difference is free.
    fn regrant(&mut self, have: u64, want: u64) -> bool {
        if want > have {
            return self.writer.grant(want - have).unwrap_or(false);
        }
        self.writer.ungrant(have - want);
        true
    }

    /// Publishes the record that only opens the stream, unless the peer knows of it already.
    ///
    /// # Errors
    /// Our direction has ended since it was granted: nobody will ever hear of the stream.
    pub(crate) fn announce(
        &mut self,
        key: usize,
        grant: Grant,
        effects: &mut Effects,
    ) -> Result<(), SendError> {
        if self.is_announced(key) {
            self.ungrant(key, grant, effects);
            return Ok(());
        }
        if let Err(error) = self.check_serial(key, grant.serial) {
            self.ungrant(key, grant, effects);
            return Err(error);
        }
        let stream = self.stream(key);
        stream.announced = true;
        let word = stream.id.word();
        let header = Header { kind: Kind::Open, flags: Flags::OPEN, value: 0, stream: word };
        self.writer.put(header, &[]);
        effects.misdeed = self.pay_stop(key).err().or(effects.misdeed);
        effects.tail = self.writer.publish().or(effects.tail);
        Ok(())
    }

    /// Ends our direction of the stream in good order, also if the peer has asked us to stop. Never waits.
    pub(crate) fn finish(&mut self, key: usize, effects: &mut Effects) -> Result<(), SendError> {
        if let Err(error @ (SendError::Session(_) | SendError::Ended)) = self.check(key) {
            return Err(error);
        }
        let stream = self.stream(key);
        stream.direction = Direction::Ended;
        let announced = std::mem::replace(&mut stream.announced, true);
        let flags = Flags::none().with_if(Flags::OPEN, !announced);
        let header = Header { flags, ..Header::control(Kind::Finish, stream.id.word(), 0) };
        self.control(key, header, effects);
        effects.misdeed = self.pay_stop(key).err().or(effects.misdeed);
        effects.tail = self.writer.publish().or(effects.tail);
        self.settle_or_end(effects);
        Ok(())
    }

    /// Breaks our direction of the stream off, unless it has ended. Never waits.
    pub(crate) fn reset(&mut self, key: usize, code: u32, effects: &mut Effects) {
        let stream = self.stream(key);
        if stream.direction == Direction::Ended {
            return;
        }
        stream.direction = Direction::Ended;
        if stream.announced {
            let header = Header::control(Kind::Reset, stream.id.word(), code);
            self.control(key, header, effects);
        }
        self.settle_or_end(effects);
    }

    /// Asks the peer to stop sending on the stream, as soon as it knows of it.
    pub(crate) fn stop(&mut self, key: usize, code: u32, effects: &mut Effects) {
        let stream = self.stream(key);
        if !stream.announced {
            stream.stop_owed = Some(code);
            return;
        }
        let header = Header::control(Kind::Stop, self.stream(key).id.word(), code);
        self.control(key, header, effects);
    }

    /// Announces credit of a stream: the cumulative grant in bytes.
    pub(crate) fn window(&mut self, key: usize, grant: u64, effects: &mut Effects) {
        let units = (grant / 64) as u32;
        let header = Header::control(Kind::Window, self.stream(key).id.word(), units);
        self.control(key, header, effects);
    }

    /// Announces credit of the session: the cumulative grant in bytes.
    pub(crate) fn session_window(&mut self, grant: u64, effects: &mut Effects) {
        self.put_control(Header::control(Kind::SessionWindow, grant, 0), effects);
    }

    fn control(&mut self, key: usize, header: Header, effects: &mut Effects) {
        self.put_control(header, effects);
        self.stream(key).last_control = self.writer.written();
    }

    /// Q2 keeps room for it, or the peer has broken a rule. After the session's end nobody reads it.
    fn put_control(&mut self, header: Header, effects: &mut Effects) {
        if self.over.is_none() {
            effects.misdeed = self.writer.put_control(header).err().or(effects.misdeed);
            effects.tail = self.writer.publish().or(effects.tail);
        }
    }

    // --- what the peer says --------------------------------------------------------------------

    /// The peer granted credit to a stream.
    pub(crate) fn on_window(&mut self, key: usize, units: u32) -> Result<(), PeerMisbehaved> {
        self.stream(key).credit.update_units(units)
    }

    /// The peer granted credit to the session.
    pub(crate) fn on_session_window(&mut self, grant: u64) -> Result<(), PeerMisbehaved> {
        self.credit.update(grant)
    }

    /// The peer does not read a stream any more.
    pub(crate) fn on_stop(&mut self, key: usize, code: u32) {
        self.stream(key).stopped.get_or_insert(code);
    }

    /// The session is over: nothing more is published, and everybody who waits is told.
    pub(crate) fn end(&mut self, error: SessionError, effects: &mut Effects) {
        self.over.get_or_insert(error);
        while let Some(id) = self.tickets.nth(0) {
            let state = State::Failed(error.into());
            effects.wakers.extend(self.tickets.answer(id, state));
        }
    }

    /// Settles; a lie found on the way ends the session once the lock is released.
    pub(crate) fn settle_or_end(&mut self, effects: &mut Effects) {
        effects.misdeed = self.settle(effects).err().or(effects.misdeed);
    }
}

/// For checks of what is conserved.
#[cfg(test)]
impl<O: MemoryMut + Clone, P: Memory + Clone> Tx<O, P> {
    /// The session's charge of everything published and held.
    pub(crate) fn test_charged(&self) -> u64 {
        self.credit.taken()
    }

    /// Charge of reservations that have been granted and not fetched.
    pub(crate) fn test_granted(&self) -> u64 {
        self.tickets.granted().map(Grant::footprint).sum()
    }

    /// Takes in what the peer has handed back.
    pub(crate) fn test_take_returns(&mut self) -> Result<(), PeerMisbehaved> {
        self.take_returns()
    }
}

#[cfg(test)]
impl Grant {
    /// What the session is charged for it.
    pub(crate) fn footprint(&self) -> u64 {
        self.footprint
    }
}
