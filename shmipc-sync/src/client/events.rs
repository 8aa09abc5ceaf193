//! What happens to a client's sessions, and driving them meanwhile.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use shmipc_core::client::{ClientEvent, Idle, Reader};
use shmipc_core::error::SessionError;
use shmipc_core::handle::{Driver, Parting, Session as Core, WeakSession};
use shmipc_core::link::Poller;

use super::sessions::Sessions;
use crate::block;

/// What happens to a client's sessions, in order; see [`Client::events`](crate::Client::events).
///
/// A thread that waits here drives the sessions whenever no call does: it notices at once that a server leaves
/// or is gone, follows one that leaves after the time that the configuration spreads this over, and takes in
/// what servers send, as [`Session::spawn_driver`](crate::Session::spawn_driver) would. Without such a thread
/// the next call notices.
///
/// The client keeps the latest 256 events; who is further behind is told how many are gone
/// ([`ClientEvent::Missed`]). As an iterator it **blocks**, and ends when the client is closed.
#[derive(Debug)]
pub struct ClientEvents {
    sessions: Arc<Sessions>,
    reader: Reader,
    poller: Arc<Poller>,
    /// Empty while nobody waits.
    watched: Vec<Watched>,
}

/// A session that is driven.
#[derive(Debug)]
struct Watched {
    number: u64,
    driver: Driver,
    session: WeakSession,
}

/// What to do next.
enum Step {
    Tell(Option<ClientEvent>),
    Connect,
    /// Sleep, until then at most, unless more has changed than was seen.
    Sleep(Option<Instant>),
}

impl ClientEvents {
    pub(super) fn new(sessions: &Arc<Sessions>) -> Result<Self, SessionError> {
        let poller = Arc::new(Poller::new()?);
        if sessions.is_foreign() {
            return Err(SessionError::Forked);
        }
        let sessions = Arc::clone(sessions);
        sessions.wake_at_changes(&poller);
        let reader = sessions.with(|lines| lines.reader());
        Ok(Self { sessions, reader, poller, watched: Vec::new() })
    }

    /// The next event, if there is one. Looks at the sessions, and never blocks: it does not connect.
    pub fn try_next(&mut self) -> Option<ClientEvent> {
        self.poller.check_home().ok()?;
        for (number, session) in self.sessions.with(|lines| lines.ready()) {
            if let Some(why) = session.parting() {
                self.sessions.parted(number, why);
            }
        }
        match self.sessions.with(|lines| lines.poll_event(&mut self.reader)) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    /// The next event. **Blocks** for at most `timeout`; `None` if nothing has happened, or the client is
    /// closed.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<ClientEvent> {
        self.next_until(block::deadline(Some(timeout)))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Option<ClientEvent> {
        self.poller.check_home().ok()?;
        let event = loop {
            let now = Instant::now();
            match self.step(now, deadline) {
                Step::Tell(event) => break event,
                Step::Connect => {
                    let limit = self.sessions.config.session().connect_deadline(Instant::now());
                    // If it fails, the next call tries.
                    let _ = self.sessions.connect(deadline.map_or(limit, |at| at.min(limit)));
                }
                Step::Sleep(until) => {
                    if !self.sleep(until) {
                        break None;
                    }
                }
            }
        };
        self.watched.drain(..).for_each(|watched| watched.leave(&self.poller));
        event
    }

    fn step(&mut self, now: Instant, deadline: Option<Instant>) -> Step {
        let (step, ready) = self.sessions.with(|lines| {
            let step = match lines.poll_event(&mut self.reader) {
                Poll::Ready(event) => Step::Tell(event),
                Poll::Pending if deadline.is_some_and(|at| at <= now) => Step::Tell(None),
                Poll::Pending => match lines.idle(now) {
                    Idle::Connect => Step::Connect,
                    Idle::Pause(then) => {
                        Step::Sleep(Some(deadline.map_or(then, |at| at.min(then))))
                    }
                    Idle::Follow | Idle::Rest => Step::Sleep(deadline),
                },
            };
            let ready = if matches!(step, Step::Sleep(_)) { lines.ready() } else { Vec::new() };
            (step, ready)
        });
        for (number, session) in ready {
            self.watch(number, session);
        }
        step
    }

    fn watch(&mut self, number: u64, session: Core) {
        if self.watched.iter().any(|watched| watched.number == number) {
            return;
        }
        let driver = session.driver();
        if let Err(error) = self.poller.add(driver.as_fd(), number) {
            tracing::warn!(%error, "a session of a client is not driven");
            return;
        }
        self.watched.push(Watched { number, driver, session: session.downgrade() });
    }

    /// Drives all sessions, and **blocks** until one is to be driven again, something has changed, or it
    /// is time. False if the kernel refuses.
    fn sleep(&mut self, until: Option<Instant>) -> bool {
        let (sessions, poller) = (&self.sessions, &self.poller);
        self.watched.retain(|watched| {
            watched.driver.try_drive();
            let parting = watched.parting();
            if let Some(Some(why)) = parting {
                sessions.parted(watched.number, why);
            }
            if parting.is_some() {
                watched.leave(poller);
            }
            parting.is_none()
        });
        let drivers = || self.watched.iter().map(|watched| &watched.driver);
        let until = drivers().filter_map(Driver::next_deadline).chain(until).min();
        // All of them, also after one that has something.
        let awake = drivers().filter(|driver| !driver.arm()).count();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = if awake > 0 { Some(Duration::ZERO) } else { left };
        // Who changed something since the last step has woken the poller.
        match poller.wait(&mut Vec::new(), left) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the sessions of a client are driven no longer");
                false
            }
        }
    }
}

impl Watched {
    /// Whether it is to be watched no longer, and why, if that is to be reported.
    fn parting(&self) -> Option<Option<Parting>> {
        let Some(session) = self.session.upgrade() else { return Some(None) };
        match session.poll_parting(None) {
            Poll::Ready(why) => Some(Some(why)),
            Poll::Pending => None,
        }
    }

    /// Leaves the driving to others.
    fn leave(&self, poller: &Poller) {
        poller.remove(self.driver.as_fd());
        self.driver.leave();
    }
}

impl Iterator for ClientEvents {
    type Item = ClientEvent;

    fn next(&mut self) -> Option<ClientEvent> {
        self.next_until(None)
    }
}
