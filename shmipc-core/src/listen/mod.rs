//! Listening: the socket file, and many handshakes side by side.
//!
//! ```text
//!   PATH.lock   locked by the server that listens on PATH, as long as it lives (`lock_file`)
//!   PATH        the socket: bound, watched and removed by `socket_file`
//! ```
//!
//! # Invariants
//! * **A1** Only the holder of the lock binds or unlinks, so between two servers of this library there is no
//!   race. The lock goes with the process that holds it; one that only a forked child of that process still
//!   holds is replaced.
//! * **A2** A socket that answers is never replaced, even if its owner takes no lock; nor is a file that
//!   is no socket.
//! * **A3** As long as a server accepts, the path leads to its socket: it looks once a minute, and makes a file that is
//!   missing again. If it finds another server there, it stops: two never serve beside each other for longer.
//! * **A4** A server that ends removes the files only if they are still its own. A listener that
//!   was passed to it (systemd and its like) is never removed.
//! * **A5** No client delays another: every handshake is driven only as far as it can go, has a
//!   deadline, and counts against a cap, in all and per uid. When a cap is reached, the connection that has
//!   been silent for longest makes way. Sessions are capped in the same way, for as long as they hold
//!   descriptors.
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
mod lock_file;
mod options;
mod places;
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
pub(crate) use places::Place;
pub use socket_file::{SocketFile, bind_unix};

use std::time::Duration;

/// How long accepting stops when the process has no descriptors or memory left.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
