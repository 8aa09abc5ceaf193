//! Choosing, limit by limit.

use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;
use crate::mem::PeerTrust;

use super::{Authorizer, BellKind, Commit, Config, Limits, WaitMode};

/// Builds a [`Config`]; see [`Limits`] for units and bounds.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ConfigBuilder {
    config: Config,
    /// The user chose `inline_max`; else it follows the ring.
    inline_chosen: bool,
}

macro_rules! limit_setters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: u32) -> Self {
            self.config.limits.$name = value;
            self
        }
    )*};
}

impl ConfigBuilder {
    /// The defaults.
    pub(super) fn new() -> Self {
        Self { config: Config::default(), inline_chosen: false }
    }

    limit_setters! {
        /// Sets [`Limits::ring_bytes`].
        ring_bytes,
        /// Sets [`Limits::max_streams`].
        max_streams,
        /// Sets [`Limits::max_lent`].
        max_lent,
        /// Sets [`Limits::stream_window`].
        stream_window,
        /// Sets [`Limits::unread_max`].
        unread_max,
        /// Sets [`Limits::arena_max`].
        arena_max,
        /// Sets [`Limits::max_message`].
        max_message,
    }

    /// Sets [`Limits::inline_max`]. If it is not set, it is what `ring_bytes` and `max_message` allow,
    /// at most the default.
    pub fn inline_max(mut self, value: u32) -> Self {
        self.config.limits.inline_max = value;
        self.inline_chosen = true;
        self
    }

    /// How threads wait. Default [`WaitMode::Adaptive`].
    pub fn wait(mut self, mode: WaitMode) -> Self {
        self.config.wait = mode;
        self
    }

    /// Sets how long [`WaitMode::Adaptive`] spins before it sleeps, at most. Default 150 µs; more than a second
    /// counts as a second. Zero means [`WaitMode::Block`].
    ///
    /// A thread whose messages come more often than that never sleeps, and keeps a CPU busy. Lower it where CPU time
    /// costs more than latency: below about 20 µs, the price of a wake-up, spinning is of little use.
    pub fn spin_at_most(mut self, longest: Duration) -> Self {
        self.config.spin_at_most = longest.min(Duration::from_secs(1));
        self
    }

    /// What wakes us. Default [`BellKind::Socket`].
    pub fn bell(mut self, bell: BellKind) -> Self {
        self.config.bell = bell;
        self
    }

    /// Trusts the peer, which makes reading zero-copy. See [`PeerTrust::promise`].
    pub fn trust(mut self, promise: PeerTrust) -> Self {
        self.config.trust = Some(promise);
        self
    }

    /// Who may be our peer. Default: root and our own effective uid, the overflow uid excepted (the
    /// kernel shows it in place of users that are not mapped in our user namespace).
    pub fn authorizer(mut self, authorizer: impl Authorizer + 'static) -> Self {
        self.config.authorizer = Some(Arc::new(authorizer));
        self
    }

    /// Also lets in peers of this uid, beside those that the authorizer lets in. May be repeated.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.config.allowed_uids.push(uid);
        self
    }

    /// Also lets in peers that are members of the group `gid`, by their primary or a supplementary group, beside those
    /// that the authorizer lets in. May be repeated. The kernel says which groups a client had when it connected, and a
    /// server when it called `listen` (`SO_PEERGROUPS`). The overflow gid, which stands for groups that are not mapped in
    /// our user namespace, lets no one in.
    pub fn allow_gid(mut self, gid: u32) -> Self {
        self.config.allowed_gids.push(gid);
        self
    }

    /// Name and version of the application protocol; both sides must agree on the name, the version
    /// is for them to compare. At most 255 bytes without control characters. Default: empty, which
    /// agrees with an empty name only.
    pub fn application(mut self, name: impl Into<String>, version: u32) -> Self {
        self.config.app_name = name.into();
        self.config.app_version = version;
        self
    }

    /// Sets how long `connect` may take, waiting for the server and the handshake included. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Sets whether `connect` waits until its timeout for a server that is away: its socket file does not exist, no process
    /// listens on it, or the server ends during the handshake. A restart looks like each of these in turn. Default
    /// `true`; with `false` such a server is reported at once
    /// ([`ConnectError::Unreachable`](crate::error::ConnectError::Unreachable),
    /// [`HandshakeError::Closed`](crate::error::HandshakeError::Closed)). A server that is there and busy is waited for
    /// in either case.
    pub fn wait_for_server(mut self, wait: bool) -> Self {
        self.config.wait_for_server = wait;
        self
    }

    /// How long a client may take for its handshake with a listener. Default 5 s.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// How long payload memory that nobody uses is kept before it goes back to the kernel, at least.
    /// Checked by calls that wait: while nobody is inside one, it stays. Default 10 s. Of no effect with
    /// [`Commit::Upfront`].
    pub fn idle_memory_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_memory_timeout = timeout;
        self
    }

    /// When this side takes its payload memory from the kernel. Default [`Commit::OnDemand`].
    pub fn commit(mut self, commit: Commit) -> Self {
        self.config.commit = commit;
        self
    }

    /// Sets how many handshakes a listener may have in progress at one time: in all, and per uid. Default 256
    /// and 64.
    ///
    /// While a client wants a place and none is free, a connection may be silent for 50 ms before its first word, for
    /// 250 ms before the next one, and for 1 s before its last one. The connection that has been silent for longest
    /// makes way; an honest client comes again. If none has been silent for so long, the new client is told
    /// [`Refusal::Busy`](crate::error::Refusal::Busy), and comes again until its `connect_timeout`.
    pub fn max_handshakes(mut self, all: usize, per_uid: usize) -> Self {
        self.config.max_handshakes = all;
        self.config.max_handshakes_per_uid = per_uid;
        self
    }

    /// Sets how many sessions a listener may have at one time: in all, and per uid. Handshakes in progress count.
    /// A session counts for as long as it holds descriptors: until the application has dropped all handles. The client
    /// that is one too many is told [`Refusal::Busy`](crate::error::Refusal::Busy), and comes again until its
    /// `connect_timeout`.
    ///
    /// Default: what the soft limit of open files (`RLIMIT_NOFILE`) leaves room for, asked at each connection. An eighth
    /// of the files, and 32 at least, stays free for the application; the rest is divided by the
    /// [descriptors of a session](Config::descriptors); one uid may have seven eighths of that. With 1,024 files that is
    /// 224 sessions, 196 of one uid. Two listeners of a process do not know of each other: set it for each.
    pub fn max_sessions(mut self, all: usize, per_uid: usize) -> Self {
        self.config.max_sessions = Some((all, per_uid));
        self
    }

    /// Checks every limit against its bounds.
    ///
    /// # Errors
    /// [`ConfigError`] names the first limit out of bounds and what it may be.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        let limits: &mut Limits = &mut self.config.limits;
        if !self.inline_chosen {
            let room = (limits.ring_bytes / 16).saturating_sub(16);
            limits.inline_max = limits.inline_max.min(room).min(limits.max_message);
        }
        limits.check()?;
        if self.config.spin_at_most.is_zero() && self.config.wait == WaitMode::Adaptive {
            self.config.wait = WaitMode::Block;
        }
        let name = &self.config.app_name;
        if name.len() > crate::wire::MAX_NAME || name.contains(char::is_control) {
            let must = "be at most 255 bytes without control characters";
            return Err(ConfigError { limit: "application", must });
        }
        Ok(self.config)
    }
}
