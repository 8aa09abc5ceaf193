//! The sessions of a client.

use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::ConnectError;
use crate::handle::Parting;

use super::backoff::{Backoff, part_of};
use super::config::ClientConfig;
use super::error::{CallError, is_passing};
use super::events::{ClientEvent, Log, Reader};
use super::line::Line;

/// The sessions of a client, and its calls, without looking at either: whoever finds that something has
/// happened reports it. Handles of sessions are handed out rather than dropped here, since dropping the last
/// one closes the session.
#[derive(Debug)]
pub struct Lines<S: Line> {
    places: Vec<Place<S>>,
    /// Whose turn it is (K4).
    next: usize,
    /// The place that somebody connects for (K2).
    connecting: Option<usize>,
    pauses: Backoff,
    /// No attempt before that (K3).
    not_before: Option<Instant>,
    /// Why the last attempt to connect failed; `None` if it succeeded.
    failure: Option<ConnectError>,
    move_spread: Duration,
    /// Sessions made so far.
    made: u64,
    /// Sessions that may still be open, those that their servers left included.
    open: Vec<S::Weak>,
    calls: usize,
    stage: Stage,
    log: Log,
    changes: u64,
}

#[derive(Debug)]
enum Place<S> {
    /// To be filled by an idle client at that time, if at all (K5).
    Vacant(Option<Instant>),
    Ready {
        session: S,
        number: u64,
        since: Instant,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// No new calls (K8).
    Closing,
    Closed,
}

/// What who wants a stream does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<S> {
    /// Use this session, unless it turns out that it takes no more streams: then report that by
    /// [`Lines::parted`] and take another turn.
    Use(S, u64),
    /// Connect, and report by [`Lines::connected`] or [`Lines::failed`] in any case.
    Connect,
    /// Wait until something has changed.
    Follow,
    /// Wait until then.
    Pause(Instant),
    /// Fail with this: the server has just refused an attempt for all, and would refuse another one.
    Failed(ConnectError),
    /// The client is closed.
    Closed,
}

/// What an idle client does next (K5).
#[derive(Debug, PartialEq, Eq)]
pub enum Idle {
    /// As [`Turn::Connect`].
    Connect,
    /// Wait until something has changed.
    Follow,
    /// Wait until then, or until something has changed.
    Pause(Instant),
    /// Nothing.
    Rest,
}

impl<S: Line> Lines<S> {
    /// Without a session.
    pub fn new(config: &ClientConfig) -> Self {
        let (first, longest) = config.pauses();
        Self {
            places: (0..config.sessions()).map(|_| Place::Vacant(None)).collect(),
            next: 0,
            connecting: None,
            pauses: Backoff::new(first, longest),
            not_before: None,
            failure: None,
            move_spread: config.move_spread(),
            made: 0,
            open: Vec::new(),
            calls: 0,
            stage: Stage::Open,
            log: Log::default(),
            changes: 0,
        }
    }

    /// Grows whenever something has happened that others may wait for.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    // --- calls ---------------------------------------------------------------------------------

    /// A call begins. To be followed by [`end`](Self::end) in any case.
    ///
    /// # Errors
    /// [`CallError::Closed`] (K8).
    pub fn begin(&mut self) -> Result<(), CallError> {
        if self.stage != Stage::Open {
            return Err(CallError::Closed);
        }
        self.calls += 1;
        Ok(())
    }

    /// A call ends.
    pub fn end(&mut self, answered: bool) {
        self.calls -= 1;
        if answered {
            self.do_not_pause();
        }
        if self.stage != Stage::Open && self.calls == 0 {
            self.changes += 1;
        }
    }

    /// Calls that have begun and not ended.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// What to do for a stream at `now`.
    pub fn turn(&mut self, now: Instant) -> Turn<S> {
        if self.stage == Stage::Closed {
            return Turn::Closed;
        }
        let mine = self.next;
        self.next = (mine + 1) % self.places.len();
        let pause = self.not_before.filter(|&then| then > now);
        let vacant = matches!(self.places[mine], Place::Vacant(_));
        if vacant && self.connecting.is_none() && pause.is_none() {
            self.connecting = Some(mine);
            return Turn::Connect;
        }
        let from_mine = self.places[mine..].iter().chain(&self.places[..mine]);
        for place in from_mine {
            if let Place::Ready { session, number, .. } = place {
                return Turn::Use(session.clone(), *number);
            }
        }
        match (pause, &self.failure) {
            _ if self.connecting.is_some() => Turn::Follow,
            (Some(_), Some(error)) if !is_passing(error) => Turn::Failed(error.clone()),
            (Some(then), _) => Turn::Pause(then),
            (None, _) => Turn::Follow,
        }
    }

    /// Returns the error of a call that failed with `error`. If its deadline passed, that is why there is no session for
    /// it, if that is known.
    pub fn explain(&self, error: CallError) -> CallError {
        match (error, &self.failure) {
            (CallError::TimedOut, Some(failure)) => failure.clone().into(),
            (error, _) => error,
        }
    }

