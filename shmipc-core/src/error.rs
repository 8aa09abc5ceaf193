//! Named errors, one type per operation, each saying what to do.

use std::io;

use crate::config::PeerCred;

/// A limit of [`Limits`](crate::config::Limits) is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configuration: `{limit}` must {must}")]
pub struct ConfigError {
    /// The limit.
    pub limit: &'static str,
    /// What it must be.
    pub must: &'static str,
}

/// The limits of both sides give a geometry that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control reserve of {reserve} bytes exceeds half of the record ring ({ring_bytes} bytes): raise `ring_bytes` on both sides or lower `max_streams`")]
pub struct IncompatibleLimits {
    /// The reserve, bytes.
    pub reserve: u64,
    /// The ring, bytes.
    pub ring_bytes: u32,
}

/// An error of the operating system, kept as its kind and raw code so that it can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {}", io::Error::from_raw_os_error(*.code))]
pub struct OsError {
    /// The call that failed.
    pub call: &'static str,
    /// The raw error code (`errno`).
    pub code: i32,
}

impl OsError {
    /// The last error of `call`.
    pub fn from_io(call: &'static str, error: &io::Error) -> Self {
        Self { call, code: error.raw_os_error().unwrap_or(nix::libc::EIO) }
    }

    /// The error `errno` of `call`.
    pub fn new(call: &'static str, errno: nix::errno::Errno) -> Self {
        Self { call, code: errno as i32 }
    }

    /// The kind that the standard library gives this code.
    pub fn kind(&self) -> io::ErrorKind {
        io::Error::from_raw_os_error(self.code).kind()
    }
}

/// A rule that the peer broke. It ends that session and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// The record cursor ran backwards or further than the ring is long.
    #[error("its record cursor jumped")]
    TailJumped,
    /// The consumption cursor ran backwards or past what we published.
    #[error("its consumption cursor jumped")]
    HeadJumped,
    /// The return cursor ran backwards or past the cap.
    #[error("its return cursor jumped")]
    ReturnedJumped,
    /// A record is shorter than its header, or longer than the ring or the published bytes allow.
    #[error("a record has an impossible length")]
    RecordLength,
    /// A record or frame of a kind this version does not know.
    #[error("a record has an unknown kind")]
    RecordKind,
    /// A record carries flags that contradict its kind.
    #[error("a record has contradictory flags")]
    RecordFlags,
    /// A record names a stream that was never opened.
    #[error("a record names a stream that was never opened")]
    UnknownStream,
    /// An open names a place outside the limits, or one that is still in use.
    #[error("it opened a stream in a place that is not free")]
    StreamPlace,
    /// Data after the end of a stream's direction.
    #[error("it sent data after the end of the stream")]
    AfterEnd,
    /// More unread data than it had credit for.
    #[error("it sent more than it had credit for")]
    CreditOverrun,
    /// A window update that takes credit back or exceeds the window.
    #[error("it announced an impossible window")]
    WindowUpdate,
    /// An extent lies outside its segment, or is longer than a message may be.
    #[error("it named an extent outside its segment")]
    ExtentBounds,
    /// An extent that it has lent already.
    #[error("it lent an extent twice")]
    LentTwice,
    /// A segment that is not live.
    #[error("it named an unknown segment")]
    UnknownSegment,
    /// It handed back an extent that was not lent.
    #[error("it returned an extent that was not lent")]
    ReturnedUnlent,
    /// More extents are lent than was agreed.
    #[error("it lent more extents than agreed")]
    LentTooMany,
    /// It retired a segment that still has extents lent to us.
    #[error("it retired a segment that is still lent")]
    RetiredWhileLent,
    /// A segment's id, size or number is outside of what was agreed.
    #[error("it announced a segment outside of what was agreed")]
    SegmentLimits,
    /// A shared memory file lacks the seals that keep its writer honest.
    #[error("its shared memory is not sealed")]
    NotSealed,
    /// A shared memory file has not the size that was agreed, is our own, or is of a wrong type.
    #[error("its shared memory has a wrong size or type")]
    WrongMemory,
    /// Pages of a segment were not populated before it was announced.
    #[error("its shared memory has holes")]
    SegmentNotPresent,
    /// A control frame that is malformed, oversized or out of order.
    #[error("it sent a malformed control frame")]
    Frame,
    /// A control frame came with more or fewer descriptors than it declares.
    #[error("it sent a wrong number of descriptors")]
    Descriptors,
    /// The descriptor it passed as itself is not a process descriptor.
    #[error("it sent something that is no process descriptor")]
    NotAPidfd,
    /// It rang far more often than we slept.
    #[error("it rings the bell without end")]
    BellFlood,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer's process ended, or its socket was closed without a goodbye.
    #[error("the peer died; what was sent and not answered may or may not have been handled")]
    PeerDied,
    /// The peer closed the session with this code.
    #[error("the peer closed the session (code {0}); reconnect")]
    ClosedByPeer(u32),
    /// We closed the session.
    #[error("the session was closed by this process")]
    Closed,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}; it is faulty or hostile")]
    Misbehaved(#[from] PeerMisbehaved),
    /// The operating system refused something the session needs.
    #[error("the session failed: {0}")]
    Os(#[from] OsError),
    /// This process is a fork of the one that owns the session.
    #[error("the session belongs to the process this one was forked from; connect anew after fork")]
    Forked,
}

/// Why a handshake was refused by the other side, as told on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The authorizer of the other side said no.
    #[error("uid {uid} is not authorized; allow it with `Config::builder().allow_uid({uid})` on the other side")]
    Unauthorized {
        /// The uid that the other side saw.
        uid: u32,
    },
    /// The other side speaks another version of the protocol.
    #[error("protocol version {theirs} meets {ours}; update the older side")]
    Version {
        /// Version of the refusing side.
        theirs: u32,
        /// Our version.
        ours: u32,
    },
    /// The application protocols differ.
    #[error("application protocol `{theirs}` meets `{ours}`; connect to the right socket or set `application` alike")]
    Application {
        /// Name at the refusing side.
        theirs: String,
        /// Our name.
        ours: String,
    },
    /// The limits of both sides cannot be combined.
    #[error("the limits of both sides cannot be combined; raise `ring_bytes` or lower `max_streams`")]
    Limits,
    /// Too many handshakes are in progress at the other side.
    #[error("too many handshakes are in progress; try again")]
    Busy,
    /// Word size or byte order differ.
    #[error("the other side has another word size or byte order")]
    Architecture,
    /// A reason this version does not know.
    #[error("refused for reason {0}; this side is older than the other")]
    Other(u32),
}

