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
#[error(
    "the control reserve of {reserve} bytes exceeds half of the record ring ({ring_bytes} bytes): raise `ring_bytes` on both sides or lower `max_streams`"
)]
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
    /// The consumption cursor does not follow what the peer does: it has read more of our records than
    /// it says.
    #[error("it reads our records without moving its consumption cursor")]
    HeadWithheld,
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

/// Why one side refused a handshake, as told on the wire. `theirs` is always the other side's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The authorizer of the other side said no.
    #[error(
        "uid {uid} is not authorized; allow it with `Config::builder().allow_uid({uid})` on the side that refused"
    )]
    Unauthorized {
        /// The uid that the refusing side saw.
        uid: u32,
    },
    /// The other side speaks another version of the protocol.
    #[error("protocol version {theirs} meets {ours}; update the older side")]
    Version {
        /// Version of the other side.
        theirs: u32,
        /// Our version.
        ours: u32,
    },
    /// The application protocols differ.
    #[error(
        "application protocol `{theirs}` meets `{ours}`; connect to the right socket or set `application` alike"
    )]
    Application {
        /// Name at the other side.
        theirs: String,
        /// Our name.
        ours: String,
    },
    /// The limits of both sides cannot be combined.
    #[error(
        "the limits of both sides cannot be combined; raise `ring_bytes` or lower `max_streams`"
    )]
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

impl From<crate::wire::WireError> for HandshakeError {
    fn from(error: crate::wire::WireError) -> Self {
        use crate::wire::{OLDER_DIALECTS, VERSION, WireError};
        match error {
            WireError::Version(version) if OLDER_DIALECTS.contains(&version) => {
                Self::Dialect(version)
            }
            WireError::Version(version) => {
                Self::RefusedPeer(Refusal::Version { theirs: version.into(), ours: VERSION.into() })
            }
            WireError::Misbehaved(rule) => Self::Misbehaved(rule),
        }
    }
}

impl From<crate::mem::CreateError> for HandshakeError {
    fn from(error: crate::mem::CreateError) -> Self {
        match error {
            crate::mem::CreateError::SealUnsupported => Self::SealUnsupported,
            crate::mem::CreateError::Os(error) => Self::Os(error),
        }
    }
}

impl From<crate::mem::AdoptError> for HandshakeError {
    fn from(error: crate::mem::AdoptError) -> Self {
        match error {
            crate::mem::AdoptError::Misbehaved(rule) => Self::Misbehaved(rule),
            crate::mem::AdoptError::Os(error) => Self::Os(error),
        }
    }
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
    /// The address is empty or longer than a socket address can be (107 bytes).
    #[error("`{address}` cannot be a socket address: it is empty or longer than 107 bytes")]
    BadAddress {
        /// The address.
        address: String,
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
    /// Something that is not a socket has this name.
    #[error("{path} exists and is no socket; remove it or choose another path")]
    Occupied {
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

/// What is known of a message after its operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// The peer has seen nothing of it: safe to repeat.
    NotSent,
    /// The peer may or may not have acted on it.
    Unknown,
    /// The peer has said that it does not want it.
    Refused,
}

/// Why `reserve`, `commit`, `send`, `write` or `finish` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The peer stopped reading this stream, with its application's code.
    #[error("the peer does not read this stream any more (code {0})")]
    Stopped(u32),
    /// This side already ended the stream with `finish` or `reset`.
    #[error("this direction of the stream has already ended; open another stream")]
    Ended,
    /// The message can never fit.
    #[error(
        "a message of {len} bytes exceeds the limit of {max}; raise `max_message` on both sides or send it in parts"
    )]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// Bytes possible.
        max: usize,
    },
    /// Memory for the message could not be had, and none is out that could come back.
    #[error("no memory for the message: {0}; lower `arena_max` or give the process more")]
    NoMemory(OsError),
    /// The deadline passed; nothing was sent.
    #[error(
        "timed out waiting for credit, queue space or memory; the peer reads too slowly or not at all"
    )]
    TimedOut,
}

