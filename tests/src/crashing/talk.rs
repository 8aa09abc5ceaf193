//! What both ends of a session do, so that every step is reached by either.
//!
//! ```text
//!   client                                                  server
//!     opens a stream, says which session it is
//!     each size once ───────────────────────────────────────▶ answers
//!     one that it reserves and fills ───────────────────────▶ answers likewise
//!     more than there is credit for ────────────────────────▶ answers when all are there
//!     ends its direction ───────────────────────────────────▶ ends its own
//!   each opens a stream and waits for the other to say something on it
//!
//!   one of them, by turns                                   the other
//!     takes streams, leaves after two                         opens streams, one request each, until it
//!     serves what came before, closes                         learns that they are not seen
//! ```
//!
//! The messages of a direction are numbered, whatever streams they are on, and read in that order.

use std::time::{Duration, Instant};

use shmipc_core::config::WaitMode;
use shmipc_core::error::{
    AcceptError, ConnectError, DrainError, OpenError, RecvError, SendError, SessionError,
};

use super::Side;
use super::ledger::Ledger;
use crate::deadline::PATIENCE;
use crate::flavour::{Sender as _, Session, Stream};
use crate::payload::pattern;

/// In a record, in a small segment, in one of its own.
const SIZES: [usize; 5] = [16, 900, 5_000, 0, 600_000];
/// Messages of a burst, and their size: more than a stream's credit.
const BURST: (usize, usize) = (12, 900);
/// Requests that are answered before a side leaves.
const SERVED: u64 = 2;
/// Said instead of a session's number by who wants nothing more.
const PROBE: u64 = u64::MAX;
/// Long enough for memory that is idle to be given back.
const LINGER: Duration = Duration::from_millis(5);

/// The end of a session before its time, and when it was noticed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When the call failed.
    pub at: Instant,
    /// What it said.
    pub error: Failure,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Connecting.
    Connect(ConnectError),
    /// Any call on a session.
    Session(SessionError),
    /// It gave something that is not allowed there.
    Wrong(String),
}

impl Fault {
    fn new(error: Failure) -> Self {
        Self { at: Instant::now(), error }
    }

    fn wrong(what: impl std::fmt::Debug) -> Self {
        Self::new(Failure::Wrong(format!("{what:?}")))
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Self::new(Failure::Connect(error))
    }
}

macro_rules! fault {
    ($($error:ident)*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                match error {
                    $error::Session(error) => Self::new(Failure::Session(error)),
                    error => Self::wrong(error),
                }
            }
        }
    )*};
}

fault!(AcceptError DrainError OpenError RecvError SendError);

/// One end of a session.
#[derive(Debug)]
pub struct Talk<'a, S: Session> {
    session: S,
    side: Side,
    ledger: &'a mut Ledger,
    /// Streams that may have more to read, in the order of their opening.
    streams: Vec<S::Stream>,
    /// The number of a request that was certainly not seen.
    pub not_seen: Option<u64>,
    /// Gives the library time to give memory back.
    linger: bool,
}

/// What a session has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All was said and answered.
    Whole,
    /// The client had no more than a greeting.
    Probe,
}

/// Connects, and has the other side say that it serves.
pub fn probe(path: &std::path::Path) {
    let config = super::config(WaitMode::Block);
    let session = shmipc_sync::Session::connect_with(path, &config).expect("it listens");
    let mut stream = session.open().expect("a stream");
    stream.send(&PROBE.to_ne_bytes()).expect("sent");
    stream.recv_timeout(PATIENCE).expect("a reply").expect("no end");
}

impl<'a, S: Session> Talk<'a, S> {
    /// One end of `session`, whose counts are those of the ledger.
    pub fn new(session: S, side: Side, ledger: &'a mut Ledger, linger: bool) -> Self {
        Self { session, side, ledger, streams: Vec::new(), not_seen: None, linger }
    }

    /// All of it.
    pub fn talk(&mut self) -> Result<End, Fault> {
        let number = self.ledger.counts().session;
        match self.side {
            Side::Client => self.ask(number)?,
            Side::Server => {
                if self.answer(number)? == End::Probe {
                    return Ok(End::Probe);
                }
            }
        }
        let leaver = if number.is_multiple_of(2) { Side::Client } else { Side::Server };
        if self.side == leaver {
            self.leave()?
        } else {
            self.stay()?
        }
        Ok(End::Whole)
    }

    fn ask(&mut self, number: u64) -> Result<(), Fault> {
        self.streams.push(self.session.open()?);
        self.stream().send(&number.to_ne_bytes())?;
        for size in SIZES {
            self.send(size)?;
            self.receive(Some(size))?;
        }
        self.wait();
        self.send_reserved(SIZES[2])?;
        self.receive(Some(SIZES[2]))?;
        self.burst(Self::send)?;
        self.burst(|talk, size| talk.receive(Some(size)))?;
        self.stream().finish()?;
        self.receive(None)?;
        self.streams.clear();
        self.listen()?;
        self.speak()
    }

    fn answer(&mut self, number: u64) -> Result<End, Fault> {
        self.streams.push(self.session.accept()?);
        let Some(greeting) = self.stream().recv()? else { return Err(Fault::wrong("no greeting")) };
        if greeting.to_vec() == PROBE.to_ne_bytes() {
            self.stream().send(b"here")?;
            // The client closes when it has read that.
            let _ = self.session.closed();
            return Ok(End::Probe);
        }
        if greeting.to_vec() != number.to_ne_bytes() {
            return Err(Fault::wrong(format!("{:?} in session {number}", greeting.to_vec())));
        }
        for size in SIZES {
            self.receive(Some(size))?;
            self.send(size)?;
        }
        self.receive(Some(SIZES[2]))?;
        self.wait();
        self.send_reserved(SIZES[2])?;
        self.burst(|talk, size| talk.receive(Some(size)))?;
        self.burst(Self::send)?;
        self.receive(None)?;
        self.stream().finish()?;
        self.streams.clear();
        self.speak()?;
        self.listen()?;
        Ok(End::Whole)
    }