/// Why a handshake failed, on either side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The other side refused.
    #[error("refused by the peer: {0}")]
    Refused(Refusal),
    /// We refused the other side.
    #[error("the peer was refused: {0}")]
    RefusedPeer(Refusal),
    /// The other side speaks a dialect that is recognised and not supported (an older Shmipc).
    #[error("the peer speaks Shmipc version {0}, which this library does not support")]
    Dialect(u8),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Misbehaved(#[from] PeerMisbehaved),
    /// The other side closed the socket.
    #[error("the peer closed the connection during the handshake")]
    Closed,
    /// The deadline passed.
    #[error("the handshake did not end in time; the peer is stuck or overloaded")]
    TimedOut,
    /// The kernel lacks the seal that keeps shared memory read-only for the peer (Linux 5.1).
    #[error("this kernel lacks F_SEAL_FUTURE_WRITE; Linux 5.1 or newer is needed")]
    SealUnsupported,
    /// The credentials of the peer are those of an unmapped user.
    #[error("the peer's uid is not mapped in our user namespace (overflow uid {}); share the namespace or set an authorizer", .0.uid)]
    Unmapped(PeerCred),
    /// The operating system refused something.
    #[error(transparent)]
    Os(#[from] OsError),
}

/// Why `connect` failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("cannot connect to {address}: {error}; is the server running?")]
    Unreachable {
        /// The address.
        address: String,
        /// The error of the last attempt.
        error: OsError,
    },
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Why a listener cannot be made, or is finished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process listens on the path and is alive.
    #[error("{path} belongs to a running server; stop it or choose another path")]
    InUse {
        /// The path.
        path: String,
    },
    /// The path is longer than a socket address can be (107 bytes), or empty.
    #[error("`{path}` cannot be a socket path: it is empty or longer than 107 bytes")]
    BadPath {
        /// The path.
        path: String,
    },
    /// Kernel support is missing.
    #[error("this kernel lacks F_SEAL_FUTURE_WRITE; Linux 5.1 or newer is needed")]
    SealUnsupported,
    /// The listener was closed.
    #[error("the listener was closed")]
    Closed,
    /// The operating system refused something.
    #[error(transparent)]
    Os(#[from] OsError),
}
