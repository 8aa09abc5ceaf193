//! The client's handshake, without blocking the runtime.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use shmipc_core::config::Config;
use shmipc_core::error::{ConnectError, HandshakeError, OsError};
use shmipc_core::handshake::{self, Attempt, Connecting, Established, Exchange, Progress, Role};
use tokio::io::Interest;

use crate::clock;
use crate::fd::watch;

/// How long to wait before another attempt where no descriptor tells when it can succeed.
const PAUSE: Duration = Duration::from_millis(1);

/// Connects and does the handshake, within the time that the configuration gives.
pub(crate) async fn connect(
    address: impl AsRef<Path>,
    config: &Config,
) -> Result<Established, ConnectError> {
    let mut connecting = Connecting::new(address, config, Instant::now())?;
    loop {
        let then = match connecting.attempt(Instant::now())? {
            Attempt::Handshake(exchange) => {
                let outcome = complete(exchange, connecting.deadline()).await;
                match connecting.ended(outcome, Instant::now())? {
                    Ok(established) => return Ok(established),
                    Err(then) => then,
                }
            }
            Attempt::Pause(then) => then,
        };
        clock::sleep_until(then).await;
    }
}

/// Does the handshake over a connected socket, within the time that the configuration gives.
pub(crate) async fn over(
    stream: UnixStream,
    role: Role,
    config: &Config,
) -> Result<Established, HandshakeError> {
    let (exchange, deadline) = handshake::over(stream, role, config)?;
    complete(Box::new(exchange), deadline).await
}

/// Drives a handshake to its end, or until the deadline.
async fn complete(
    exchange: Box<Exchange>,
    deadline: Option<Instant>,
) -> Result<Established, HandshakeError> {
    let failed = |error| HandshakeError::Os(OsError::from_io("epoll_ctl", &error));
    let interest = Interest::READABLE | Interest::WRITABLE;
    let mut fd = watch(*exchange, interest).map_err(failed)?;
    loop {
        let until = match fd.get_mut().0.progress()? {
            Progress::Done => break,
            Progress::Pending(until) => until,
        };
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(fd.get_ref().0.timed_out());
        }
        if until.paused {
            clock::sleep_until(Instant::now() + PAUSE).await;
            continue;
        }
        // What comes while it progresses is seen again: nothing was cleared before.
        let interest = if until.writable { interest } else { Interest::READABLE };
        if let Some(ready) = clock::until(deadline, fd.ready_mut(interest)).await {
            ready.map_err(failed)?.clear_ready();
        }
    }
    fd.into_inner().0.finish().ok_or(HandshakeError::Closed)
}