    /// Opens a stream and says nothing on it until the other side has.
    fn listen(&mut self) -> Result<(), Fault> {
        self.streams.push(self.session.open()?);
        self.receive(Some(SIZES[0]))?;
        self.stream().finish()?;
        self.receive(None)?;
        self.streams.clear();
        Ok(())
    }

    fn speak(&mut self) -> Result<(), Fault> {
        self.streams.push(self.session.accept()?);
        self.send(SIZES[0])?;
        self.stream().finish()?;
        self.receive(None)?;
        self.streams.clear();
        Ok(())
    }

    fn burst(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        (0..BURST.0).try_for_each(|_| each(self, BURST.1))
    }

    /// Serves two streams, leaves, serves those that came before, and closes.
    fn leave(&mut self) -> Result<(), Fault> {
        for served in 0.. {
            if served == SERVED {
                self.session.leave();
            }
            match self.session.accept() {
                Ok(stream) => self.streams.push(stream),
                Err(AcceptError::Leaving) if served >= SERVED => break,
                Err(error) => return Err(error.into()),
            }
            self.receive(Some(SIZES[0]))?;
            self.receive(None)?;
            let (_, seed) = self.begin();
            self.stream().sender().finish_with(&pattern(seed, SIZES[1]))?;
            self.ledger.sent();
            self.streams.clear();
        }
        self.session.drained_timeout(PATIENCE)?;
        self.session.close(0);
        Ok(())
    }

    /// Opens streams until the other side has left.
    fn stay(&mut self) -> Result<(), Fault> {
        while self.request()? {}
        match self.session.closed() {
            SessionError::ClosedByPeer(0) => Ok(()),
            error => Err(Fault::new(Failure::Session(error))),
        }
    }

    /// One request on a stream of its own; false if the other side leaves, or has closed.
    fn request(&mut self) -> Result<bool, Fault> {
        const CLOSED: SessionError = SessionError::ClosedByPeer(0);
        match self.session.open() {
            Ok(stream) => self.streams.push(stream),
            Err(OpenError::GoingAway | OpenError::Session(CLOSED)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let (number, seed) = self.begin();
        let sent = self.stream().sender().finish_with(&pattern(seed, SIZES[0]));
        let replied = match sent {
            Ok(()) => self.stream().recv(),
            Err(SendError::GoingAway | SendError::Session(CLOSED)) => Err(RecvError::GoingAway),
            Err(error) => return Err(error.into()),
        };
        match replied {
            Ok(Some(reply)) => {
                // What crosses with the leaving is sent only if it is answered.
                self.ledger.sent();
                self.see(&reply.to_vec(), SIZES[1])?;
                self.receive(None)?;
                self.streams.clear();
                Ok(true)
            }
            Err(RecvError::GoingAway) => {
                self.ledger.take_back();
                self.not_seen = Some(number);
                self.streams.clear();
                Ok(false)
            }
            Ok(None) => Err(Fault::wrong("an end without a reply")),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is left when the session is over.
    pub fn salvage(&mut self) -> Result<(), Fault> {
        loop {
            for mut stream in std::mem::take(&mut self.streams) {
                while let Ok(Some(message)) = stream.recv() {
                    let message = message.to_vec();
                    // The greeting is not numbered.
                    if message.len() != 8 {
                        self.see(&message, message.len())?;
                    }
                }
            }
            match self.session.accept() {
                Ok(stream) => self.streams.push(stream),
                Err(_) => return Ok(()),
            }
        }
    }

    /// The counts so far.
    pub fn ledger(&self) -> &Ledger {
        self.ledger
    }

    /// The session.
    pub fn session(&self) -> &S {
        &self.session
    }

    fn stream(&mut self) -> &mut S::Stream {
        self.streams.last_mut().expect("a stream is open")
    }

    fn seed(&self, sender: Side, number: u64) -> u64 {
        self.ledger.counts().session << 32 | (sender as u64) << 31 | number
    }

    fn begin(&mut self) -> (u64, u64) {
        let number = self.ledger.begin();
        (number, self.seed(self.side, number))
    }

    fn send(&mut self, size: usize) -> Result<(), Fault> {
        let (_, seed) = self.begin();
        self.stream().send(&pattern(seed, size))?;
        self.ledger.sent();
        Ok(())
    }

    fn send_reserved(&mut self, size: usize) -> Result<(), Fault> {
        let (_, seed) = self.begin();
        let mut reservation = self.stream().sender().reserve(size)?;
        reservation.copy_from_slice(&pattern(seed, size));
        reservation.commit()?;
        self.ledger.sent();
        Ok(())
    }

    /// A message of that size, or the end.
    fn receive(&mut self, size: Option<usize>) -> Result<(), Fault> {
        match (self.stream().recv()?, size) {
            (Some(message), Some(size)) => self.see(&message.to_vec(), size),
            (None, None) => Ok(()),
            (message, _) => Err(Fault::wrong(message.map(|message| message.len()))),
        }
    }

    fn see(&mut self, message: &[u8], size: usize) -> Result<(), Fault> {
        let number = self.ledger.see();
        let seed = self.seed(self.side.other(), number);
        if message != pattern(seed, size) {
            return Err(Fault::wrong(format!("message {number} is not what was sent")));
        }
        Ok(())
    }

    fn wait(&self) {
        if self.linger {
            let _ = self.session.accept_timeout(LINGER);
        }
    }
}
