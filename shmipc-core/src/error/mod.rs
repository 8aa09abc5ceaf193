//! Named errors, one type per operation, each saying what to do.

mod convert;
mod handshake;
mod peer;
mod stream;
mod try_error;
mod upgrade;

pub use handshake::{ConnectError, HandshakeError, ListenError, Refusal};
pub use peer::PeerMisbehaved;
pub use stream::{AcceptError, Delivery, DrainError, OpenError, RecvError, SendError};
pub use try_error::TryError;
pub use upgrade::UpgradeRefusal;

use std::io;

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

    /// Returns whether the call failed for want of descriptors or memory, which may pass.
    pub fn is_shortage(&self) -> bool {
        use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
        [EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC].contains(&self.code)
    }

    /// The kind that the standard library gives this code.
    pub fn kind(&self) -> io::ErrorKind {
        io::Error::from_raw_os_error(self.code).kind()
    }
}

/// Shared memory would exceed the size that this process may give to a file (`RLIMIT_FSIZE`, `ulimit -f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "shared memory of {needs} bytes exceeds RLIMIT_FSIZE ({limit} bytes); raise `ulimit -f` of this process"
)]
pub struct FileSizeLimit {
    /// Bytes of the shared memory.
    pub needs: u64,
    /// The limit, bytes.
    pub limit: u64,
}

/// Why a session is over. The texts hold for both sides: a server reads them as well as a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer's process ended, or its socket was closed without a goodbye.
    #[error("the peer died: its process ended, or closed the socket without a goodbye")]
    PeerDied,
    /// The peer closed the session with this code.
    #[error("the peer closed the session (code {0})")]
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
    /// The runtime that drove the session has shut down.
    #[error("the runtime of the session has shut down; keep it alive for as long as its sessions")]
    RuntimeGone,
    /// This process is a fork of the one that owns the session.
    #[error(
        "the session belongs to the process this one was forked from; a child needs one of its own"
    )]
    Forked,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server cannot connect again, and the error of a session knows nothing of a message.
    #[test]
    fn texts_of_session_errors_hold_for_both_sides() {
        let os = OsError { call: "mmap", code: nix::libc::ENOMEM };
        for error in [
            SessionError::PeerDied,
            SessionError::ClosedByPeer(0),
            SessionError::Closed,
            SessionError::Misbehaved(PeerMisbehaved::Frame),
            SessionError::Os(os),
            SessionError::RuntimeGone,
            SessionError::Forked,
        ] {
            let text = error.to_string();
            for word in ["connect", "delivery", "server", "client"] {
                assert!(!text.contains(word), "{text}");
            }
        }
    }
}
