//! What can fail: connecting, and listening.

use std::io;

use crate::Address;

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no session over shared memory.
    #[error(transparent)]
    Session(#[from] shmipc_async::ConnectError),
    /// There is a session, but it gives no stream.
    #[error(transparent)]
    Stream(#[from] shmipc_async::OpenError),
    /// The socket could not be connected.
    #[error("cannot connect to {address}: {reason}; is the server running?")]
    Socket {
        /// The address.
        address: Address,
        /// The kind of the error.
        kind: io::ErrorKind,
        /// What the system says.
        reason: String,
    },
}

/// Why nobody can listen at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Not over shared memory, or not on a Unix socket: another server has the path, or the file cannot be made.
    #[error(transparent)]
    Listen(#[from] shmipc_async::ListenError),
    /// Only a server over shared memory can be taken over from.
    #[error("{address} cannot be handed over to a successor: use shm:PATH, or `Incoming::bind`")]
    NotUpgradable {
        /// The address.
        address: Address,
    },
    /// Not on this TCP socket, or the runtime cannot watch the Unix socket.
    #[error("cannot listen at {address}: {reason}")]
    Socket {
        /// The address.
        address: Address,
        /// The kind of the error.
        kind: io::ErrorKind,
        /// What the system says.
        reason: String,
    },
}

impl BindError {
    pub(crate) fn socket(address: &Address, error: &io::Error) -> Self {
        Self::Socket { address: address.clone(), kind: error.kind(), reason: error.to_string() }
    }
}
