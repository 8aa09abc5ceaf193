//! What both ends of a session do, so that every step is reached by either.
//!
//! ```text
//!   client                                                  server
//!     opens a stream, says which session it is
//!     each size once ───────────────────────────────────────▶ answers
//!     one that it reserves and fills ───────────────────────▶ answers likewise
//!     more than there is credit for ────────────────────────▶ answers when all are there
//!     ends its direction ───────────────────────────────────▶ ends its own
//!   each opens a stream and waits for the other to say something on it; these end in the way that is chosen
//!
//!   one of them, by turns                                   the other
//!     takes streams, leaves after two                         opens streams, one request each, until it
//!     serves what came before, closes                         learns that they are not seen
//! ```
//!
//! The messages of a direction are numbered, whatever streams they are on, and read in that order.

mod ending;
mod fault;
mod leaving;

use std::time::Duration;

use shmipc_core::config::BellKind;

pub use fault::{Failure, Fault};

use super::ledger::Ledger;
use super::{Ending, Manner, Side};
use crate::deadline::patience;
use crate::flavour::{Sender as _, Session, Stream};
use crate::payload::pattern;

/// In a record, in a small segment, in one of its own.
const SIZES: [usize; 5] = [16, 900, 5_000, 0, 600_000];
/// Messages of a burst, and their size: more than a stream's credit.
const BURST: (usize, usize) = (12, 900);
/// Said instead of a session's number by who wants nothing more.
const PROBE: u64 = u64::MAX;
/// Long enough for memory that is idle to be given back.
const LINGER: Duration = Duration::from_millis(5);

/// One end of a session.
#[derive(Debug)]
pub struct Talk<'a, S: Session> {
    session: S,
    side: Side,
    ending: Ending,
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
pub fn probe(path: &std::path::Path, bell: BellKind) {
    let config = Manner { bell, ..Manner::PLAIN }.config();
    let session = shmipc_sync::Session::connect_with(path, &config).expect("it listens");
    let mut stream = session.open().expect("a stream");
    stream.send(&PROBE.to_ne_bytes()).expect("sent");
    stream.recv_timeout(patience()).expect("a reply").expect("no end");
}

impl<'a, S: Session> Talk<'a, S> {
    /// One end of `session`, whose counts are those of the ledger.
    pub fn new(
        session: S,
        side: Side,
        ending: Ending,
        ledger: &'a mut Ledger,
        linger: bool,
    ) -> Self {
        Self { session, side, ending, ledger, streams: Vec::new(), not_seen: None, linger }
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

    fn burst(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        (0..BURST.0).try_for_each(|_| each(self, BURST.1))
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
            (Some(message), Some(size)) => self.see(&message, size),
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