impl SendError {
    /// What is known of the message that was to be sent: the operation either published it and
    /// returned `Ok`, or published nothing.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Stopped(_) => Delivery::Refused,
            _ => Delivery::NotSent,
        }
    }
}

/// Why `recv` or `read` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The session is over, and everything published before has been delivered.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The peer broke its direction off without finishing it, with its application's code (0 if it
    /// merely dropped the stream).
    #[error("the peer reset the stream before finishing it (code {0})")]
    Reset(u32),
    /// A message in several parts exceeds `max_message`; read it as a stream of bytes instead.
    #[error("a message exceeds {max} bytes; use `Read` instead of `recv`, or raise `max_message`")]
    TooLarge {
        /// Bytes possible.
        max: usize,
    },
    /// The announcement of the stream could not be sent.
    #[error(transparent)]
    Open(SendError),
    /// The deadline passed; nothing was lost.
    #[error("timed out waiting for a message")]
    TimedOut,
}

/// Why `open` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The session is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// As many streams are open as the peer allows.
    #[error(
        "all {limit} streams that the peer allows are in use; close some, or raise its `max_streams`"
    )]
    TooManyStreams {
        /// The peer's limit.
        limit: u32,
    },
}

/// Why `accept` of a stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The session is over, and every stream opened before has been accepted.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The deadline passed.
    #[error("timed out waiting for the peer to open a stream")]
    TimedOut,
}

/// The one table from errors to kinds of `std::io`.
mod to_io {
    use std::io::{Error, ErrorKind};

    use super::*;

    fn session_kind(error: SessionError) -> ErrorKind {
        match error {
            SessionError::PeerDied | SessionError::ClosedByPeer(_) => ErrorKind::ConnectionReset,
            SessionError::Closed => ErrorKind::NotConnected,
            SessionError::Misbehaved(_) => ErrorKind::InvalidData,
            SessionError::Os(os) => os.kind(),
            SessionError::Forked => ErrorKind::NotConnected,
        }
    }

    fn send_kind(error: SendError) -> ErrorKind {
        match error {
            SendError::Session(error) => session_kind(error),
            SendError::Stopped(_) | SendError::Ended => ErrorKind::BrokenPipe,
            SendError::TooLarge { .. } => ErrorKind::InvalidInput,
            SendError::NoMemory(_) => ErrorKind::OutOfMemory,
            SendError::TimedOut => ErrorKind::TimedOut,
        }
    }

    impl From<SessionError> for Error {
        fn from(error: SessionError) -> Self {
            Self::new(session_kind(error), error)
        }
    }

    impl From<SendError> for Error {
        fn from(error: SendError) -> Self {
            Self::new(send_kind(error), error)
        }
    }

    impl From<RecvError> for Error {
        fn from(error: RecvError) -> Self {
            let kind = match error {
                RecvError::Session(error) => session_kind(error),
                RecvError::Reset(_) => ErrorKind::ConnectionReset,
                RecvError::TooLarge { .. } => ErrorKind::InvalidData,
                RecvError::Open(error) => send_kind(error),
                RecvError::TimedOut => ErrorKind::TimedOut,
            };
            Self::new(kind, error)
        }
    }

    impl From<OpenError> for Error {
        fn from(error: OpenError) -> Self {
            let kind = match error {
                OpenError::Session(error) => session_kind(error),
                OpenError::TooManyStreams { .. } => ErrorKind::QuotaExceeded,
            };
            Self::new(kind, error)
        }
    }

    impl From<AcceptError> for Error {
        fn from(error: AcceptError) -> Self {
            let kind = match error {
                AcceptError::Session(error) => session_kind(error),
                AcceptError::TimedOut => ErrorKind::TimedOut,
            };
            Self::new(kind, error)
        }
    }
}
