//! Every system call on the descriptors of a session, in one place: the socket, the bell, and the one
//! descriptor that a thread sleeps on. Nothing here blocks, except [`WaitSet::wait`],
//! [`Poller::wait`] and [`wait_ready`], which say so.
//!
//! ```text
//!              ┌─ epoll (this is what a session's `AsFd` gives) ─┐
//!   socket ────┤ level       frames, end of file                 │
//!   pidfd  ────┤ level       readable once the peer is gone      │──▶ wait() → Woken
//!   bell   ────┤ edge        eventfd that the peer writes to     │
//!   kick   ────┤ edge        eventfd that this process writes to │
//!              └─────────────────────────────────────────────────┘
//! ```
//!
//! # Invariants
//! * **K1** A frame is sent whole or not at all. A stream socket takes up to half of its send buffer in
//!   one piece, and frames are far smaller; a short write would mean that the stream is lost, and is
//!   an error that ends the session.
//! * **K2** Eventfds are edge-triggered and never read: a write is one wake-up for whoever is inside
//!   `epoll_wait`, or for the next who enters; nobody can steal it by reading.
//! * **K3** No call waits for the peer. Its socket buffer may be full ([`Sent::Full`]); of the bell
//!   that means that enough rings wait there already.
//! * **K4** What the peer sent before it closed is read before the end is reported.
//! * **K5** Every socket to a peer is a [`PeerSocket`] from its first moment, so that closing it never
//!   blocks.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]

mod address;
mod alarm;
mod bell;
mod connect;
mod peer;
mod poller;
mod socket;
mod wait;

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic
)]
mod tests;

pub(crate) use address::path_of;
pub use address::{Address, BadAddress};
pub use alarm::Alarm;
pub use bell::Bell;
pub(crate) use bell::{add_one, eventfd};
pub use connect::try_connect;
pub(crate) use connect::{new_socket, set_nonblocking};
pub use peer::PeerSocket;
pub(crate) use peer::close_listener;
pub use poller::Poller;
pub use socket::{Receive, Sent, peer_cred, receive, send, shutdown};
pub use wait::{WaitParts, WaitSet, Woken, wait_ready};
pub(crate) use wait::{epoll_wait, new_epoll, rewatch, watch};

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::error::{HandshakeError, OsError, PeerMisbehaved, SessionError};
use crate::wire::Decoder;

/// Why a call on the socket failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The peer broke a rule of the wire.
    #[error(transparent)]
    Misbehaved(#[from] PeerMisbehaved),
    /// The operating system refused something.
    #[error(transparent)]
    Os(#[from] OsError),
}

impl From<LinkError> for HandshakeError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Misbehaved(rule) => Self::Misbehaved(rule),
            LinkError::Os(error) => Self::Os(error),
        }
    }
}

impl From<LinkError> for SessionError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Misbehaved(rule) => Self::Misbehaved(rule),
            LinkError::Os(error) => Self::Os(error),
        }
    }
}

/// The descriptors of a live session. All methods take `&self` and may be called by several threads;
/// who may call what when is the session's business.
#[derive(Debug)]
pub struct Link {
    socket: PeerSocket,
    bell: Bell,
    wait: WaitSet,
    peer: Option<OwnedFd>,
}

impl Link {
    /// Takes the descriptors of an established session and makes its wait set.
    ///
    /// # Errors
    /// [`OsError`] if the descriptors cannot be watched.
    pub fn new(
        socket: impl Into<PeerSocket>,
        bell: Bell,
        peer: Option<OwnedFd>,
        parts: WaitParts,
    ) -> Result<Self, OsError> {
        let socket = socket.into();
        let ours = match &bell {
            Bell::Socket => None,
            Bell::Eventfd { ours, .. } => Some(ours.as_fd()),
        };
        let wait = WaitSet::new(parts, socket.as_fd(), peer.as_ref().map(AsFd::as_fd), ours)?;
        Ok(Self { socket, bell, wait, peer })
    }

    /// Sends one frame with its descriptors, whole or not at all (K1).
    ///
    /// # Errors
    /// [`OsError`] if the socket fails for another reason than those of [`Sent`].
    pub fn send_frame(&self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Sent, OsError> {
        send(self.socket.as_fd(), frame, fds)
    }

    /// Rings the peer's bell. A full socket or eventfd counts as rung (K3), a peer that is gone too:
    /// the wait set reports that. Returns `false` if the kernel has no memory for a ring: ring again later.
    ///
    /// # Errors
    /// [`OsError`] if the call fails for another reason.
    pub fn ring(&self) -> Result<bool, OsError> {
        self.bell.ring(self.socket.as_fd())
    }

    /// Reads the socket once and feeds the decoder, unless a frame still waits there; see [`receive`].
    ///
    /// # Errors
    /// [`LinkError`]: surplus descriptors, or none left in this process, or the socket failed.
    pub fn receive(&self, decoder: &mut Decoder) -> Result<Receive, LinkError> {
        receive(self.socket.as_fd(), decoder)
    }

    /// **Blocks** until something happens or the time is over; see [`WaitSet::wait`].
    ///
    /// # Errors
    /// [`OsError`] if `epoll_wait` fails.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Woken, OsError> {
        self.wait.wait(timeout)
    }

    /// Whether the peer's process has ended, by its pidfd. Takes none of the edges that
    /// [`wait`](Self::wait) reports.
    pub fn peer_died(&self) -> bool {
        let ended = |peer: &OwnedFd| wait_ready(peer.as_fd(), true, false, Some(Duration::ZERO));
        self.peer.as_ref().is_some_and(|peer| ended(peer).unwrap_or(false))
    }

    /// Wakes the thread of this process that is inside [`wait`](Self::wait), or the next to enter.
    pub fn kick(&self) {
        self.wait.kick();
    }

    /// Whether the wait set also reports that the socket can take a frame again.
    ///
    /// # Errors
    /// [`OsError`] if `epoll_ctl` fails.
    pub fn watch_writable(&self, on: bool) -> Result<(), OsError> {
        self.wait.watch_writable(self.socket.as_fd(), on)
    }

    /// The bell of this session.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Ends the connection for every holder of the socket, forked children included.
    pub fn shutdown(&self) {
        shutdown(self.socket.as_fd());
    }
}

/// The epoll: readable when the session has something to do.
impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wait.as_fd()
    }
}
