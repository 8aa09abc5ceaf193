//! The accepting machine: a listener and its handshakes behind one descriptor.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollFlags};

use super::handshakes::Handshakes;
use super::roll::Roll;
use super::socket_file::{Bound, SocketFile, bind_address};
use super::upgrades::Upgrades;
use super::{AcceptStats, ListenOptions};
use crate::config::Config;
use crate::error::ListenError;
use crate::handle::{Session, WeakSession};
use crate::handshake::Established;
use crate::link::{self, Address};
use crate::log::Hold;
use crate::mem::{self, Home};

mod files;
mod succession;
mod turn;

const LISTENER: u64 = 0;
const WAKE: u64 = 1;

/// Connections taken in one turn of the lock.
const ACCEPT_BUDGET: usize = 64;
/// Turns of one call, so that a flood of connections keeps no caller in it for long: an event loop and a tokio task
/// have other work too.
const TURNS: usize = 4;

/// Listens on a socket and turns connections into sessions, many side by side (A5). It has no thread:
/// it works inside [`try_accept`](Self::try_accept).
///
/// `AsFd` is an epoll that is readable when `try_accept` has something to do. Dropping it closes it.
#[derive(Debug)]
pub struct Acceptor {
    epoll: Epoll,
    /// Readable while sessions wait to be handed out, and for ever once closed.
    wake: OwnedFd,
    inner: Mutex<Inner>,
    /// A forked child shares `epoll`, `wake` and the listening socket with us, and leaves them alone.
    home: Home,
}

#[derive(Debug)]
struct Inner {
    closed: bool,
    /// `None` once closed, or retired.
    listener: Option<OwnedFd>,
    file: Option<SocketFile>,
    options: ListenOptions,
    /// If this listener can be handed over, or comes from another server.
    upgrades: Option<Upgrades>,
    /// A successor serves, and this server never will again: it has let go of the sockets.
    retired: bool,
    /// The sessions are to be told to leave.
    leaving: bool,
    /// Sessions that were handed out, to be told to leave when a successor serves; if there can be one.
    sessions: Option<Roll>,
    /// Of a listener that was not handed over, 1.
    generation: u64,
    /// We accept: it is our turn (`upgrade`, U1).
    accepts: bool,
    handshakes: Handshakes,
    /// Sessions that nobody has taken yet.
    ready: VecDeque<Established>,
    /// When to look at the socket files again, while this listener accepts and has some (A3).
    look_at: Option<Instant>,
    /// Why it has ended, if it was not closed.
    failure: Option<ListenError>,
    /// Accepting stands still until then, for want of descriptors or memory.
    paused_until: Option<Instant>,
    /// Whether `wake` is readable.
    signalled: bool,
}

/// The lock, under which no line is told: fields are dropped in this order.
struct Locked<'a> {
    inner: MutexGuard<'a, Inner>,
    _hold: Hold,
}

impl Deref for Locked<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Acceptor {
    /// Listens on a path, or on `@name` for an abstract name. A stale socket file is replaced.
    ///
    /// # Errors
    /// [`ListenError::InUse`] if somebody alive listens there, [`ListenError::Occupied`] if the path is
    /// something else than a socket, [`ListenError::BadPath`], [`ListenError::SealUnsupported`],
    /// [`ListenError::SealBroken`], or
    /// what the operating system says.
    pub fn bind(
        address: impl AsRef<Path>,
        options: &ListenOptions,
        config: Config,
    ) -> Result<Self, ListenError> {
        let address = address.as_ref();
        let address = Address::parse(address)
            .map_err(|_| ListenError::BadPath { path: address.display().to_string() })?;
        Self::start(bind_address(&address, options)?, options.clone(), config)
    }

