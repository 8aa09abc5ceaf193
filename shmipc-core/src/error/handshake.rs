//! Errors on the way to a session.

use super::{FileSizeLimit, OsError, PeerMisbehaved, UpgradeRefusal};
use crate::config::PeerCred;

/// Why one side refused a handshake, as told on the wire. `theirs` is always the other side's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The authorizer of the other side said no.
    #[error(
        "uid {uid} is not authorized; allow it with `Config::builder().allow_uid({uid})`, or a group of it with `allow_gid`, on the side that refused"
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
    /// The side that refused has no room for one more: as many handshakes are in progress, or as many sessions there, as
    /// it lets in (`max_handshakes`, `max_sessions`), or its process has no descriptors or memory left. It may have later.
    #[error(
        "the side that refused has no room for one more session now; its limits are `max_sessions`, `max_handshakes`, open files (`ulimit -n`) and memory"
    )]
    Busy,
    /// The kernel refused something to the side that refused which a session needs, and would do so again.
    #[error(
        "the kernel keeps the side that refused from making a session: {call}: {}; a limit, a system call filter or a security module of that process may be the cause",
        std::io::Error::from_raw_os_error(*.code)
    )]
    System {
        /// The call that failed.
        call: String,
        /// The raw error code (`errno`).
        code: i32,
    },
    /// Word size or byte order differ.
    #[error("the other side has another word size or byte order")]
    Architecture,
    /// This side broke the protocol, says the other one.
    #[error(
        "this process broke the protocol (the peer says: {rule}); is one of the two older, or under an emulator?"
    )]
    Misbehaved {
        /// The rule, in the words of the other side.
        rule: String,
    },
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
    /// The deadline passed, and the listener belongs to this very process: most likely the thread, or the task, that was to
    /// accept is the one that waits.
    #[error(
        "the handshake did not end in time; the listener belongs to this process: call `accept` in another thread or task than `connect`"
    )]
    NotAccepted,
    /// The kernel lacks the seal that keeps shared memory read-only for the peer (Linux 5.1).
    #[error("this kernel lacks F_SEAL_FUTURE_WRITE; Linux 5.1 or newer is needed")]
    SealUnsupported,
    /// The kernel does not let this process make shared memory.
    #[error(
        "this process cannot make shared memory: {0}; look for a limit, a system call filter (seccomp) or a security module that forbids it"
    )]
    NoSharedMemory(OsError),
    /// Peers that are not trusted could write our memory by way of `/dev/udmabuf`, in spite of its seals: this
    /// kernel has a flaw that Linux 6.13 and stable releases from December 2024 on have not.
    #[error(
        "/dev/udmabuf of this kernel writes sealed memory; update the kernel (6.13, or stable from December 2024), deny the device to users other than root, or trust the peer"
    )]
    SealBroken,
    /// The peer's uid is the one that the kernel shows for all users that our user namespace does not map. So it
    /// says nothing of who the peer is, even if it is our own.
    #[error(
        "uid {uid} of the peer stands for every user that this user namespace does not map; run both sides as a mapped user, or allow all of them with `Config::builder().allow_uid({uid})`",
        uid = .0.uid
    )]
    Unmapped(PeerCred),
    /// Payload memory was to be committed upfront, and the memory cgroup of this process has less left: the
    /// kernel would kill instead of saying no.
    #[error(
        "an arena of {needs} bytes does not fit into the {left} bytes that the memory cgroup has left; lower `arena_max`, raise the limit, or do not commit it upfront"
    )]
    NoMemory {
        /// Bytes of the arena.
        needs: u64,
        /// Bytes that the cgroup has left.
        left: u64,
    },
    /// Payload memory was to be committed upfront, and the kernel refused.
    #[error(
        "an arena of {needs} bytes could not be committed upfront: {error}; lower `arena_max`, or give the process more"
    )]
    NotCommitted {
        /// Bytes of the arena.
        needs: u64,
        /// What the kernel said.
        error: OsError,
    },
    /// Shared memory for the session would exceed `RLIMIT_FSIZE` of this process.
    #[error(transparent)]
    FileSize(#[from] FileSizeLimit),
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
            crate::mem::CreateError::FileSize(error) => Self::FileSize(error),
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
    #[error("cannot connect to {address}: {error}; {}", advice(error))]
    Unreachable {
        /// The address.
        address: String,
        /// The error of the last attempt.
        #[source]
        error: OsError,
    },
    /// The address is empty, contains a zero byte, or is too long: 107 bytes of a name, 4,095 of a path.
    #[error(
        "`{address}` cannot be a socket address: it is empty, has a zero byte, or is longer than 107 bytes as an `@name` or 4095 as a path"
    )]
    BadAddress {
        /// The address.
        address: String,
    },
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl ConnectError {
    /// Returns `true` if the server is not there at the moment: it is being restarted, has not been started, or ended
    /// during the handshake. Nothing was sent to it.
    pub fn is_server_away(&self) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
        match self {
            Self::Unreachable { error, .. } => {
                matches!(error.kind(), ConnectionRefused | ConnectionReset | NotFound)
            }
            Self::Handshake(HandshakeError::Closed) => true,
            Self::Handshake(HandshakeError::Os(error)) => {
                matches!(error.kind(), ConnectionReset | BrokenPipe)
            }
            _ => false,
        }
    }
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
    /// The path is empty, contains a zero byte, or is too long: 107 bytes of a name, 4,095 of a path.
    #[error(
        "`{path}` cannot be a socket path: it is empty, has a zero byte, or is longer than 107 bytes as an `@name` or 4095 as a path"
    )]
    BadPath {
        /// The path.
        path: String,
    },
    /// The socket file, or the lock file beside it, cannot be made.
    #[error("cannot make {path}: {error}; {}", path_advice(error))]
    Path {
        /// The file.
        path: String,
        /// What the operating system said.
        error: OsError,
    },
    /// The lock file belongs to another user, whose mode keeps this one out.
    #[error(
        "{path} was left by uid {uid}, and this user may not open it; if no server of that user runs, remove the file, else choose another path"
    )]
    ForeignLock {
        /// The lock file.
        path: String,
        /// Its owner.
        uid: u32,
    },
    /// The socket file would let in more users than it should, and its file system does not let that be changed.
    #[error(
        "{path} has mode {mode:o} instead of {asked:o}, and its file system ({file_system}) does not change it; choose a directory on a local file system, such as one in /run"
    )]
    TooOpen {
        /// The socket file.
        path: String,
        /// The mode that it got.
        mode: u32,
        /// The mode that it was to have.
        asked: u32,
        /// The kind of its file system.
        file_system: String,
    },
    /// The socket file was removed or replaced, and another server listens on the path now.
    #[error(
        "another server listens on {path} now, since the socket file was removed or replaced; this one accepts no more clients"
    )]
    Replaced {
        /// The path.
        path: String,
    },
    /// The socket file cannot be given to the group that was asked for.
    #[error("cannot give {path} to group {gid}: {error}; this user must be a member of the group")]
    Group {
        /// The socket file.
        path: String,
        /// The group.
        gid: u32,
        /// What the operating system said.
        error: OsError,
    },
    /// Kernel support is missing.
    #[error("this kernel lacks F_SEAL_FUTURE_WRITE; Linux 5.1 or newer is needed")]
    SealUnsupported,
    /// The kernel does not let this process make shared memory, so it could serve no client.
    #[error(
        "this process cannot make shared memory: {0}; look for a limit, a system call filter (seccomp) or a security module that forbids it"
    )]
    NoSharedMemory(OsError),
    /// Peers that are not trusted could write our memory by way of `/dev/udmabuf`, in spite of its seals: this
    /// kernel has a flaw that Linux 6.13 and stable releases from December 2024 on have not.
    #[error(
        "/dev/udmabuf of this kernel writes sealed memory; update the kernel (6.13, or stable from December 2024), deny the device to users other than root, or trust the peer"
    )]
    SealBroken,
    /// The listener was closed.
    #[error("the listener was closed")]
    Closed,
    /// A successor accepts now, and every session here has been told to leave.
    #[error("a successor serves now; `drain` what is left, and exit")]
    HandedOver,
    /// The running server did not let us take over.
    #[error("the running server goes on: {0}")]
    UpgradeRefused(UpgradeRefusal),
    /// The running server said nothing. It may go on when it wakes, so this one does not serve.
    #[error(
        "the running server does not answer on its upgrade socket; is it stopped, or not in `accept`?"
    )]
    UpgradeTimedOut,
    /// The upgrade socket belongs to a server of another user.
    #[error(
        "the upgrade socket belongs to a server of uid {uid}, which is not taken over from; run both as the same user"
    )]
    ForeignServer {
        /// The uid.
        uid: u32,
    },
    /// The running server listens on another path than this one is to.
    #[error(
        "the running server does not listen on {path}, or its file was replaced; check the path and the upgrade socket"
    )]
    OtherPath {
        /// Where we are to listen.
        path: String,
    },
    /// This process is a fork of the one that listens.
    #[error(
        "the listener belongs to the process this one was forked from; only that one accepts on it"
    )]
    Forked,
    /// The operating system refused something.
    #[error(transparent)]
    Os(#[from] OsError),
}

