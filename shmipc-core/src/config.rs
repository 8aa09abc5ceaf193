//! What a user may choose, each limit with its unit, its default and its bounds.
//!
//! Limits are *offers*: the handshake takes, direction by direction, what both sides can live with
//! (see [`crate::layout::negotiate`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::ConfigError;
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

/// The limits of one side, in the units of the field names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the record ring. A power of two, 4 KiB to 64 MiB. Default 128 KiB.
    pub ring_bytes: u32,
    /// Streams the peer may have open at one time. From 1 to 1 Mi, as far as the control reserve has room in the
    /// ring: `128 * max_streams + 256` is at most `ring_bytes * 3/8`, 382 with the default ring. Default 256.
    pub max_streams: u32,
    /// Largest payload carried inside a record, bytes. At most `ring_bytes/16 - 16` and `max_message`.
    /// Default 4,096.
    pub inline_max: u32,
    /// Extents lent, held, and segments not yet acknowledged, together. A power of two from 256 to 1 Mi, at least
    /// four times `4 + arena_max / 2 MiB`. Default 16,384.
    pub max_lent: u32,
    /// Unread bytes of one stream that the peer may send ahead. A multiple of 128, from 128 to 1 GiB.
    /// Default 256 KiB.
    pub stream_window: u32,
    /// Unread bytes of a whole session that the peer may send ahead: our promise of heap.
    /// A multiple of 512, from 4 KiB to 1 GiB. Default 16 MiB.
    pub unread_max: u32,
    /// Bytes of shared memory for payload of this side, made as messages need it. A power of two from 8 MiB to
    /// 2 GiB. Default 64 MiB.
    pub arena_max: u32,
    /// Largest message in one contiguous extent, bytes. From 1 to `arena_max / 8`. Default 4 MiB.
    pub max_message: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ring_bytes: 128 << 10,
            max_streams: 256,
            inline_max: 4096,
            max_lent: 16 << 10,
            stream_window: 256 << 10,
            unread_max: 16 << 20,
            arena_max: 64 << 20,
            max_message: 4 << 20,
        }
    }
}

/// Everything a session is created with. Made by [`Config::builder`]; cheap to clone.
#[derive(Clone)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) wait: WaitMode,
    pub(crate) bell: BellKind,
    pub(crate) trust: Option<PeerTrust>,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    pub(crate) allowed_uids: Vec<u32>,
    pub(crate) app_name: String,
    pub(crate) app_version: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) idle_memory_timeout: Duration,
    pub(crate) commit: Commit,
    pub(crate) max_handshakes: usize,
    pub(crate) max_handshakes_per_uid: usize,
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
            bell: BellKind::default(),
            trust: None,
            authorizer: None,
            allowed_uids: Vec::new(),
            app_name: String::new(),
            app_version: 0,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            idle_memory_timeout: Duration::from_secs(10),
            commit: Commit::default(),
            max_handshakes: 256,
            max_handshakes_per_uid: 64,
        }
    }
}

impl Config {
    /// A builder that starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder { config: Self::default(), inline_chosen: false }
    }

    /// The limits this side offers.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How threads of this side wait.
    pub fn wait_mode(&self) -> WaitMode {
        self.wait
    }

    /// The bell this side asks for.
    pub fn bell(&self) -> BellKind {
        self.bell
    }

    /// How long connecting may take, handshake included.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// When a call that begins now gives up connecting.
    pub fn connect_deadline(&self) -> Instant {
        Instant::now() + self.connect_timeout.min(AGES)
    }

    /// The same with another time for connecting, see [`ConfigBuilder::connect_timeout`].
    pub fn with_connect_timeout(&self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self.clone() }
    }

    /// Whether the peer is trusted not to write what it lent us (see [`PeerTrust`]).
    pub fn is_trusted(&self) -> bool {
        self.trust.is_some()
    }
}

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

    /// Name and version of the application protocol; both sides must agree on the name, the version
    /// is for them to compare. At most 255 bytes without control characters. Default: empty, which
    /// agrees with an empty name only.
    pub fn application(mut self, name: impl Into<String>, version: u32) -> Self {
        self.config.app_name = name.into();
        self.config.app_version = version;
        self
    }

    /// How long `connect` may take, handshake included. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
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

    /// Handshakes a listener has in progress at one time: in all, and per uid. Default 256 and 64.
    pub fn max_handshakes(mut self, all: usize, per_uid: usize) -> Self {
        self.config.max_handshakes = all;
        self.config.max_handshakes_per_uid = per_uid;
        self
    }

    /// Checks every limit against its bounds.
    ///
    /// # Errors
    /// [`ConfigError`] names the first limit out of bounds and what it may be.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        let limits = &mut self.config.limits;
        if !self.inline_chosen {
            let room = (limits.ring_bytes / 16).saturating_sub(16);
            limits.inline_max = limits.inline_max.min(room).min(limits.max_message);
        }
        limits.check()?;
        let name = &self.config.app_name;
        if name.len() > crate::wire::MAX_NAME || name.contains(char::is_control) {
            let must = "be at most 255 bytes without control characters";
            return Err(ConfigError { limit: "application", must });
        }
        Ok(self.config)
    }
}

impl Limits {
    /// Checks every limit against its bounds.
    ///
    /// # Errors
    /// [`ConfigError`] names the first limit out of bounds and what it may be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let ensure = |ok: bool, limit: &'static str, must: &'static str| {
            if ok { Ok(()) } else { Err(ConfigError { limit, must }) }
        };
        let power = |v: u32, min: u32, max: u32| v.is_power_of_two() && (min..=max).contains(&v);
        ensure(
            power(self.ring_bytes, 4 << 10, 64 << 20),
            "ring_bytes",
            "be a power of two from 4 KiB to 64 MiB",
        )?;
        ensure(
            (1..=1 << 20).contains(&self.max_streams),
            "max_streams",
            "lie between 1 and 1,048,576",
        )?;
        ensure(
            u64::from(self.max_streams) * 128 + 256 <= u64::from(self.ring_bytes) * 3 / 8,
            "max_streams",
            "leave room for the control reserve: 128 * max_streams + 256 <= ring_bytes * 3/8; raise ring_bytes",
        )?;
        ensure(
            self.inline_max <= self.ring_bytes / 16 - 16,
            "inline_max",
            "be at most ring_bytes/16 - 16",
        )?;
        ensure(
            power(self.arena_max, 8 << 20, 1 << 31),
            "arena_max",
            "be a power of two from 8 MiB to 2 GiB",
        )?;
        ensure(
            (1..=self.arena_max / 8).contains(&self.max_message),
            "max_message",
            "lie between 1 and arena_max/8",
        )?;
        ensure(self.inline_max <= self.max_message, "inline_max", "be at most max_message")?;
        ensure(
            power(self.max_lent, 256, 1 << 20),
            "max_lent",
            "be a power of two from 256 to 1,048,576",
        )?;
        ensure(
            self.max_lent / 4 >= crate::layout::max_segments(self.arena_max),
            "max_lent",
            "be at least four times the segments that arena_max allows (4 + arena_max / 2 MiB)",
        )?;
        ensure(
            self.stream_window >= 128
                && self.stream_window.is_multiple_of(128)
                && self.stream_window <= 1 << 30,
            "stream_window",
            "be a multiple of 128 from 128 to 1 GiB",
        )?;
        ensure(
            self.unread_max >= 4096
                && self.unread_max.is_multiple_of(512)
                && self.unread_max <= 1 << 30,
            "unread_max",
            "be a multiple of 512 from 4,096 to 1 GiB",
        )
    }
}