    /// Takes over a listener that somebody else has made, such as systemd. Its socket file is theirs:
    /// it is never removed.
    ///
    /// # Errors
    /// [`ListenError::SealUnsupported`], [`ListenError::SealBroken`], or what the operating system says.
    pub fn from_listener(listener: UnixListener, config: Config) -> Result<Self, ListenError> {
        let socket = OwnedFd::from(listener);
        link::set_nonblocking(socket.as_fd())?;
        Self::start(Bound { socket, file: None }, ListenOptions::new(), config)
    }

    fn start(bound: Bound, options: ListenOptions, config: Config) -> Result<Self, ListenError> {
        Self::with_upgrades(bound, options, config, |_| Ok(None))
    }

    /// `upgrades` makes what this listener is handed over with, on its epoll.
    pub(super) fn with_upgrades(
        bound: Bound,
        options: ListenOptions,
        config: Config,
        upgrades: impl FnOnce(&Epoll) -> Result<Option<Upgrades>, ListenError>,
    ) -> Result<Self, ListenError> {
        mem::probe()?;
        if !config.is_trusted() && mem::is_sealed_memory_writable() {
            return Err(ListenError::SealBroken);
        }
        let Bound { socket, file } = bound;
        mem::pass_rights(socket.as_fd(), false);
        let epoll = link::new_epoll()?;
        let wake = link::eventfd()?;
        let upgrades = upgrades(&epoll)?;
        let accepts = upgrades.as_ref().is_none_or(Upgrades::accepts);
        let events = if accepts { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        link::watch(&epoll, socket.as_fd(), events, LISTENER)?;
        link::watch(&epoll, wake.as_fd(), EpollFlags::EPOLLIN, WAKE)?;
        let mut inner = Inner {
            closed: false,
            listener: Some(socket),
            file,
            options,
            sessions: upgrades.as_ref().map(|_| Roll::default()),
            generation: upgrades.as_ref().map_or(1, Upgrades::generation),
            upgrades,
            retired: false,
            leaving: false,
            accepts,
            handshakes: Handshakes::new(config),
            ready: VecDeque::new(),
            look_at: None,
            failure: None,
            paused_until: None,
            signalled: false,
        };
        inner.look_later(Instant::now());
        Ok(Self { epoll, wake, inner: Mutex::new(inner), home: Home::here() })
    }

    /// Does everything that can be done now, and hands out one session if one is ready. Never blocks.
    ///
    /// `None` means that nothing is left to do until the descriptor becomes readable or
    /// [`next_deadline`](Self::next_deadline) passes.
    ///
    /// # Errors
    /// [`ListenError::Closed`] after [`close`](Self::close). [`ListenError::Replaced`] if another server listens on the path now. [`ListenError::Forked`] in a forked child. [`ListenError::Os`] if the listener or the
    /// epoll itself is broken; no client can bring that about (A6). Of a listener that can be handed over:
    /// [`ListenError::HandedOver`] while a successor serves and no handshake is in progress here any more (of these only those
    /// go on whose clients may have come to their end; their sessions leave at once); if
    /// this one is to take over and cannot, why.
    pub fn try_accept(&self, now: Instant) -> Result<Option<Established>, ListenError> {
        self.work(|inner| {
            inner.begin(now);
            for _ in 0..TURNS {
                inner.check()?;
                if let Some(established) = inner.ready.pop_front() {
                    let more = !inner.ready.is_empty() || inner.has_left();
                    self.signal(inner, more)?;
                    return Ok(Some(established));
                }
                let worked = self.turn(inner, now)?;
                if !inner.ready.is_empty() {
                    continue;
                }
                inner.check()?;
                if inner.is_handed_over() {
                    // For all who wait here.
                    self.signal(inner, true)?;
                    return Err(ListenError::HandedOver);
                }
                if !worked {
                    self.signal(inner, false)?;
                    return Ok(None);
                }
            }
            // Work is left: come back at once.
            self.signal(inner, true)?;
            Ok(None)
        })
    }

    /// Does something with the lock held, and then what must not be done with it: foreign code runs where
    /// sessions leave.
    fn work<T>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, ListenError>,
    ) -> Result<T, ListenError> {
        if self.home.is_foreign() {
            return Err(ListenError::Forked);
        }
        let mut inner = self.lock();
        let result = work(&mut inner);
        let leaving = inner.take_leaving();
        drop(inner);
        leaving.iter().filter_map(WeakSession::upgrade).for_each(|session| session.leave());
        result
    }