impl From<crate::mem::CreateError> for ConnectError {
    fn from(error: crate::mem::CreateError) -> Self {
        Self::Handshake(match error {
            crate::mem::CreateError::SealUnsupported => HandshakeError::SealUnsupported,
            crate::mem::CreateError::FileSize(error) => HandshakeError::FileSize(error),
            crate::mem::CreateError::Os(error) => HandshakeError::NoSharedMemory(error),
        })
    }
}

impl From<crate::mem::CreateError> for ListenError {
    fn from(error: crate::mem::CreateError) -> Self {
        match error {
            crate::mem::CreateError::SealUnsupported => Self::SealUnsupported,
            crate::mem::CreateError::FileSize(_) => {
                Self::NoSharedMemory(OsError { call: "ftruncate", code: nix::libc::EFBIG })
            }
            crate::mem::CreateError::Os(error) => Self::NoSharedMemory(error),
        }
    }
}

/// What to do about a server that cannot be reached.
fn advice(error: &OsError) -> &'static str {
    use nix::libc::{EACCES, EMFILE, ENAMETOOLONG, EPERM};
    match error.code {
        ENAMETOOLONG => TOO_LONG,
        EMFILE => "raise `ulimit -n` of this process, or close something",
        EACCES | EPERM => "may this user use the socket, and its directory?",
        _ => "is the server running?",
    }
}

/// What to do about a file that cannot be made.
fn path_advice(error: &OsError) -> &'static str {
    use nix::libc::{EDQUOT, ENAMETOOLONG, ENOSPC, EROFS};
    match error.code {
        ENAMETOOLONG => TOO_LONG,
        ENOSPC | EDQUOT => "make room there",
        EROFS => "that file system is read-only",
        _ => "its directory must exist, and this user be allowed to write there",
    }
}

const TOO_LONG: &str = "a path of more than 107 bytes needs /proc, and its last part at most 242 bytes; choose a shorter one";
