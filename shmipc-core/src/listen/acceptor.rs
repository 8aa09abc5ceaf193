//! The accepting machine: a listener and its handshakes behind one descriptor.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::handshakes::{Handshakes, is_shortage, number_of};
use super::socket_file::{Bound, SocketFile, bind_address};
use super::{AcceptStats, ListenOptions};
use crate::config::Config;
use crate::error::{ListenError, OsError};
use crate::handshake::Established;
use crate::link::{self, Address};
use crate::mem::{self, Home};

const LISTENER: u64 = 0;
const WAKE: u64 = 1;

/// How long accepting stops when the process has no descriptors or memory left.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
/// Connections taken in one turn of the lock.
const ACCEPT_BUDGET: usize = 64;
/// Turns of one call, so that a flood of connections keeps nobody in it for ever.
const TURNS: usize = 64;

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
    /// `None` once closed.
    listener: Option<OwnedFd>,
    file: Option<SocketFile>,
    handshakes: Handshakes,
    /// Sessions that nobody has taken yet.
    ready: VecDeque<Established>,
    /// Accepting stands still until then, for want of descriptors or memory.
    paused_until: Option<Instant>,
    /// Whether `wake` is readable.
    signalled: bool,
}

impl Acceptor {
    /// Listens on a path, or on `@name` for an abstract name. A stale socket file is replaced.
    ///
    /// # Errors
    /// [`ListenError::InUse`] if somebody alive listens there, [`ListenError::Occupied`] if the path is
    /// something else than a socket, [`ListenError::BadPath`], [`ListenError::SealUnsupported`], or
    /// what the operating system says.
    pub fn bind(
        address: impl AsRef<Path>,
        options: &ListenOptions,
        config: Config,
    ) -> Result<Self, ListenError> {
        let address = address.as_ref();
        let address = Address::parse(address)
            .map_err(|_| ListenError::BadPath { path: address.display().to_string() })?;
        Self::start(bind_address(&address, options)?, config)
    }

    /// Takes over a listener that somebody else has made, such as systemd. Its socket file is theirs:
    /// it is never removed.
    ///
    /// # Errors
    /// [`ListenError::SealUnsupported`], or what the operating system says.
    pub fn from_listener(listener: UnixListener, config: Config) -> Result<Self, ListenError> {
        let socket = OwnedFd::from(listener);
        link::set_nonblocking(socket.as_fd())?;
        Self::start(Bound { socket, file: None }, config)
    }

    fn start(bound: Bound, config: Config) -> Result<Self, ListenError> {
        if !mem::probe_seals() {
            return Err(ListenError::SealUnsupported);
        }
        let Bound { socket, file } = bound;
        let epoll = link::new_epoll()?;
        let wake = link::eventfd()?;
        link::watch(&epoll, socket.as_fd(), EpollFlags::EPOLLIN, LISTENER)?;
        link::watch(&epoll, wake.as_fd(), EpollFlags::EPOLLIN, WAKE)?;
        let inner = Inner {
            listener: Some(socket),
            file,
            handshakes: Handshakes::new(config),
            ready: VecDeque::new(),
            paused_until: None,
            signalled: false,
        };
        Ok(Self { epoll, wake, inner: Mutex::new(inner), home: Home::here() })
    }

    /// Does everything that can be done now, and hands out one session if one is ready. Never blocks.
    ///
    /// `None` means that nothing is left to do until the descriptor becomes readable or
    /// [`next_deadline`](Self::next_deadline) passes.
    ///
    /// # Errors
    /// [`ListenError::Closed`] after [`close`](Self::close). [`ListenError::Forked`] in a forked child. [`ListenError::Os`] if the listener or the
    /// epoll itself is broken; no client can bring that about (A6).
    pub fn try_accept(&self, now: Instant) -> Result<Option<Established>, ListenError> {
        if self.home.is_foreign() {
            return Err(ListenError::Forked);
        }
        let mut inner = self.lock();
        for _ in 0..TURNS {
            if inner.listener.is_none() {
                return Err(ListenError::Closed);
            }
            if let Some(established) = inner.ready.pop_front() {
                let more = !inner.ready.is_empty();
                self.signal(&mut inner, more)?;
                return Ok(Some(established));
            }
            if !self.turn(&mut inner, now)? && inner.ready.is_empty() {
                self.signal(&mut inner, false)?;
                return Ok(None);
            }
        }
        // Work is left: come back at once.
        self.signal(&mut inner, true)?;
        Ok(None)
    }

