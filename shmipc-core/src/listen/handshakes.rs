//! Handshakes in progress.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollFlags};
use slab::Slab;

use crate::config::{Config, PeerCred};
use crate::error::{HandshakeError, OsError, Refusal};
use crate::handshake::{self, Established, Exchange, PAUSE, Progress, Role, Until};
use crate::link;

/// The epoll key of handshake number 0; the others follow. Smaller keys are the listener's.
const FIRST_KEY: u64 = 16;

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
    /// Clients told to try again: too many handshakes were in progress, or a successor accepts now.
    pub busy: u64,
    /// Handshakes that did not end in time.
    pub timed_out: u64,
    /// Handshakes that failed for any other reason.
    pub failed: u64,
    /// Pauses because the process or the system had no descriptors or memory left.
    pub pauses: u64,
    /// Handshakes in progress now.
    pub in_progress: usize,
}

/// One client.
#[derive(Debug)]
struct Pending {
    exchange: Exchange,
    uid: u32,
    deadline: Option<Instant>,
    until: Until,
}

/// All handshakes of a listener, each registered in its epoll (A5).
#[derive(Debug)]
pub(super) struct Handshakes {
    config: Config,
    pending: Slab<Pending>,
    per_uid: HashMap<u32, usize>,
    /// When those that wait for a pause are tried again.
    retry_at: Option<Instant>,
    pub(super) stats: AcceptStats,
}

impl Handshakes {
    pub(super) fn new(config: Config) -> Self {
        let (pending, per_uid) = (Slab::new(), HashMap::new());
        Self { config, pending, per_uid, retry_at: None, stats: AcceptStats::default() }
    }

    /// Starts a handshake with a client that has connected.
    pub(super) fn admit(
        &mut self,
        socket: OwnedFd,
        epoll: &Epoll,
        now: Instant,
    ) -> Option<Established> {
        self.stats.connections = self.stats.connections.wrapping_add(1);
        match self.start(socket, epoll, now) {
            Ok(number) => self.progress(number, epoll, now),
            Err(error) => {
                self.count_failure(&error, None);
                None
            }
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
            Ok(progress)
        });
        match result {
            Ok(Progress::Pending(_)) => None,
            Ok(Progress::Done) => {
                let established = self.remove(number, epoll)?.finish()?;
                self.stats.established = self.stats.established.wrapping_add(1);
                Some(established)
            }
            Err(error) => {
                let cred = self.remove(number, epoll).map(|exchange| exchange.cred());
                self.count_failure(&error, cred);
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
                self.count_failure(&HandshakeError::TimedOut, cred);
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
        AcceptStats { in_progress: self.pending.len(), ..self.stats }
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
        self.per_uid.clear();
        self.retry_at = None;
    }

    fn start(
        &mut self,
        socket: OwnedFd,
        epoll: &Epoll,
        now: Instant,
    ) -> Result<usize, HandshakeError> {
        let uid = link::peer_cred(socket.as_fd())?.uid;
        let of_uid = self.per_uid.get(&uid).copied().unwrap_or(0);
        if self.pending.len() >= self.config.max_handshakes
            || of_uid >= self.config.max_handshakes_per_uid
        {
            let busy = HandshakeError::RefusedPeer(Refusal::Busy);
            handshake::tell(socket.as_fd(), &busy);
            return Err(busy);
        }
        let exchange = Exchange::new(Role::Server, socket, &self.config)?;
        let deadline = now.checked_add(self.config.handshake_timeout);
        let until = Until { readable: true, ..Until::default() };
        let entry = self.pending.vacant_entry();
        let number = entry.key();
        let key = key_of(number);
        link::watch(epoll, exchange.as_fd(), events(until), key)?;
        entry.insert(Pending { exchange, uid, deadline, until });
        self.per_uid.insert(uid, of_uid.saturating_add(1));
        Ok(number)
    }

    fn remove(&mut self, number: usize, epoll: &Epoll) -> Option<Exchange> {
        let pending = self.pending.try_remove(number)?;
        if let Some(count) = self.per_uid.get_mut(&pending.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_uid.remove(&pending.uid);
            }
        }
        // The socket lives on if the handshake has succeeded.
        let _ = epoll.delete(pending.exchange.as_fd());
        Some(pending.exchange)
    }

    /// A6: counted and told to whoever traces, nothing more.
    fn count_failure(&mut self, error: &HandshakeError, peer: Option<PeerCred>) {
        let count = match error {
            HandshakeError::RefusedPeer(Refusal::Busy) => &mut self.stats.busy,
            HandshakeError::RefusedPeer(_)
            | HandshakeError::Unmapped(_)
            | HandshakeError::Dialect(_) => &mut self.stats.refused,
            HandshakeError::TimedOut => &mut self.stats.timed_out,
            _ => &mut self.stats.failed,
        };
        *count = count.wrapping_add(1);
        tracing::debug!(%error, ?peer, "a handshake failed");
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
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&error.code)
}

/// Whether `accept4` may succeed later: for want of descriptors or memory, or because a security module or a
/// system call filter forbids it. The kernel asks those before it takes the connection from the queue, so to try
/// again at once would meet the same connection.
pub(super) fn may_pass(error: OsError) -> bool {
    use nix::libc::{EACCES, EPERM};
    is_shortage(error) || [EPERM, EACCES].contains(&error.code)
}
