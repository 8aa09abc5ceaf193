//! Reservations: credit, queue bytes and memory in one step, oldest first.

use std::task::Waker;
use std::time::Duration;

use crate::error::{OsError, PeerMisbehaved, SendError, SessionError};
use crate::mem::{ExtentMut, Memory, MemoryMut};
use crate::notify::event::{self, Cursor, Settle, space_event};
use crate::pool::{Region, Shortage};
use crate::queue::{Flags, Header, Kind};

use crate::session::tickets::{State, TicketId};
use crate::session::{Effects, charge, footprint, store_waker};

use super::{Ask, Direction, Grant, Lack, Plea, Tx};

/// Payload of so many bytes that would fit into its record leaves half of the queue to others, as long as
/// there is memory for it: below, moving the bytes is cheaper than an extent.
const OVERFLOW: u32 = 1024;

/// Where payload is to lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Inside of its record.
    Inside,
    /// The same, if half of the queue stays free.
    InsideIfRoomy,
    /// In memory of its own.
    Apart,
}

impl<O: MemoryMut + Clone, P: Memory + Clone> Tx<O, P> {
    /// Grants at once if nobody waits and everything is there.
    ///
    /// `Ok(None)` means: [`Tx::join`] the queue, or create the segment in `effects.grow` first.
    pub(crate) fn try_grant(
        &mut self,
        key: usize,
        ask: Ask,
        effects: &mut Effects,
    ) -> Result<Option<Grant>, SendError> {
        let serial = self.check(key)?.serial;
        if !self.tickets.is_first(serial) {
            return Ok(None);
        }
        let granted = self.grant_unless(key, ask, [false; 2]).map_err(|misdeed| {
            effects.misdeed = Some(misdeed);
            SessionError::from(misdeed)
        })?;
        match granted {
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
    ///
    /// # Errors
    /// [`SessionError::Misbehaved`] is found here and not yet known: the caller ends the session.
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
        // Whoever waits for the last stream to end is woken by `commit`.
        let watched = flags.contains(Flags::FIN) && !self.served_wakers.is_empty();
        if !credit || watched || !self.tickets.is_first(stream.serial) {
            return Ok(false);
        }
        let writer = &mut self.writer;
        let granted = if len < OVERFLOW { writer.grant(size) } else { writer.grant_half(size) };
        if !granted.map_err(SessionError::from)? {
            return Ok(false);
        }
        stream.credit.take(charge);
        self.credit.take(footprint);
        let opens = !std::mem::replace(&mut stream.announced, true);
        let flags = flags.with_if(Flags::OPEN, opens);
        stream.in_message = flags.contains(Flags::MORE);
        if flags.contains(Flags::FIN) {
            stream.direction = Direction::Ended;
            self.serving -= usize::from(stream.theirs);
        }
        let header = Header { kind: Kind::Inline, flags, value: len, stream: stream.id.word() };
        self.writer.put(header, data);
        stream.records += 1;
        stream.bytes += u64::from(len);
        if opens {
            self.begin(key, size);
        }
        self.pay_stop(key).map_err(SessionError::from)?;
        self.records += 1;
        self.bytes += u64::from(len);
        Ok(true)
    }

    /// Queues up.
    pub(crate) fn join(&mut self, key: usize, ask: Ask) -> TicketId {
        self.waits.all += 1;
        self.stream(key).waits += 1;
        let serial = self.serial_of(key);
        self.tickets.join(key, serial, ask)
    }

    /// What has become of a ticket: `Ok(None)` while it waits. An answered ticket is gone after this.
    pub(crate) fn poll(
        &mut self,
        id: TicketId,
        waker: &mut Option<Waker>,
        effects: &mut Effects,
    ) -> Option<Result<Grant, SendError>> {
        let ticket = self.tickets.get(id);
        match ticket.state {
            State::Waiting | State::Growing => {
                store_waker(&mut ticket.waker, waker, effects);
                self.take_over(id, effects);
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

    /// A segment that another reservation is to create, whose owner has not come since it was told: it may be
    /// a future that nobody polls. Whoever waits behind it creates the segment instead.
    fn take_over(&mut self, id: TicketId, effects: &mut Effects) {
        let ticket = self.tickets.get(id);
        let waits = matches!(ticket.state, State::Waiting);
        let inline_max = self.geometry.inline_max;
        if !waits || ticket.ask.len().is_none_or(|len| len <= inline_max) {
            return;
        }
        if let Some(plan) = self.tickets.take_plan() {
            self.tickets.get(id).state = State::Growing;
            effects.grow = Some(plan);
        }
    }

    /// The refusal of the kernel that a reservation waits for to end, if that is what it waits for.
    pub(crate) fn refusal(&mut self, id: TicketId) -> Option<OsError> {
        self.arena.refusal().filter(|_| self.tickets.get(id).lacks_memory)
    }

    /// Asks the kernel again for memory, if it has refused some and been left alone for long enough. Returns
    /// when to ask again otherwise, in time since the session began.
    pub(crate) fn ask_again(&mut self, now: Duration, effects: &mut Effects) -> Option<Duration> {
        if self.arena.end_pause(now) {
            self.settle_or_end(effects);
        }
        self.arena.asks_again_at()
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
        let ticket = self.tickets.get(id);
        let (key, serial) = (ticket.stream, ticket.serial);
        effects.stale.extend(ticket.waker.take());
        let state = self.tickets.remove(id);
        // Those behind it may ask for less.
        self.unpark(key, serial);
        match state {
            State::Granted(grant) => self.ungrant(key, grant, effects),
            State::Grow(plan) => {
                self.arena.give_up(plan);
                self.settle_or_end(effects);
            }
            _ => self.settle_or_end(effects),
        }
    }

    /// Has scans look again at reservations of a stream that its credit may suffice for now, or that will never
    /// be granted because it is over. True if there are any.
    pub(super) fn unpark(&mut self, key: usize, serial: u64) -> bool {
        let window = self.geometry.stream_window;
        let open = self.check_serial(key, serial).is_ok();
        let credit = self.streams[key].as_ref().map_or(0, |stream| stream.credit.left());
        let mut left = credit;
        self.tickets.unpark(serial, |ask| {
            left -= ask.charge(window) as i64;
            !open || left >= 0
        })
    }

    /// Gives back what a reservation was granted and did not use.
    pub(crate) fn ungrant(&mut self, key: usize, grant: Grant, effects: &mut Effects) {
        self.writer.ungrant(grant.ring);
        self.credit.untake(grant.footprint);
        if let Some(stream) = self.streams[key].as_mut().filter(|s| s.serial == grant.serial) {
            stream.credit.untake(grant.charge);
            self.unpark(key, grant.serial);
        }
        if let Some(extent) = grant.extent {
            self.arena.release(extent);
        }
        self.settle_or_end(effects);
    }

    /// Answers every ticket that can be, oldest first, and arms the event words for the first that
    /// cannot (`notify`, N-rules on settling).
    pub(crate) fn settle(&mut self, effects: &mut Effects) -> Result<(), PeerMisbehaved> {
        while !self.tickets.is_idle() || self.openers.are_waiting() {
            self.openers.on_head(self.writer.load_head()?, effects);
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
    pub(super) fn arm(&mut self, cursor: Cursor, front: Option<u64>) -> bool {
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
    pub(super) fn scan(
        &mut self,
        effects: &mut Effects,
    ) -> Result<(Option<u64>, Option<u64>), PeerMisbehaved> {
        let (mut head, mut returned) = (self.openers.event(), None);
        let (mut blocked, mut planned) = ([false; 2], false);
        let mut next = 0;
        while let Some(id) = self.tickets.next(next) {
            let ticket = self.tickets.get(id);
            let (key, serial, age, ask) = (ticket.stream, ticket.serial, ticket.age, ticket.ask);
            next = age + 1;
            if matches!(ticket.state, State::Grow(_) | State::Growing) {
                planned |= matches!(ticket.state, State::Grow(_));
                blocked[Region::Small as usize] = true;
                blocked[Region::Dedicated as usize] = true;
                continue;
            }
            if let Err(error) = self.check_serial(key, serial) {
                effects.wakers.extend(self.tickets.answer(id, State::Failed(error)));
                continue;
            }
            if ask.len().is_some() && self.tickets.is_behind(serial, age) {
                self.count_wait(id, &Lack::Stream);
                self.tickets.get(id).lacks_memory = false;
                self.tickets.park(id);
                continue;
            }
            let lack = match self.grant_unless(key, ask, blocked)? {
                Ok(grant) => {
                    effects.wakers.extend(self.tickets.answer(id, State::Granted(grant)));
                    continue;
                }
                Err(lack) => lack,
            };
            self.count_wait(id, &lack);
            self.tickets.get(id).lacks_memory =
                matches!(lack, Lack::Memory(_) | Lack::Behind(_) | Lack::Grow(_));
            match lack {
                Lack::Stream => self.tickets.park(id),
                Lack::Session => break,
                Lack::Memory(region) => {
                    blocked[region as usize] = true;
                    returned = Some(self.returns.cursor());
                    head = earlier(head, self.plead(effects)?);
                }
                Lack::Behind(region) => {
                    blocked[region as usize] = true;
                    returned = Some(self.returns.cursor());
                    if planned {
                        // To take the plan over, unless its owner comes first.
                        effects.wakers.extend(self.tickets.get(id).waker.take());
                    }
                }
                Lack::Grow(plan) => {
                    self.arena.begin(plan);
                    blocked[plan.region as usize] = true;
                    planned = true;
                    let ticket = self.tickets.get(id);
                    ticket.state = State::Grow(plan);
                    effects.wakers.extend(ticket.waker.take());
                }
                Lack::Ring(need) => {
                    let (tail, held) = (self.writer.written(), self.writer.held());
                    head = earlier(head, Some(space_event(&self.geometry, tail, held, need)));
                    break;
                }
            }
        }
        Ok((head, returned))
    }

    /// Counts what a reservation waits for, when it is first looked at.
    fn count_wait(&mut self, id: TicketId, lack: &Lack) {
        if std::mem::replace(&mut self.tickets.get(id).counted, true) {
            return;
        }
        match lack {
            Lack::Stream | Lack::Session => self.waits.credit += 1,
            Lack::Ring(_) => self.waits.space += 1,
            Lack::Memory(_) | Lack::Behind(_) | Lack::Grow(_) => self.waits.memory += 1,
        }
    }

    /// Publishes a plea for memory, if one helps. Gives the event word to wait for if the last one is
    /// unread and another one is due after it.
    fn plead(&mut self, effects: &mut Effects) -> Result<Option<u64>, PeerMisbehaved> {
        if !self.plea.useful {
            return Ok(None);
        }
        if !self.has_read(self.plea.at)? {
            return Ok(Some(event::before(self.plea.at)));
        }
        self.put_control(Header::control(Kind::Need, 0, 0), effects);
        self.plea = Plea { useful: false, at: self.writer.written() };
        self.pleas += 1;
        effects.log.later(|| {
            tracing::debug!("no payload memory left: asked the peer to return what is unread");
        });
        Ok(None)
    }

    pub(super) fn grant_unless(
        &mut self,
        key: usize,
        ask: Ask,
        blocked: [bool; 2],
    ) -> Result<Result<Grant, Lack>, PeerMisbehaved> {
        #[cfg(test)]
        {
            self.attempts += 1;
        }
        let Some(len) = ask.len() else { return self.grant(key, ask, Place::Inside) };
        let region = self.arena.region_of(len);
        let blocked = blocked[region as usize];
        if len > self.geometry.inline_max {
            let granted = match blocked {
                true => Err(Lack::Behind(region)),
                false => self.grant(key, ask, Place::Apart)?,
            };
            let refused = match &granted {
                Err(Lack::Memory(_) | Lack::Behind(_)) => self.arena.refusal().is_some(),
                Err(Lack::Grow(_)) => self.arena.asks_again_at().is_some(),
                _ => false,
            };
            return match ask {
                Ask::Piece(_) if refused && self.geometry.inline_max > 0 => {
                    self.grant(key, Ask::Data(self.geometry.inline_max), Place::Inside)
                }
                _ => Ok(granted),
            };
        }
        if len >= OVERFLOW {
            match self.grant(key, ask, Place::InsideIfRoomy)? {
                Err(Lack::Ring(_)) => {}
                granted => return Ok(granted),
            }
            if !blocked {
                match self.grant(key, ask, Place::Apart)? {
                    Err(Lack::Memory(_) | Lack::Behind(_) | Lack::Ring(_)) => {}
                    granted => return Ok(granted),
                }
            }
        }
        self.grant(key, ask, Place::Inside)
    }

    /// All or nothing (C3).
    fn grant(
        &mut self,
        key: usize,
        ask: Ask,
        place: Place,
    ) -> Result<Result<Grant, Lack>, PeerMisbehaved> {
        let window = self.geometry.stream_window;
        let charge = ask.charge(window);
        let (ring, footprint, extent) = match ask.len() {
            None => (16, 0, None),
            Some(len) => {
                let inside = 16 + u64::from(len).next_multiple_of(16);
                let apart = place == Place::Apart;
                let ring = if apart { 32 } else { inside };
                (ring, footprint(len), apart.then_some(len))
            }
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
            Some(Err(Shortage::Growing(region))) => return Ok(Err(Lack::Behind(region))),
            Some(Err(Shortage::Grow(plan))) => return Ok(Err(Lack::Grow(plan))),
            None => None,
        };
        let room = match place {
            Place::InsideIfRoomy => self.writer.grant_half(ring)?,
            Place::Inside | Place::Apart => self.writer.grant(ring)?,
        };
        if !room {
            if let Some(extent) = extent {
                self.arena.release(extent);
            }
            return Ok(Err(Lack::Ring(ring)));
        }
        let stream = self.stream(key);
        stream.credit.take(charge);
        let serial = stream.serial;
        self.credit.take(footprint);
        let len = ask.len().unwrap_or(0);
        Ok(Ok(Grant { serial, ring, charge, footprint, len, extent }))
    }

    pub(super) fn hold(&mut self, len: u32) -> Result<Result<ExtentMut, Shortage>, PeerMisbehaved> {
        self.take_returns()?;
        Ok(self.arena.hold(len))
    }

    /// Takes everything in that the peer has handed back.
    pub(crate) fn take_returns(&mut self) -> Result<(), PeerMisbehaved> {
        if !self.returns.has_news() {
            return Ok(());
        }
        self.returns.load(self.arena.returnable())?;
        while let Some(entry) = self.returns.next_entry() {
            self.arena.returned(entry)?;
        }
        Ok(())
    }
}

/// The event word for whichever comes first.
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}
