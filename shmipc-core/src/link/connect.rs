//! Reaching a listener.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use super::Address;
use crate::client::{Backoff, random};
use crate::error::{ConnectError, HandshakeError, OsError};

/// First pause after a refused attempt, and the longest of those that follow.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// Connects, and **blocks** until the deadline at most. The socket that comes back never blocks.
///
/// A listener whose backlog is full is waited for, and one that is just being replaced
/// (`ECONNREFUSED`) is tried again. A path that does not exist fails at once.
///
/// # Errors
/// [`ConnectError::Unreachable`] with the last error; [`HandshakeError::TimedOut`] if the backlog
/// stayed full.
pub fn connect(address: &Address, deadline: Option<Instant>) -> Result<OwnedFd, ConnectError> {
    let unreachable = |error| ConnectError::Unreachable { address: address.to_string(), error };
    let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let socket = new_socket(SockFlag::empty()).map_err(unreachable)?;
        limit_blocking(socket.as_fd(), left).map_err(unreachable)?;
        let over = left.is_some_and(|left| left.is_zero());
        match start(&socket, address) {
            Ok(()) => {
                set_nonblocking(socket.as_fd()).map_err(unreachable)?;
                return Ok(socket);
            }
            Err(Errno::EAGAIN) if over => return Err(HandshakeError::TimedOut.into()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::ECONNREFUSED) if !over => {
                let pause = pauses.next(random());
                std::thread::sleep(left.map_or(pause, |left| left.min(pause)));
            }
            Err(errno) => return Err(unreachable(OsError::new("connect", errno))),
        }
    }
}

/// One attempt that does not block.
///
/// # Errors
/// `EAGAIN` if the backlog is full, `ECONNREFUSED` if nobody listens: both worth another attempt
/// after a pause. Everything else is final.
pub fn try_connect(address: &Address) -> Result<OwnedFd, OsError> {
    let socket = new_socket(SockFlag::SOCK_NONBLOCK)?;
    start(&socket, address).map_err(|errno| OsError::new("connect", errno))?;
    Ok(socket)
}

fn start(socket: &OwnedFd, address: &Address) -> Result<(), Errno> {
    let reach = address.reach()?;
    nix::sys::socket::connect(socket.as_raw_fd(), &reach.unix)
}

pub(crate) fn new_socket(flags: SockFlag) -> Result<OwnedFd, OsError> {
    socket(AddressFamily::Unix, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| OsError::new("socket", errno))
}

/// How long `connect` may wait for a place in the backlog. The kernel reads 0 as "for ever".
fn limit_blocking(socket: BorrowedFd<'_>, left: Option<Duration>) -> Result<(), OsError> {
    let Some(left) = left else { return Ok(()) };
    let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    let micros = i64::from(left.subsec_micros()).max(i64::from(seconds == 0));
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(seconds, micros))
        .map_err(|errno| OsError::new("setsockopt(SO_SNDTIMEO)", errno))
}

/// Makes calls on a descriptor return `EAGAIN` instead of blocking, for all holders of the file.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), OsError> {
    let failed = |errno| OsError::new("fcntl", errno);
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).map_err(failed)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok(())
}
