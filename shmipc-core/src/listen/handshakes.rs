//! Handshakes in progress.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollFlags};
use slab::Slab;

use super::places::{Place, Places};
use crate::config::{Config, PeerCred};
use crate::error::{HandshakeError, OsError, Refusal};
use crate::handshake::{self, Established, Exchange, PAUSE, Progress, Role, Until};
use crate::link::{self, PeerSocket};
use crate::log;

mod crowd;

/// The epoll key of handshake number 0; the others follow. Smaller keys are the listener's.
const FIRST_KEY: u64 = 16;

/// Pause between two warnings that this process cannot make a session.
const QUIET: Duration = Duration::from_secs(1);

fn key_of(number: usize) -> u64 {
    FIRST_KEY.saturating_add(number as u64)
}

/// The handshake that an epoll key stands for.
pub(super) fn number_of(key: u64) -> Option<usize> {
    key.checked_sub(FIRST_KEY).and_then(|number| number.try_into().ok())
}

/// What a listener has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptStats {
    /// Connections taken from the kernel.
    pub connections: u64,
    /// Handshakes that succeeded.
    pub established: u64,
    /// Clients we refused, with the reason on the wire: not authorized, not compatible.
    pub refused: u64,
    /// Clients told to try again: as many handshakes or sessions as there may be were there, the process had no
    /// descriptors or memory for one more, or a successor accepts now.
    pub busy: u64,
    /// Handshakes that did not end in time. The time is shorter while others wait for a place.
    pub timed_out: u64,
    /// Handshakes that failed for any other reason.
    pub failed: u64,
    /// Pauses because the process or the system had no descriptors or memory left.
    pub pauses: u64,
    /// Handshakes in progress now.
    pub in_progress: usize,
    /// Sessions that have come from this listener and still hold their descriptors: the peer is there, or the
    /// application has not dropped all handles.
    pub sessions: usize,
}

/// One client.
#[derive(Debug)]
struct Pending {
    exchange: Exchange,
    uid: u32,
    deadline: Option<Instant>,
    until: Until,
    /// When the client connected, or its last frame was taken.
    heard_at: Instant,
    /// Frames of the client by then.
    heard: u8,
    /// Its place among the handshakes.
    _turn: Place,
    /// The place of its session.
    place: Place,
}

/// All handshakes of a listener, each registered in its epoll (A5).
#[derive(Debug)]
pub(super) struct Handshakes {
    config: Config,
    pending: Slab<Pending>,
    /// Handshakes in progress.
    turns: Places,
    /// Sessions, and handshakes in progress.
    places: Places,
    /// When those that wait for a pause are tried again.
    retry_at: Option<Instant>,
    /// Before that, another failure of this process is no news.
    quiet_until: Option<Instant>,
    pub(super) stats: AcceptStats,
}

