//! Listening: the socket file, and many handshakes side by side.
//!
//! ```text
//!   PATH.lock   locked by whoever listens on PATH, as long as it lives; never deleted
//!   PATH.new    the socket between bind and rename
//!   PATH        the socket, always one that somebody listens on (or did, until it died)
//! ```
//!
//! # Invariants
//! * **A1** Only the holder of the lock binds, renames or unlinks, so between two servers of this
//!   library there is no race. The lock goes with the process that holds it.
//! * **A2** A socket that answers is never replaced, even if its owner takes no lock; nor is a file that
//!   is no socket.
//! * **A3** The path always leads to a socket that is bound and listening: it is made under another
//!   name, with its mode, and renamed over the old one. Clients never see it missing.
//! * **A4** Whoever leaves removes the path only if it still leads to its own inode. A listener that
//!   was passed to us (systemd and its like) is never removed.
//! * **A5** No client delays another: every handshake is driven only as far as it can go, has a
//!   deadline, and counts against a cap, in all and per uid.
//! * **A6** Nothing that a client does, and no lack of descriptors or memory, ends a listener.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]

mod acceptor;
mod binding;
mod budget;
mod handshakes;
mod options;
mod roll;
mod socket_file;
mod upgrades;

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]
mod tests;

pub use acceptor::Acceptor;
pub use binding::Binding;
pub use handshakes::AcceptStats;
pub use options::ListenOptions;
pub use socket_file::{SocketFile, bind_unix};

use std::time::Duration;

/// How long accepting stops when the process has no descriptors or memory left.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