    // --- sessions ------------------------------------------------------------------------------

    /// Who had to connect has a session. Gives its number; or the session back, if the client was closed
    /// meanwhile. `random` is any number.
    ///
    /// # Errors
    /// The session, of a client that was closed.
    pub fn connected(&mut self, session: S, now: Instant, random: u64) -> Result<u64, S> {
        let place = self.connecting.take();
        self.changes += 1;
        let Some(place) = place.filter(|_| self.stage != Stage::Closed) else {
            return Err(session);
        };
        self.not_before = now.checked_add(self.pauses.next(random));
        self.failure = None;
        self.made += 1;
        let number = self.made;
        self.open.retain(|weak| !S::is_gone(weak));
        self.open.push(session.downgrade());
        self.log.push(ClientEvent::Connected { session: number, peer: session.peer() });
        self.places[place] = Place::Ready { session, number, since: now };
        Ok(number)
    }

    /// Reports that the attempt to connect failed with `error`, or was given up (`None`). `random` is any number.
    pub fn failed(&mut self, error: Option<ConnectError>, now: Instant, random: u64) {
        self.changes += 1;
        self.failure = error.or(self.failure.take());
        self.not_before = now.checked_add(self.pauses.next(random));
        if let Some(place) = self.connecting.take() {
            // One attempt is enough for who is idle.
            self.places[place] = Place::Vacant(None);
        }
    }

    /// Session `number` takes no more streams. Gives the client's handle of it, which is to be dropped,
    /// the first time. `random` is any number.
    pub fn parted(&mut self, number: u64, why: Parting, now: Instant, random: u64) -> Option<S> {
        let is_it =
            |place: &Place<S>| matches!(place, Place::Ready { number: n, .. } if *n == number);
        let place = self.places.iter_mut().find(|place| is_it(place))?;
        let (event, due) = match why {
            Parting::PeerLeaves => {
                let due = now.checked_add(part_of(self.move_spread, random));
                (ClientEvent::Migrating { session: number }, due)
            }
            Parting::Over(error) => (ClientEvent::Lost { session: number, error }, None),
        };
        let Place::Ready { session, since, .. } = std::mem::replace(place, Place::Vacant(due))
        else {
            return None;
        };
        if now.saturating_duration_since(since) >= self.pauses.longest() {
            self.do_not_pause();
        }
        self.log.push(event);
        self.changes += 1;
        Some(session)
    }

    fn do_not_pause(&mut self) {
        self.pauses.reset();
        self.not_before = None;
    }

    /// The sessions that are ready, by their numbers.
    pub fn ready(&self) -> Vec<(u64, S)> {
        let ready = self.places.iter().filter_map(|place| match place {
            Place::Ready { session, number, .. } => Some((*number, session.clone())),
            Place::Vacant(_) => None,
        });
        ready.collect()
    }

    /// What to do at `now` if no call comes.
    pub fn idle(&mut self, now: Instant) -> Idle {
        if self.stage != Stage::Open {
            return Idle::Rest;
        }
        let places = self.places.iter().enumerate();
        let due = places.filter_map(|(number, place)| match place {
            Place::Vacant(due) => due.map(|due| (due, number)),
            Place::Ready { .. } => None,
        });
        let Some((due, place)) = due.min() else { return Idle::Rest };
        let due = self.not_before.map_or(due, |then| due.max(then));
        if due > now {
            return Idle::Pause(due);
        }
        if self.connecting.is_some() {
            return Idle::Follow;
        }
        self.connecting = Some(place);
        Idle::Connect
    }

    // --- closing -------------------------------------------------------------------------------

    /// Begins no new calls from now on (K8).
    pub fn begin_closing(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Closing;
            self.changes += 1;
        }
    }

    /// Closes the client. Gives its handles, which are to be dropped, and what there is of sessions that are
    /// still open because of their streams.
    pub fn close(&mut self) -> (Vec<S>, Vec<S::Weak>) {
        self.stage = Stage::Closed;
        self.changes += 1;
        let places = self.places.iter_mut();
        let ready =
            places.filter_map(|place| match std::mem::replace(place, Place::Vacant(None)) {
                Place::Ready { session, .. } => Some(session),
                Place::Vacant(_) => None,
            });
        (ready.collect(), self.open.clone())
    }

    // --- events --------------------------------------------------------------------------------

    /// Reads what happens from now on.
    pub fn reader(&self) -> Reader {
        self.log.reader()
    }

    /// The next event, or `None` once the client is closed and everything was told.
    pub fn poll_event(&self, reader: &mut Reader) -> Poll<Option<ClientEvent>> {
        match self.log.next(reader) {
            Some(event) => Poll::Ready(Some(event)),
            None if self.stage == Stage::Closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
