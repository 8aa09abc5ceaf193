//! Reaching a listener.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Address, PeerSocket};
use crate::error::OsError;

/// Makes one attempt to connect, which does not block. Nor does the socket that comes back.
///
/// # Errors
/// `EAGAIN` if the backlog is full, `ECONNREFUSED` if the file is stale, `ENOENT` if there is none.
pub fn try_connect(address: &Address) -> Result<PeerSocket, OsError> {
    let failed = |errno| OsError::new("connect", errno);
    let socket = PeerSocket::from(new_socket(SockFlag::SOCK_NONBLOCK)?);
    // It takes descriptors only once the listener was judged.
    socket.pass_rights(false);
    let reach = address.reach().map_err(failed)?;
    while let Err(errno) = nix::sys::socket::connect(socket.as_fd().as_raw_fd(), &reach.unix) {
        if errno != Errno::EINTR {
            return Err(failed(errno));
        }
    }
    Ok(socket)
}

pub(crate) fn new_socket(flags: SockFlag) -> Result<OwnedFd, OsError> {
    socket(AddressFamily::Unix, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| OsError::new("socket", errno))
}

/// Makes calls on a descriptor return `EAGAIN` instead of blocking, for all holders of the file.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), OsError> {
    let failed = |errno| OsError::new("fcntl", errno);
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).map_err(failed)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok(())
}
