//! The sessions of a client: connecting, and waiting for others who connect.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use shmipc_core::client::{CallError, ClientConfig, Lines, Turn, random};
use shmipc_core::error::{ConnectError, SessionError};
use shmipc_core::handle::{Parting, Session as Core};
use shmipc_core::link::Poller;
use shmipc_core::mem::Home;

use crate::Session;

#[derive(Debug)]
pub(super) struct Sessions {
    address: PathBuf,
    pub(super) config: ClientConfig,
    lines: Mutex<Lines<Core>>,
    /// Something has changed, for calls.
    changed: Condvar,
    /// The same for those who wait for events.
    pollers: Mutex<Vec<Weak<Poller>>>,
    /// In a forked child another thread may hold the locks for ever.
    home: Home,
}

impl Sessions {
    pub(super) fn new(address: PathBuf, config: ClientConfig) -> Self {
        let lines = Mutex::new(Lines::new(&config));
        let (changed, pollers) = (Condvar::new(), Mutex::default());
        Self { address, config, lines, changed, pollers, home: Home::here() }
    }

    /// Whether this process is a fork of the one whose client it is: then nothing here may be used.
    pub(super) fn is_foreign(&self) -> bool {
        self.home.is_foreign()
    }

    /// Does something under the lock, and tells who waits if it has changed something. Handles of sessions
    /// are not dropped in there.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Lines<Core>) -> R) -> R {
        let (result, changed) = {
            let mut lines = lock(&self.lines);
            let before = lines.changes();
            let result = act(&mut lines);
            (result, lines.changes() != before)
        };
        if changed {
            self.changed.notify_all();
            lock(&self.pollers).iter().filter_map(Weak::upgrade).for_each(|poller| poller.wake());
        }
        result
    }

    /// **Blocks** until something has changed that was not `seen`, or until then.
    pub(super) fn wait(&self, seen: u64, until: Instant) {
        let lines = lock(&self.lines);
        if lines.changes() == seen {
            let left = until.saturating_duration_since(Instant::now());
            drop(self.changed.wait_timeout(lines, left));
        }
    }

    /// Wakes `poller` when something changes, for as long as it exists.
    pub(super) fn wake_at_changes(&self, poller: &Arc<Poller>) {
        let mut pollers = lock(&self.pollers);
        pollers.retain(|poller| poller.strong_count() > 0);
        pollers.push(Arc::downgrade(poller));
    }

    /// A session that takes streams, made if there is none.
    pub(super) fn session(&self, deadline: Instant) -> Result<Session, CallError> {
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(CallError::TimedOut);
            }
            let (turn, seen) = self.with(|lines| (lines.turn(now), lines.changes()));
            match turn {
                Turn::Use(core, number) => match core.parting() {
                    None => return Ok(Session { core }),
                    Some(why) => self.parted(number, why),
                },
                Turn::Connect => return self.connect(deadline),
                Turn::Follow => self.wait(seen, deadline),
                Turn::Pause(then) => self.wait(seen, then.min(deadline)),
                Turn::Failed(error) => return Err(error.into()),
                Turn::Closed => return Err(CallError::Closed),
            }
        }
    }

    /// Connects for all, as [`Turn::Connect`] asks.
    pub(super) fn connect(&self, deadline: Instant) -> Result<Session, CallError> {
        let mut connecting = Connecting { sessions: self, over: false, error: None };
        let config = self.config.session();
        let left = deadline.saturating_duration_since(Instant::now());
        // Between attempts the client pauses itself (K3), and knows why there is no session yet.
        let config = config.with_connect_timeout(config.connect_timeout().min(left));
        let connected = Session::connect_with(&self.address, &config.with_wait_for_server(false));
        let session = connected.inspect_err(|error| connecting.error = Some(error.clone()))?;
        let core = session.core.clone();
        connecting.over = true;
        match self.with(|lines| lines.connected(core, Instant::now(), random())) {
            Ok(_) => Ok(session),
            Err(_) => Err(CallError::Closed),
        }
    }

    /// A session takes no more streams.
    pub(super) fn parted(&self, number: u64, why: Parting) {
        let handle = self.with(|lines| lines.parted(number, why, Instant::now(), random()));
        drop(handle);
    }
}

/// The duty to report how connecting went, whatever happens.
struct Connecting<'a> {
    sessions: &'a Sessions,
    over: bool,
    error: Option<ConnectError>,
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let error = self.error.take();
            self.sessions.with(|lines| lines.failed(error, Instant::now(), random()));
        }
    }
}

/// A call that goes on.
pub(super) struct Ongoing<'a> {
    sessions: &'a Sessions,
    pub(super) answered: bool,
}

impl<'a> Ongoing<'a> {
    pub(super) fn begin(sessions: &'a Sessions) -> Result<Self, CallError> {
        if sessions.is_foreign() {
            return Err(CallError::Open(SessionError::Forked.into()));
        }
        sessions.with(Lines::begin)?;
        Ok(Self { sessions, answered: false })
    }
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        self.sessions.with(|lines| lines.end(self.answered));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics while holding one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
