//! What a user may choose, each limit with its unit, its default and its bounds.
//!
//! Limits are *offers*: the handshake takes, direction by direction, what both sides can live with
//! (see [`crate::layout::negotiate`]).

mod builder;
mod limits;

pub use builder::ConfigBuilder;
pub use limits::Limits;

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};

use crate::mem::PeerTrust;

/// How a thread waits for the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitMode {
    /// Spin for as long as that has lately paid, then sleep (the default).
    #[default]
    Adaptive,
    /// Never sleep while waiting. Burns a CPU per waiting thread; the lowest latency.
    Spin,
    /// Sleep at once. Costs a wake-up per message of a quiet session, and no CPU while waiting.
    Block,
}

/// What wakes a sleeping peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BellKind {
    /// A byte on the session's socket (the default): safe against any peer.
    #[default]
    Socket,
    /// An eventfd. Used only if both sides ask for it and both trust their peer, since a peer could
    /// make a write to a shared eventfd block; otherwise the socket is used.
    Eventfd,
}

/// When payload memory is taken from the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// When it is needed, and given back when it has been idle for a while (the default). A lack of memory
    /// is noticed by the reservation that meets it.
    #[default]
    OnDemand,
    /// All of `arena_max` when the session begins, for as long as it lasts. A lack of memory is noticed by
    /// `connect` ([`HandshakeError::NoMemory`](crate::error::HandshakeError::NoMemory),
    /// [`HandshakeError::NotCommitted`](crate::error::HandshakeError::NotCommitted)), or ends the session at
    /// the side that accepts. Costs what the kernel takes to clear that many bytes, on each side that asks for it,
    /// and blocks for so long, a thread of the runtime under tokio.
    Upfront,
}

/// Who is on the other end of a socket, as the kernel says (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCred {
    /// Process id at connect or listen time. For logs only: it may be stale after a handoff.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl PeerCred {
    /// Credentials from their parts.
    pub const fn new(pid: i32, uid: u32, gid: u32) -> Self {
        Self { pid, uid, gid }
    }

    /// Whether the other end is in this process. Of another one the kernel never says so.
    pub(crate) fn is_this_process(&self) -> bool {
        self.pid == nix::unistd::getpid().as_raw()
    }
}

/// Decides whether a peer with these credentials may talk to us. Called once per connection, by a
/// thread that serves others too, so it must not wait for anything. If it panics, the peer is refused.
pub trait Authorizer: Send + Sync {
    /// `true` lets the peer in.
    fn authorize(&self, peer: PeerCred) -> bool;
}

impl<F: Fn(PeerCred) -> bool + Send + Sync> Authorizer for F {
    fn authorize(&self, peer: PeerCred) -> bool {
        self(peer)
    }
}

/// Longer than anybody waits, and no more than a clock can count.
const AGES: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Everything a session is created with. Made by [`Config::builder`]; cheap to clone.
#[derive(Clone)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) wait: WaitMode,
    pub(crate) spin_at_most: Duration,
    pub(crate) bell: BellKind,
    pub(crate) trust: Option<PeerTrust>,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    pub(crate) allowed_uids: Vec<u32>,
    pub(crate) allowed_gids: Vec<u32>,
    pub(crate) app_name: String,
    pub(crate) app_version: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) wait_for_server: bool,
    pub(crate) handshake_timeout: Duration,
    pub(crate) idle_memory_timeout: Duration,
    pub(crate) commit: Commit,
    pub(crate) max_handshakes: usize,
    pub(crate) max_handshakes_per_uid: usize,
    /// In all and per uid; `None`: as many as the descriptors of the process allow.
    pub(crate) max_sessions: Option<(usize, usize)>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("limits", &self.limits)
            .field("wait", &self.wait)
            .field("bell", &self.bell)
            .field("trusted", &self.trust.is_some())
            .field("app", &(&self.app_name, self.app_version))
            .field("connect_timeout", &self.connect_timeout)
            .field("handshake_timeout", &self.handshake_timeout)
            .finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            wait: WaitMode::default(),
            spin_at_most: Duration::from_micros(150),
            bell: BellKind::default(),
            trust: None,
            authorizer: None,
            allowed_uids: Vec::new(),
            allowed_gids: Vec::new(),
            app_name: String::new(),
            app_version: 0,
            connect_timeout: Duration::from_secs(5),
            wait_for_server: true,
            handshake_timeout: Duration::from_secs(5),
            idle_memory_timeout: Duration::from_secs(10),
            commit: Commit::default(),
            max_handshakes: 256,
            max_handshakes_per_uid: 64,
            max_sessions: None,
        }
    }
}

impl Config {
    /// A builder that starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new()
    }

    /// The limits this side offers.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How threads of this side wait.
    pub fn wait_mode(&self) -> WaitMode {
        self.wait
    }

    /// How long a thread of this side spins before it sleeps, at most.
    pub fn spin_at_most(&self) -> Duration {
        self.spin_at_most
    }

    /// The bell this side asks for.
    pub fn bell(&self) -> BellKind {
        self.bell
    }

    /// How long connecting may take, handshake included.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// When a call that begins at `now` gives up connecting.
    pub fn connect_deadline(&self, now: Instant) -> Instant {
        now + self.connect_timeout.min(AGES)
    }

    /// The same with another time for connecting, see [`ConfigBuilder::connect_timeout`].
    pub fn with_connect_timeout(&self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self.clone() }
    }

    /// Returns a copy that waits for a server that is away, or does not, see
    /// [`ConfigBuilder::wait_for_server`].
    pub fn with_wait_for_server(&self, wait: bool) -> Self {
        Self { wait_for_server: wait, ..self.clone() }
    }

    /// Whether connecting waits for a server that is away.
    pub fn waits_for_server(&self) -> bool {
        self.wait_for_server
    }

    /// Returns how many sessions a listener may have at one time, in all and per uid. By default that follows
    /// the soft limit of open files (`ulimit -n`) at the moment: see [`ConfigBuilder::max_sessions`].
    pub fn max_sessions(&self) -> (usize, usize) {
        self.max_sessions.unwrap_or_else(|| sessions_within(files(), self.descriptors()))
    }

    /// Returns how many descriptors a session of this side holds: the socket, the process of the peer, an epoll and
    /// an eventfd to wake its own threads; and an eventfd of each side, if that is the bell.
    pub const fn descriptors(&self) -> usize {
        match self.bell {
            BellKind::Socket => 4,
            BellKind::Eventfd => 6,
        }
    }

    /// Whether the peer is trusted not to write what it lent us (see [`PeerTrust`]).
    pub fn is_trusted(&self) -> bool {
        self.trust.is_some()
    }
}

/// Returns how many sessions fit into a process that may have `files` open, in all and of one user. An eighth of
/// the files, and 32 at least, is left to the application, to handshakes, and to memory under way.
fn sessions_within(files: usize, descriptors: usize) -> (usize, usize) {
    let all = files.saturating_sub((files / 8).max(32)) / descriptors;
    let all = all.max(1);
    (all, all - all / 8)
}

/// Returns how many files this process may have open.
fn files() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_leave_descriptors_to_the_application() {
        assert_eq!(sessions_within(1024, 4), (224, 196));
        assert_eq!(sessions_within(256, 4), (56, 49));
        assert_eq!(sessions_within(40, 4), (2, 2));
        assert_eq!(sessions_within(3, 6), (1, 1));
    }
}
