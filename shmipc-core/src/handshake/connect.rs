//! The blocking client.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Established, Exchange, Progress, Role};
use crate::client::{Backoff, random};
use crate::config::Config;
use crate::error::{ConnectError, HandshakeError, Refusal};
use crate::link::{self, Address};
use crate::mem;

/// How long to wait before another attempt where no descriptor tells when it can succeed.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);
/// The longest pause after "too busy".
const LONGEST_PAUSE: Duration = Duration::from_millis(80);

/// Connects to a listener and does the handshake. `address` is a path, or `@name` for an abstract
/// name. **Blocks** until the connect timeout of the configuration at most.
///
/// A listener that is just being replaced, whose backlog is full, or that has too many handshakes in
/// progress is tried again until then.
///
/// # Errors
/// [`ConnectError`]: nobody listens there, or the handshake failed. Of one that was too busy all the time, that it
/// was ([`Refusal::Busy`]).
pub fn connect(address: impl AsRef<Path>, config: &Config) -> Result<Established, ConnectError> {
    let address = address.as_ref();
    let address = Address::parse(address)
        .map_err(|_| ConnectError::BadAddress { address: address.display().to_string() })?;
    if !mem::probe_seals() {
        return Err(HandshakeError::SealUnsupported.into());
    }
    let deadline = Instant::now().checked_add(config.connect_timeout);
    let (mut pauses, mut refused) = (Backoff::new(PAUSE, LONGEST_PAUSE), false);
    loop {
        let error = match attempt(&address, config, deadline) {
            Ok(established) => return Ok(established),
            Err(error) => error,
        };
        match error {
            ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy))
                if !is_over(deadline) =>
            {
                refused = true;
                let pause = pauses.next(random());
                std::thread::sleep(left(deadline).map_or(pause, |left| left.min(pause)));
            }
            // Why there was no success so far says more.
            ConnectError::Handshake(HandshakeError::TimedOut) if refused => return Err(BUSY),
            error => return Err(error),
        }
    }
}

const BUSY: ConnectError = ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy));

fn attempt(
    address: &Address,
    config: &Config,
    deadline: Option<Instant>,
) -> Result<Established, ConnectError> {
    let socket = link::connect(address, deadline)?;
    let exchange = Exchange::new(Role::Client, socket, config)?;
    Ok(complete(exchange, deadline)?)
}

/// Drives a handshake to its end. **Blocks** until the deadline at most.
///
/// # Errors
/// [`HandshakeError`], [`TimedOut`](HandshakeError::TimedOut) included.
pub(crate) fn complete(
    mut exchange: Exchange,
    deadline: Option<Instant>,
) -> Result<Established, HandshakeError> {
    loop {
        let Progress::Pending(until) = exchange.progress()? else {
            return exchange.finish().ok_or(HandshakeError::Closed);
        };
        if is_over(deadline) {
            return Err(HandshakeError::TimedOut);
        }
        let left = match until.paused {
            true => Some(left(deadline).map_or(PAUSE, |left| left.min(PAUSE))),
            false => left(deadline),
        };
        link::wait_ready(exchange.as_fd(), until.readable, until.writable, left)?;
    }
}

fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

fn is_over(deadline: Option<Instant>) -> bool {
    left(deadline).is_some_and(|left| left.is_zero())
}