impl Handshakes {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            pending: Slab::new(),
            turns: Places::default(),
            places: Places::default(),
            retry_at: None,
            quiet_until: None,
            stats: AcceptStats::default(),
        }
    }

    /// Starts a handshake with a client that has connected. Adds to `ready` what has come to its end.
    pub(super) fn admit(
        &mut self,
        socket: PeerSocket,
        epoll: &Epoll,
        now: Instant,
        ready: &mut impl Extend<Established>,
    ) {
        self.stats.connections = self.stats.connections.wrapping_add(1);
        match self.start(socket, epoll, now, ready) {
            Ok(number) => ready.extend(self.progress(number, epoll, now)),
            Err(error) => self.count_failure(error, None, now),
        }
    }

    /// Drives one handshake as far as it goes. The number may be one that has just ended.
    pub(super) fn progress(
        &mut self,
        number: usize,
        epoll: &Epoll,
        now: Instant,
    ) -> Option<Established> {
        let pending = self.pending.get_mut(number)?;
        let result = pending.exchange.progress().and_then(|progress| {
            if let Progress::Pending(until) = progress {
                if until.paused {
                    let retry_at = now.checked_add(PAUSE);
                    self.retry_at = self.retry_at.or(retry_at);
                }
                if events(until) != events(pending.until) {
                    let key = key_of(number);
                    link::rewatch(epoll, pending.exchange.as_fd(), events(until), key)?;
                }
                pending.until = until;
            }
            if pending.exchange.heard() != pending.heard {
                pending.heard = pending.exchange.heard();
                pending.heard_at = now;
            }
            Ok(progress)
        });
        match result {
            Ok(Progress::Pending(_)) => None,
            Ok(Progress::Done) => {
                let Pending { exchange, place, .. } = self.remove(number, epoll)?;
                let established = exchange.finish()?;
                self.stats.established = self.stats.established.wrapping_add(1);
                Some(Established { place: Some(place), ..established })
            }
            Err(error) => {
                let cred = self.remove(number, epoll).map(|pending| pending.exchange.cred());
                self.count_failure(error, cred, now);
                None
            }
        }
    }

    /// Ends the handshakes whose time is over, and tries those again that wait for a pause.
    pub(super) fn on_time(&mut self, epoll: &Epoll, now: Instant) -> Vec<Established> {
        let mut established = Vec::new();
        if self.deadline().is_none_or(|next| now < next) {
            return established;
        }
        let numbers: Vec<usize> = self.pending.iter().map(|(number, _)| number).collect();
        let retry = self.retry_at.take_if(|at| now >= *at).is_some();
        for number in numbers {
            let Some(pending) = self.pending.get(number) else { continue };
            let cred = Some(pending.exchange.cred());
            if pending.deadline.is_some_and(|deadline| now >= deadline) {
                self.remove(number, epoll);
                self.count_failure(HandshakeError::TimedOut, cred, now);
            } else if retry && pending.until.paused {
                established.extend(self.progress(number, epoll, now));
            }
        }
        established
    }

    /// When [`on_time`](Self::on_time) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = self.pending.iter().filter_map(|(_, pending)| pending.deadline);
        deadlines.chain(self.retry_at).min()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn stats(&self) -> AcceptStats {
        let in_progress = self.pending.len();
        let sessions = self.places.all().saturating_sub(in_progress);
        AcceptStats { in_progress, sessions, ..self.stats }
    }

    /// Sends those who have not got far to another server, which accepts now.
    pub(super) fn turn_away(&mut self, epoll: &Epoll) {
        let numbers: Vec<usize> = self.pending.iter().map(|(number, _)| number).collect();
        for number in numbers {
            if self.pending.get(number).is_some_and(|pending| pending.exchange.turn_away()) {
                self.remove(number, epoll);
                self.stats.busy = self.stats.busy.wrapping_add(1);
            }
        }
    }

    /// Ends all handshakes.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.retry_at = None;
    }

    fn start(
        &mut self,
        socket: PeerSocket,
        epoll: &Epoll,
        now: Instant,
        ready: &mut impl Extend<Established>,
    ) -> Result<usize, HandshakeError> {
        let uid = link::peer_cred(socket.as_fd())?.uid;
        if !self.has_room(uid, epoll, now, ready) {
            let busy = HandshakeError::RefusedPeer(Refusal::Busy);
            handshake::tell(socket.as_fd(), &busy);
            return Err(busy);
        }
        let exchange = Exchange::new(Role::Server, socket, &self.config)?;
        let until = Until { readable: true, ..Until::default() };
        let entry = self.pending.vacant_entry();
        let number = entry.key();
        link::watch(epoll, exchange.as_fd(), events(until), key_of(number))?;
        entry.insert(Pending {
            exchange,
            uid,
            deadline: now.checked_add(self.config.handshake_timeout),
            until,
            heard_at: now,
            heard: 0,
            _turn: self.turns.take(uid),
            place: self.places.take(uid),
        });
        Ok(number)
    }

    fn remove(&mut self, number: usize, epoll: &Epoll) -> Option<Pending> {
        let pending = self.pending.try_remove(number)?;
        // The socket lives on if the handshake has succeeded.
        let _ = epoll.delete(pending.exchange.as_fd());
        Some(pending)
    }

    /// A6: counted and noted in the log, nothing more.
    fn count_failure(&mut self, error: HandshakeError, peer: Option<PeerCred>, now: Instant) {
        let count = match &error {
            HandshakeError::RefusedPeer(Refusal::Busy) => &mut self.stats.busy,
            HandshakeError::Os(error) if error.is_shortage() => &mut self.stats.busy,
            HandshakeError::RefusedPeer(_)
            | HandshakeError::Unmapped(_)
            | HandshakeError::Dialect(_) => &mut self.stats.refused,
            HandshakeError::TimedOut => &mut self.stats.timed_out,
            _ => &mut self.stats.failed,
        };
        *count = count.wrapping_add(1);
        // What the kernel refuses to this process its administrator has to know, once in a while.
        let is_loud = matches!(error, HandshakeError::Os(_) | HandshakeError::SealUnsupported)
            && self.quiet_until.is_none_or(|until| now >= until);
        if is_loud {
            self.quiet_until = now.checked_add(QUIET);
            log::line(move || tracing::warn!(%error, ?peer, "this process cannot make a session"));
        } else {
            log::line(move || tracing::debug!(%error, ?peer, "a handshake failed"));
        }
    }
}

fn events(until: Until) -> EpollFlags {
    let mut events = EpollFlags::empty();
    events.set(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, until.readable);
    events.set(EpollFlags::EPOLLOUT, until.writable);
    events
}

/// Whether a call failed for want of descriptors or memory, which may pass.
pub(super) fn is_shortage(error: OsError) -> bool {
    error.is_shortage()
}

/// Whether `accept4` may succeed later: for want of descriptors or memory, or because a security module or a
/// system call filter forbids it. The kernel asks those before it takes the connection from the queue, so to try
/// again at once would meet the same connection.
pub(super) fn may_pass(error: OsError) -> bool {
    use nix::libc::{EACCES, EPERM};
    is_shortage(error) || [EPERM, EACCES].contains(&error.code)
}
