//! The socket to a peer, and the one that peers connect to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::{shutdown, wait_ready};
use crate::mem::{self, Home};

/// A connected socket to a peer. Dropping it ends the connection and never blocks: if the peer has sent
/// descriptors that were not taken, whose close may block, another thread closes it.
#[derive(Debug)]
pub struct PeerSocket {
    /// `None` only while it is dropped.
    fd: Option<OwnedFd>,
    home: Home,
}

impl PeerSocket {
    /// The descriptor, for a connection on which descriptors mean nothing. Closing it may
    /// wait for those that the peer has passed all the same, before Linux 6.16.
    pub fn into_plain(mut self) -> OwnedFd {
        self.fd.take().expect("only a drop leaves it empty")
    }

    /// Whether the kernel lets the peer pass descriptors, where it knows how to refuse them.
    pub(crate) fn pass_rights(&self, on: bool) {
        mem::pass_rights(self.as_fd(), on);
    }
}

impl From<OwnedFd> for PeerSocket {
    /// Takes a socket over, connected or about to be.
    fn from(fd: OwnedFd) -> Self {
        mem::prepare_socket(fd.as_fd());
        mem::join_reserve();
        Self { fd: Some(fd), home: Home::here() }
    }
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("only a drop leaves it empty").as_fd()
    }
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        let fd = self.fd.take();
        // In a forked child it is a copy of one that goes on.
        if self.home.is_foreign() {
            return;
        }
        mem::leave_reserve();
        let Some(fd) = fd else { return };
        // First: after it the peer can send nothing more.
        shutdown(fd.as_fd());
        if !is_emptied(fd.as_fd()) {
            mem::close_elsewhere(fd);
        }
    }
}

/// Reads what is left in a socket, which is mostly a few bells. False if there are descriptors, or more
/// than an honest peer leaves.
fn is_emptied(socket: BorrowedFd<'_>) -> bool {
    for _ in 0..64 {
        match mem::receive(socket, &mut [0; 1024], 0) {
            Ok(received) if received.truncated.is_some() => return false,
            Ok(received) if received.bytes > 0 => {}
            Ok(_) | Err(_) => return true,
        }
    }
    false
}

/// Closes a listening socket, with the connections that wait in it. Never blocks: these can hold
/// descriptors too. `ours`: no other process goes on with it.
pub(crate) fn close_listener(listener: OwnedFd, ours: bool) {
    let socket = listener.as_fd();
    if ours {
        // After it none can connect.
        shutdown(socket);
        loop {
            match mem::accept(socket) {
                Ok(connection) => drop(PeerSocket::from(connection)),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS) => break,
                Err(_) => return,
            }
        }
    }
    if wait_ready(socket, true, false, Some(Duration::ZERO)).unwrap_or(true) {
        mem::close_elsewhere(listener);
    }
}