    /// As [`try_accept`](Self::try_accept), but gives a whole session, which is told to leave when a
    /// successor serves. One for which there are no descriptors, or for which memory cannot be committed
    /// ([`Commit::Upfront`](crate::config::Commit)), is dropped.
    ///
    /// # Errors
    /// As [`try_accept`](Self::try_accept).
    pub fn try_session(
        &self,
        config: &Config,
        now: Instant,
    ) -> Result<Option<Session>, ListenError> {
        while let Some(established) = self.try_accept(now)? {
            match Session::new(established, config) {
                Ok(session) => {
                    self.enrol(&session);
                    return Ok(Some(session));
                }
                // Out of descriptors, or of memory, for this one client: the next may find some.
                Err(error) => tracing::warn!(%error, "a session was dropped"),
            }
        }
        Ok(None)
    }

    /// **Blocks** until a session is there, or the deadline passes (`None`).
    ///
    /// # Errors
    /// As [`try_accept`](Self::try_accept).
    pub fn accept(&self, deadline: Option<Instant>) -> Result<Option<Established>, ListenError> {
        self.block(deadline, |now| self.try_accept(now))
    }

    /// As [`accept`](Self::accept), but gives a whole session; see [`try_session`](Self::try_session).
    ///
    /// # Errors
    /// As [`try_accept`](Self::try_accept).
    pub fn session(
        &self,
        config: &Config,
        deadline: Option<Instant>,
    ) -> Result<Option<Session>, ListenError> {
        self.block(deadline, |now| self.try_session(config, now))
    }

    fn block<T>(
        &self,
        deadline: Option<Instant>,
        attempt: impl Fn(Instant) -> Result<Option<T>, ListenError>,
    ) -> Result<Option<T>, ListenError> {
        loop {
            let now = Instant::now();
            if let Some(result) = attempt(now)? {
                return Ok(Some(result));
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(None);
            }
            let next = deadline.into_iter().chain(self.next_deadline()).min();
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            link::wait_ready(self.as_fd(), true, false, left)?;
        }
    }

    /// When [`try_accept`](Self::try_accept) is to be called even if the descriptor is not readable.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.home.is_foreign() {
            return None;
        }
        let inner = self.lock();
        let upgrades = inner.upgrades.as_ref().and_then(Upgrades::deadline);
        let own = [inner.paused_until, inner.look_at];
        inner
            .handshakes
            .deadline()
            .into_iter()
            .chain(own.into_iter().flatten())
            .chain(upgrades)
            .min()
    }

    /// What this listener has seen; nothing in a forked child.
    pub fn stats(&self) -> AcceptStats {
        if self.home.is_foreign() {
            return AcceptStats::default();
        }
        self.lock().handshakes.stats()
    }

    /// Stops listening: removes the socket file if it is ours (A4), ends handshakes in progress and
    /// sessions that nobody has accepted, and wakes whoever waits. Sessions handed out live on.
    pub fn close(&self) {
        if self.home.is_foreign() {
            return;
        }
        let mut inner = self.lock();
        if !std::mem::replace(&mut inner.closed, true) {
            self.let_go(&mut inner);
            inner.handshakes.clear();
            inner.ready.clear();
            let _ = self.signal(&mut inner, true);
        }
    }

    fn lock(&self) -> Locked<'_> {
        let hold = Hold::begin();
        // An authorizer that panics leaves nothing half-done.
        Locked { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), _hold: hold }
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.close();
    }
}
