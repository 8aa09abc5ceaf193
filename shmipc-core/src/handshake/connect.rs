//! The client's side: when to try, and what a failure means.
//!
//! [`Connecting`] decides and waits for nothing, so that one rule holds for both flavours; [`connect`] is the blocking
//! client.
//!
//! # The rule
//! A server is waited for until the connect timeout is over, in whatever way it is away: its socket file is gone or was
//! never made (`ENOENT`), the file is stale (`ECONNREFUSED`), the backlog is full (`EAGAIN`), the server ended
//! in the middle of the handshake, or it answered [`Refusal::Busy`]. A restart looks like each of these in turn, and no
//! message is on its way yet, so another attempt is always safe. Every other failure ends the same way next time,
//! and is reported at once. Without [`wait_for_server`](crate::config::ConfigBuilder::wait_for_server) a server that
//! is away is reported at once too; one that is there and has much to do is waited for.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Established, Exchange, Progress, Role};
use crate::client::{Backoff, random};
use crate::config::Config;
use crate::error::{ConnectError, HandshakeError, OsError, Refusal};
use crate::link::{self, Address};
use crate::mem;

/// How long to wait before another attempt where no descriptor tells when it can succeed.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// The first pause between attempts to connect, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// The attempts of one call of `connect`. Never blocks: time is an argument.
#[derive(Debug)]
pub struct Connecting {
    address: Address,
    config: Config,
    deadline: Option<Instant>,
    pauses: Backoff,
    /// Why there was no success so far.
    last: Option<ConnectError>,
}

/// What to do next, for [`Connecting::attempt`].
#[derive(Debug)]
#[must_use = "an attempt has to be carried on"]
pub enum Attempt {
    /// Drive this handshake until [`Connecting::deadline`], and report by [`Connecting::ended`].
    Handshake(Box<Exchange>),
    /// Make another attempt then.
    Pause(Instant),
}

impl Connecting {
    /// Begins at `now`. `address` is a path, or `@name` for an abstract name.
    ///
    /// # Errors
    /// [`ConnectError::BadAddress`]; [`HandshakeError::SealUnsupported`] or [`HandshakeError::NoSharedMemory`], if this
    /// process cannot make shared memory.
    pub fn new(
        address: impl AsRef<Path>,
        config: &Config,
        now: Instant,
    ) -> Result<Self, ConnectError> {
        let address = address.as_ref();
        let address = Address::parse(address)
            .map_err(|_| ConnectError::BadAddress { address: address.display().to_string() })?;
        mem::probe()?;
        Ok(Self {
            address,
            config: config.clone(),
            deadline: now.checked_add(config.connect_timeout),
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            last: None,
        })
    }

    /// When the time for connecting is over; `None` if it is longer than the clock can count.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Makes the next attempt.
    ///
    /// # Errors
    /// [`ConnectError`]: another attempt would fail too, or the time is over.
    pub fn attempt(&mut self, now: Instant) -> Result<Attempt, ConnectError> {
        let started = link::try_connect(&self.address)
            .map_err(|error| ConnectError::Unreachable { address: self.address.to_string(), error })
            .and_then(|socket| Ok(Exchange::new(Role::Client, socket, &self.config)?));
        match started {
            Ok(exchange) => Ok(Attempt::Handshake(Box::new(exchange))),
            Err(error) => self.failed(error, now).map(Attempt::Pause),
        }
    }

    /// Judges the end of a handshake. `Err` of the result: make another attempt then.
    ///
    /// # Errors
    /// [`ConnectError`]: another attempt would fail too, or the time is over.
    pub fn ended(
        &mut self,
        outcome: Result<Established, HandshakeError>,
        now: Instant,
    ) -> Result<Result<Established, Instant>, ConnectError> {
        match outcome {
            Ok(established) => Ok(Ok(established)),
            Err(error) => self.failed(error.into(), now).map(Err),
        }
    }

    /// When to try again.
    fn failed(&mut self, error: ConnectError, now: Instant) -> Result<Instant, ConnectError> {
        if !self.is_passing(&error) {
            return Err(match (error, self.last.take()) {
                // Why there was no success before says more.
                (
                    ConnectError::Handshake(HandshakeError::TimedOut | HandshakeError::NotAccepted),
                    Some(last),
                ) => last,
                (error, _) => error,
            });
        }
        let error = match error {
            ConnectError::Unreachable { error, .. } if is_full(&error) => {
                HandshakeError::TimedOut.into()
            }
            error => error,
        };
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return Err(error);
        }
        self.last = Some(error);
        let next = now.checked_add(self.pauses.next(random())).unwrap_or(now);
        Ok(self.deadline.map_or(next, |deadline| next.min(deadline)))
    }

    fn is_passing(&self, error: &ConnectError) -> bool {
        match error {
            ConnectError::Handshake(HandshakeError::Refused(Refusal::Busy)) => true,
            ConnectError::Unreachable { error, .. } if is_full(error) => true,
            error => self.config.wait_for_server && error.is_server_away(),
        }
    }
}

/// Of a socket that never blocks: the backlog.
fn is_full(error: &OsError) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock
}

/// Connects to a listener and does the handshake. `address` is a path, or `@name` for an abstract
/// name. **Blocks** until the connect timeout of the configuration at most.
///
/// # Errors
/// [`ConnectError`]: why there was no session until then, or why there cannot be one.
pub fn connect(address: impl AsRef<Path>, config: &Config) -> Result<Established, ConnectError> {
    let mut connecting = Connecting::new(address, config, Instant::now())?;
    loop {
        let then = match connecting.attempt(Instant::now())? {
            Attempt::Handshake(exchange) => {
                let outcome = complete(*exchange, connecting.deadline());
                match connecting.ended(outcome, Instant::now())? {
                    Ok(established) => return Ok(established),
                    Err(then) => then,
                }
            }
            Attempt::Pause(then) => then,
        };
        std::thread::sleep(then.saturating_duration_since(Instant::now()));
    }
}

/// Drives a handshake to its end. **Blocks** until the deadline at most.
pub(super) fn complete(
    mut exchange: Exchange,
    deadline: Option<Instant>,
) -> Result<Established, HandshakeError> {
    loop {
        let Progress::Pending(until) = exchange.progress()? else {
            return exchange.finish().ok_or(HandshakeError::Closed);
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(exchange.timed_out());
        }
        let left = match until.paused {
            true => Some(left.map_or(PAUSE, |left| left.min(PAUSE))),
            false => left,
        };
        link::wait_ready(exchange.as_fd(), until.readable, until.writable, left)?;
    }
}
