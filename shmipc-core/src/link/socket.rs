//! Sending and receiving on a Unix stream socket that never blocks.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, ControlMessage, MsgFlags, Shutdown, getsockopt, sockopt};

use super::LinkError;
use crate::config::PeerCred;
use crate::error::{OsError, PeerMisbehaved};
use crate::mem::{self, Truncated};
use crate::steps;
use crate::wire::Decoder;

/// Bytes read at once: any frame of a live session, or a hundred bells.
const CHUNK: usize = 1024;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a frame that was not sent is to be sent later"]
pub enum Sent {
    /// It is on its way.
    Whole,
    /// The peer does not read: nothing was sent; try again when the socket is writable.
    Full,
    /// The kernel lacks memory, or too many descriptors of this user are under way (`ETOOMANYREFS`):
    /// nothing was sent; try again after a while, the socket does not tell when.
    Later,
    /// The peer has closed. What it sent before can still be read.
    Gone,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the end is reported once per read"]
pub enum Receive {
    /// The decoder has more than before, or had a frame left.
    Bytes,
    /// Nothing is there.
    Empty,
    /// The peer has closed, and everything it sent has been read (K4).
    End,
}

/// Sends one frame with its descriptors, whole or not at all (K1).
///
/// # Errors
/// [`OsError`] if the socket fails for another reason than those of [`Sent`].
pub fn send(socket: BorrowedFd<'_>, frame: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Sent, OsError> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    steps::unsent(frame);
    if steps::is_refused(frame) {
        return Ok(Sent::Later);
    }
    loop {
        let sent = if fds.is_empty() {
            socket::send(socket.as_raw_fd(), frame, flags)
        } else {
            let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&numbers)];
            socket::sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(frame)], &rights, flags, None)
        };
        return match sent {
            Ok(n) if n == frame.len() => {
                steps::sent(frame);
                Ok(Sent::Whole)
            }
            Ok(_) => Err(OsError::new("sendmsg", Errno::EMSGSIZE)),
            Err(Errno::EAGAIN) => Ok(Sent::Full),
            Err(Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM) => Ok(Sent::Later),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(Sent::Gone),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(OsError::new("sendmsg", errno)),
        };
    }
}

/// Reads the socket once and feeds the decoder. If a whole frame still waits there, left by a turn that
/// had enough or by the handshake, that one comes first and nothing is read: a peer cannot make a
/// decoder grow, whoever drains it.
///
/// # Errors
/// [`LinkError::Misbehaved`] if more descriptors came than any frame declares; [`LinkError::Os`] if
/// this process had no room for them (`EMFILE`), or the socket failed.
pub fn receive(socket: BorrowedFd<'_>, decoder: &mut Decoder) -> Result<Receive, LinkError> {
    if decoder.has_frame() {
        return Ok(Receive::Bytes);
    }
    let mut chunk = [0; CHUNK];
    let received = match mem::receive(socket, &mut chunk, decoder.may_come()) {
        Ok(received) => received,
        Err(Errno::EAGAIN) => return Ok(Receive::Empty),
        Err(Errno::ECONNRESET) => return Ok(Receive::End),
        Err(errno) => return Err(OsError::new("recvmsg", errno).into()),
    };
    match received.truncated {
        Some(Truncated::Surplus) => return Err(PeerMisbehaved::Descriptors.into()),
        Some(Truncated::NoRoom) => return Err(OsError::new("recvmsg", Errno::EMFILE).into()),
        None => {}
    }
    if received.bytes == 0 {
        return Ok(Receive::End);
    }
    decoder.feed(chunk.get(..received.bytes).unwrap_or_default(), received.fds);
    Ok(Receive::Bytes)
}

/// Who is on the other end: of an accepted socket, whoever connected; of a connected one, whoever
/// called `listen`.
///
/// # Errors
/// [`OsError`] if this is no Unix socket.
pub fn peer_cred(socket: BorrowedFd<'_>) -> Result<PeerCred, OsError> {
    getsockopt(&socket, sockopt::PeerCredentials)
        .map(|cred| PeerCred::new(cred.pid(), cred.uid(), cred.gid()))
        .map_err(|errno| OsError::new("getsockopt(SO_PEERCRED)", errno))
}

/// Ends a connection for every holder of its socket. Nothing can go wrong that matters.
pub fn shutdown(socket: BorrowedFd<'_>) {
    let _ = socket::shutdown(socket.as_raw_fd(), Shutdown::Both);
}