    /// **Blocks** until a session is there, or the deadline passes (`None`).
    ///
    /// # Errors
    /// As [`try_accept`](Self::try_accept).
    pub fn accept(&self, deadline: Option<Instant>) -> Result<Option<Established>, ListenError> {
        loop {
            let now = Instant::now();
            if let Some(established) = self.try_accept(now)? {
                return Ok(Some(established));
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
        inner.handshakes.deadline().into_iter().chain(inner.paused_until).min()
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
        if inner.listener.take().is_some() {
            inner.file = None;
            inner.handshakes.clear();
            inner.ready.clear();
            let _ = self.signal(&mut inner, true);
        }
    }

    /// One look at the epoll and the clock. False if there was nothing to do.
    fn turn(&self, inner: &mut Inner, now: Instant) -> Result<bool, ListenError> {
        let late = inner.handshakes.on_time(&self.epoll, now);
        inner.ready.extend(late);
        if inner.paused_until.take_if(|until| now >= *until).is_some() {
            self.watch_listener(inner, true)?;
        }
        let mut events = [EpollEvent::empty(); 32];
        let happened = link::epoll_wait(&self.epoll, &mut events, Some(Duration::ZERO))?;
        let mut worked = false;
        for event in events.iter().take(happened) {
            match event.data() {
                WAKE => {}
                LISTENER => worked |= self.take_connections(inner, now)?,
                key => {
                    let Some(number) = number_of(key) else { continue };
                    let done = inner.handshakes.progress(number, &self.epoll, now);
                    inner.ready.extend(done);
                    worked = true;
                }
            }
        }
        Ok(worked)
    }

    /// Takes connections from the kernel. False if there was none.
    fn take_connections(&self, inner: &mut Inner, now: Instant) -> Result<bool, ListenError> {
        let mut worked = false;
        for _ in 0..ACCEPT_BUDGET {
            let Some(listener) = &inner.listener else { break };
            match mem::accept(listener.as_fd()) {
                Ok(socket) => {
                    let done = inner.handshakes.admit(socket, &self.epoll, now);
                    inner.ready.extend(done);
                    worked = true;
                }
                Err(Errno::EAGAIN) => break,
                // A client that is gone already, or that a security module keeps out.
                Err(Errno::EINTR | Errno::ECONNABORTED | Errno::EPERM | Errno::EACCES) => {
                    worked = true;
                }
                Err(errno) => {
                    let error = OsError::new("accept4", errno);
                    if !is_shortage(error) {
                        return Err(error.into());
                    }
                    self.pause(inner, now, error)?;
                    break;
                }
            }
        }
        Ok(worked)
    }

    /// A6: clients wait in the backlog meanwhile, and we do not spin.
    fn pause(&self, inner: &mut Inner, now: Instant, error: OsError) -> Result<(), ListenError> {
        tracing::warn!(%error, "accepting pauses");
        let pauses = &mut inner.handshakes.stats.pauses;
        *pauses = pauses.wrapping_add(1);
        inner.paused_until = now.checked_add(SHORTAGE_PAUSE);
        self.watch_listener(inner, false)
    }

    fn watch_listener(&self, inner: &Inner, on: bool) -> Result<(), ListenError> {
        let events = if on { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        if let Some(listener) = &inner.listener {
            link::rewatch(&self.epoll, listener.as_fd(), events, LISTENER)?;
        }
        Ok(())
    }

    /// Makes `wake` readable or not. Both directions are edges, so that whoever watches our epoll
    /// edge-triggered learns of work that is left.
    fn signal(&self, inner: &mut Inner, on: bool) -> Result<(), ListenError> {
        if on {
            link::add_one(&self.wake)?;
        } else if inner.signalled {
            let _ = nix::unistd::read(&self.wake, &mut [0; 8]);
        }
        inner.signalled = on;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // An authorizer that panics leaves nothing half-done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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
