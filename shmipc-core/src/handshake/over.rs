//! Sessions without a listener: over a socket that is connected already, and between two ends of one process.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::connect::complete;
use super::{Established, Exchange, PAUSE, Progress, Role};
use crate::config::Config;
use crate::error::{HandshakeError, OsError};
use crate::link::{self, PeerSocket};

/// Begins a handshake over a connected socket, whose other end is in another process; gives it, and when its time is
/// over.
///
/// # Errors
/// [`HandshakeError`]: the socket cannot be used, or the authorizer has refused the peer.
pub fn over(
    stream: UnixStream,
    role: Role,
    config: &Config,
) -> Result<(Exchange, Option<Instant>), HandshakeError> {
    let deadline = Instant::now().checked_add(config.handshake_timeout);
    Ok((begin(stream, role, true, config)?, deadline))
}

/// Completes the handshake of [`over`]. **Blocks** for the handshake timeout at most.
///
/// # Errors
/// [`HandshakeError`]: one side has refused, the peer has closed, or the time is over.
pub fn complete_over(
    stream: UnixStream,
    role: Role,
    config: &Config,
) -> Result<Established, HandshakeError> {
    let (exchange, deadline) = over(stream, role, config)?;
    complete(exchange, deadline)
}

fn begin(
    stream: UnixStream,
    role: Role,
    is_elsewhere: bool,
    config: &Config,
) -> Result<Exchange, HandshakeError> {
    let failed = |error| OsError::from_io("fcntl(O_NONBLOCK)", &error);
    stream.set_nonblocking(true).map_err(failed)?;
    let socket = PeerSocket::from(OwnedFd::from(stream));
    let cred = link::peer_cred(socket.as_fd())?;
    Exchange::with(role, socket, cred, is_elsewhere, config)
}

/// Makes both ends of a session in this process: the client's and the server's. **Blocks** while the kernel makes memory,
/// and for the server's handshake timeout at most while it takes no more descriptors.
///
/// # Errors
/// [`HandshakeError`]: the two configurations do not fit, or the kernel refuses descriptors or memory.
pub fn pair(
    client: &Config,
    server: &Config,
) -> Result<(Established, Established), HandshakeError> {
    let failed = |error| OsError::from_io("socketpair", &error);
    let (a, b) = UnixStream::pair().map_err(failed)?;
    let deadline = Instant::now().checked_add(server.handshake_timeout);
    let mut ends = [begin(a, Role::Client, false, client)?, begin(b, Role::Server, false, server)?];
    loop {
        let mut done = true;
        for end in &mut ends {
            if let Progress::Pending(until) = end.progress()? {
                done = false;
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(HandshakeError::TimedOut);
                }
                if until.paused {
                    std::thread::sleep(PAUSE);
                }
            }
        }
        if done {
            break;
        }
    }
    let [client, server] = ends.map(|end| end.finish().ok_or(HandshakeError::Closed));
    Ok((client?, server?))
}
