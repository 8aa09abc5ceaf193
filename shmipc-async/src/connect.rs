//! The client's handshake, without blocking the runtime.

use std::io;
use std::path::Path;
use std::time::Duration;

use shmipc_core::client::{Backoff, random};
use shmipc_core::config::Config;
use shmipc_core::error::{ConnectError, HandshakeError, OsError, Refusal};
use shmipc_core::handshake::{Established, Exchange, Progress, Role};
use shmipc_core::link::{self, Address};
use shmipc_core::mem;
use tokio::io::Interest;
use tokio::time::{Instant, sleep, timeout_at};

use crate::fd::watch;

/// The first pause before another attempt, and the longest of those that follow.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// Connects and does the handshake, within the time that the configuration gives.
pub(crate) async fn connect(
    address: impl AsRef<Path>,
    config: &Config,
) -> Result<Established, ConnectError> {
    let address = address.as_ref();
    let address = Address::parse(address)
        .map_err(|_| ConnectError::BadAddress { address: address.display().to_string() })?;
    if !mem::probe_seals() {
        return Err(HandshakeError::SealUnsupported.into());
    }
    let deadline = Instant::now().checked_add(config.connect_timeout());
    let (mut pauses, mut refused) = (Backoff::new(FIRST_PAUSE, LONGEST_PAUSE), false);
    loop {
        let error = match attempt(&address, config, deadline).await {
            Ok(established) => return Ok(established),
            // Why there was no success so far says more.
            Err(ConnectError::Handshake(HandshakeError::TimedOut)) if refused => BUSY,
            Err(error) => error,
        };
        refused |= error == BUSY;
        let pause = pauses.next(random());
        let over = deadline.is_some_and(|deadline| Instant::now() + pause >= deadline);
        match error {
            error if !is_passing(&error) => return Err(error),
            // The backlog has been full all the time.
            ConnectError::Unreachable { error, .. } if over && is_full(&error) => {
                return Err(HandshakeError::TimedOut.into());
            }
            error if over => return Err(error),
            _ => sleep(pause).await,
        }
    }
}

const BUSY: ConnectError = ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy));

/// A listener that is just being replaced, whose backlog is full, or that has enough to do.
fn is_passing(error: &ConnectError) -> bool {
    match error {
        ConnectError::Unreachable { error, .. } => {
            error.kind() == io::ErrorKind::ConnectionRefused || is_full(error)
        }
        error => *error == BUSY,
    }
}

/// A backlog.
fn is_full(error: &OsError) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

async fn attempt(
    address: &Address,
    config: &Config,
    deadline: Option<Instant>,
) -> Result<Established, ConnectError> {
    let socket = link::try_connect(address)
        .map_err(|error| ConnectError::Unreachable { address: address.to_string(), error })?;
    let exchange = Exchange::new(Role::Client, socket, config)?;
    let complete = complete(exchange);
    let established = match deadline {
        None => complete.await,
        Some(deadline) => match timeout_at(deadline, complete).await {
            Ok(established) => established,
            Err(_) => Err(HandshakeError::TimedOut),
        },
    };
    Ok(established?)
}

async fn complete(exchange: Exchange) -> Result<Established, HandshakeError> {
    let failed = |error| HandshakeError::Os(OsError::from_io("epoll_ctl", &error));
    let interest = Interest::READABLE | Interest::WRITABLE;
    let mut fd = watch(exchange, interest).map_err(failed)?;
    loop {
        let until = match fd.get_mut().0.progress()? {
            Progress::Done => break,
            Progress::Pending(until) => until,
        };
        if until.paused {
            sleep(FIRST_PAUSE).await;
            continue;
        }
        // What comes while it progresses is seen again: nothing was cleared before.
        let mut ready = match until.writable {
            true => fd.ready_mut(interest).await,
            false => fd.ready_mut(Interest::READABLE).await,
        }
        .map_err(failed)?;
        ready.clear_ready();
    }
    fd.into_inner().0.finish().ok_or(HandshakeError::Closed)
}
