//! What can fail: connecting, and listening.

use std::io;

use crate::Address;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no session over shared memory.
    #[error(transparent)]
    Session(#[from] shmipc_async::ConnectError),
    /// There is a session, but it gives no stream.
    #[error(transparent)]
    Stream(#[from] shmipc_async::OpenError),
    /// The socket could not be connected.
    #[error("cannot connect to {address}: {error}; is the server running?")]
    Socket {
        /// The address.
        address: Address,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

/// Why nobody can listen at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Not over shared memory.
    #[error(transparent)]
    Listen(#[from] shmipc_async::ListenError),
    /// Not on this socket.
    #[error("cannot listen at {address}: {error}")]
    Socket {
        /// The address.
        address: Address,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}
