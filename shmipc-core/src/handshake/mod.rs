//! How two processes become the two sides of a session.
//!
//! ```text
//!   client                                     server
//!     connect()                                 accept()
//!     authorize SO_PEERCRED                     authorize SO_PEERCRED
//!     Hello ───────────────────────────────────▶
//!                                               agree on layout and bell
//!     ◀─────────────────────────────────── Hello
//!     agree on layout and bell
//!     make segment 0
//!     Outbox [segment 0, pidfd, eventfd] ──────▶
//!                                               check and map it, make segment 0
//!     ◀────── Outbox [segment 0, pidfd, eventfd]
//!     check and map it
//!     Ready ───────────────────────────────────▶
//!   Established                                Established
//! ```
//!
//! [`Machine`] is the protocol: frames in, frames out, no socket and no clock. [`Exchange`] moves its
//! frames over a socket without ever blocking. [`Connecting`] decides when a client tries again, and [`connect`] is the
//! blocking client;
//! [`Acceptor`](crate::listen::Acceptor) drives many servers side by side.
//!
//! # Invariants
//! * **H1** Nothing is sent to, and no descriptor taken from, a peer that the authorizer refused,
//!   except the refusal. Where the kernel knows how (Linux 6.16), it refuses descriptors to a socket
//!   until the authorizer has accepted.
//! * **H2** Both sides compute terms from the same two Hellos by the same function, before any
//!   descriptor travels. Hellos that do not fit are refused, and the refusal says why on the wire.
//! * **H3** The server makes memory only for a client that has passed its own and has it checked.
//! * **H4** The peer's segment 0 is used only after seals, size, presence and its first two words have
//!   been checked; ours is passed only after its words are written.
//! * **H5** The eventfd bell is used only if both sides ask for it and both trust each other.
//! * **H6** A machine that is done takes no further frame: what follows belongs to the session, and
//!   goes along in the decoder.
//! * **H7** A side says that its end stands (Outbox of the server, Ready of the client) only when it has every descriptor
//!   that its session needs. What the kernel refuses it before, it tells the peer: `Busy` if coming again helps.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]

mod authorize;
mod connect;
mod exchange;
mod machine;
mod outbox;
mod over;
mod refusal;
mod terms;

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]
mod tests;

pub use authorize::{Authorization, authorize, overflow_uid};
pub(crate) use authorize::{authorize_socket, is_own};
pub(crate) use connect::PAUSE;
pub use connect::{Attempt, Connecting, connect};
pub(crate) use exchange::tell;
pub use exchange::{Exchange, Progress, Until};
pub use machine::{Machine, Transmit};
pub use over::{complete_over, over, pair};
pub use refusal::refusal_frame;
pub use terms::{Terms, hello};

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::stat::FileStat;

use crate::config::{PeerCred, WaitMode};
use crate::layout::Geometry;
use crate::link::{Bell, PeerSocket, WaitParts};
use crate::listen::Place;
use crate::mem::{OwnMapping, PeerMapping};
use crate::wire::{Decoder, Features};

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We connected.
    Client,
    /// We accepted.
    Server,
}

/// Everything a session starts with.
#[derive(Debug)]
pub struct Established {
    /// Which end we are.
    pub role: Role,
    /// The socket, never blocking. Open for the life of the session.
    pub socket: PeerSocket,
    /// What arrived behind the handshake.
    pub decoder: Decoder,
    /// Segment 0 of our outbox. Magic and version are written, the event words say "never".
    pub own: Arc<OwnMapping>,
    /// The file of our segment 0, for refusing it if the peer hands it back.
    pub own_file: FileStat,
    /// Segment 0 of the peer's outbox, checked.
    pub peer: Arc<PeerMapping>,
    /// The direction that we write.
    pub out: Geometry,
    /// The direction that the peer writes.
    pub incoming: Geometry,
    /// The agreed bell, with its eventfds.
    pub bell: Bell,
    /// What the wait set of the session is made of.
    pub wait: WaitParts,
    /// Optional parts of the protocol that both sides have.
    pub features: Features,
    /// The peer's process: readable once it has ended. `None` if its kernel has no pidfds.
    pub peer_pidfd: Option<OwnedFd>,
    /// The peer's user, as the kernel says.
    pub peer_cred: PeerCred,
    /// How the peer's threads wait. Informative.
    pub peer_wait: WaitMode,
    /// Whether the peer trusts us. Informative.
    pub peer_trusts: bool,
    /// Version of the peer's application protocol.
    pub peer_app_version: u32,
    /// The peer is known to be another process: no segment that this one writes can be its own.
    pub peer_is_elsewhere: bool,
    /// What the session counts as at its listener.
    pub(crate) place: Option<Place>,
}
