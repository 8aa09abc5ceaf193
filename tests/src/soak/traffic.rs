//! Both ends of the sessions, in any flavour.
//!
//! A session has some streams of messages of all sizes, and one of many small ones, which are sent in
//! batches. The first message of a stream says what follows; everything comes back as it came.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use shmipc_core::config::Config;
use shmipc_core::error::{AcceptError, OpenError, RecvError, SendError, SessionError};

use super::tally::{Account, Tally};
use crate::flavour::{Flavour, Receiver, Sender, Session, Stream};
use crate::payload::{Random, fill};

/// Sessions of a lane, one after the other.
const SESSIONS: u64 = 3;
/// Streams of a session with messages of all sizes, side by side.
const STREAMS: u64 = 3;
/// Messages of each.
const MESSAGES: u64 = 400;
/// Bytes of the longest message.
const LONGEST: usize = 200_000;
/// Small messages that are sent together.
const BATCH: usize = 64;
/// Bytes of the longest small message.
const SMALL: usize = 64;

/// One end of a lane.
#[derive(Clone, Copy, Debug)]
pub struct Traffic<'a> {
    /// Where the server listens.
    pub path: &'a Path,
    /// Small messages of a session.
    pub small: u64,
    /// What is counted.
    pub tally: &'a Tally,
    /// The other end was killed, or is just about to be.
    pub killed: &'a AtomicBool,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// From which the contents are made.
    key: u64,
    messages: u64,
    small: bool,
}

impl Load {
    fn to_bytes(self) -> Vec<u8> {
        let words = [self.key, self.messages, u64::from(self.small)];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().expect("three words"))
        };
        Self { key: word(0), messages: word(1), small: word(2) == 1 }
    }

    /// The message of that number.
    fn compose(self, number: u64, into: &mut Vec<u8>) {
        let seed = self.key.wrapping_mul(1_000_003) ^ number;
        let len = match self.small {
            true => 16 + (number % 6) as usize * 8,
            false => 8 + Random::new(seed).size(LONGEST),
        };
        into.resize(len, 0);
        into[..8].copy_from_slice(&number.to_le_bytes());
        fill(&mut into[8..], seed);
    }
}

/// Compares what comes with what is due.
struct Check<'a> {
    load: Load,
    account: Account<'a>,
    /// What a message should be.
    expected: Vec<u8>,
}

impl<'a> Check<'a> {
    fn new(load: Load, tally: &'a Tally, replies: bool) -> Self {
        Self { load, account: Account::new(tally, replies), expected: Vec::new() }
    }

    fn take(&mut self, message: &[u8]) {
        let number = u64::from_le_bytes(message[..8].try_into().expect("eight bytes"));
        self.load.compose(number, &mut self.expected);
        assert!(message == self.expected, "message {number} of {:?} is not its own", self.load);
        self.account.note(number);
    }

    fn end(self) {
        self.account.end(self.load.messages);
    }
}

/// Messages that one end of a lane receives if nothing happens.
pub(super) fn messages(small: u64) -> u64 {
    SESSIONS * (STREAMS * MESSAGES + small)
}

impl Traffic<'_> {
    /// The client: some sessions, each with some streams.
    pub fn send<F: Flavour>(self, seed: u64) {
        for number in 0..SESSIONS {
            // Connecting would wait for another server until its time-out.
            if self.killed.load(Ordering::SeqCst) {
                return;
            }
            let session = match F::try_connect(self.path, &Config::default()) {
                Ok(session) => session,
                Err(_) if self.killed.load(Ordering::SeqCst) => return,
                Err(error) => panic!("{error}"),
            };
            thread::scope(|scope| {
                for stream in 0..=STREAMS {
                    let small = stream == STREAMS;
                    let messages = if small { self.small } else { MESSAGES };
                    let key = seed ^ (number * (STREAMS + 1) + stream) << 32;
                    let load = Load { key, messages, small };
                    let session = &session;
                    scope.spawn(move || self.note(self.ask(session, load)));
                }
            });
        }
    }

    /// The server, until the listener is closed.
    pub fn serve<F: Flavour>(self, listener: &F::Listener) {
        thread::scope(|scope| {
            while let Ok(session) = F::try_accept(listener) {
                scope.spawn(move || {
                    thread::scope(|scope| {
                        loop {
                            match session.accept() {
                                Ok(stream) => scope.spawn(move || self.note(self.answer(stream))),
                                Err(AcceptError::Session(SessionError::ClosedByPeer(0))) => return,
                                Err(AcceptError::Session(error)) => {
                                    return self.tally.error(error, self.killed);
                                }
                                Err(error) => panic!("{error}"),
                            };
                        }
                    });
                });
            }
        });
    }

    /// How a stream has ended.
    fn note(self, ended: Result<(), RecvError>) {
        match ended {
            Ok(()) => {}
            Err(RecvError::Session(error)) => self.tally.error(error, self.killed),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends the messages of a stream while the replies come.
    fn ask<S: Session>(self, session: &S, load: Load) -> Result<(), RecvError> {
        let (mut send, mut recv) = match session.open() {
            Ok(stream) => stream.into_split(),
            Err(OpenError::Session(error)) => return Err(error.into()),
            Err(error) => panic!("{error}"),
        };
        thread::scope(|scope| {
            // Whoever receives learns of an error too.
            scope.spawn(move || {
                send.send(&load.to_bytes())?;
                let mut batch = Batch::default();
                for number in 0..load.messages {
                    load.compose(number, &mut batch.next);
                    batch.push(load, &mut send)?;
                }
                batch.flush(&mut send)?;
                send.finish()
            });
            let mut check = Check::new(load, self.tally, true);
            each(load, &mut recv, |reply| {
                check.take(reply);
                Ok(())
            })?;
            check.end();
            Ok(())
        })
    }

    fn answer<S: Stream>(self, stream: S) -> Result<(), RecvError> {
        let (mut send, mut recv) = stream.into_split();
        let Some(first) = recv.recv()? else { panic!("a stream without a first message") };
        let load = Load::parse(&first);
        let mut check = Check::new(load, self.tally, false);
        let mut batch = Batch::default();
        each(load, &mut recv, |message| {
            check.take(message);
            batch.next.clear();
            batch.next.extend_from_slice(message);
            batch.push(load, &mut send).map_err(received)
        })?;
        check.end();
        batch.flush(&mut send).and_then(|()| send.finish()).map_err(received)
    }
}

/// Does something with each message until the end.
fn each<R: Receiver>(
    load: Load,
    recv: &mut R,
    mut act: impl FnMut(&[u8]) -> Result<(), RecvError>,
) -> Result<(), RecvError> {
    let mut small = [0; SMALL];
    loop {
        if load.small {
            let Some(len) = recv.recv_into(&mut small)? else { return Ok(()) };
            act(&small[..len])?;
        } else {
            let Some(message) = recv.recv()? else { return Ok(()) };
            act(&message)?;
        }
    }
}

/// Small messages on their way; larger ones are sent at once.
#[derive(Default)]
struct Batch {
    /// The message that is pushed next.
    next: Vec<u8>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, load: Load, send: &mut impl Sender) -> Result<(), SendError> {
        if !load.small {
            return send.send(&self.next);
        }
        self.bytes.extend_from_slice(&self.next);
        self.ends.push(self.bytes.len());
        if self.ends.len() == BATCH { self.flush(send) } else { Ok(()) }
    }

    fn flush(&mut self, send: &mut impl Sender) -> Result<(), SendError> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let messages = starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end]);
        let messages: Vec<&[u8]> = messages.collect();
        send.send_batch(&messages)?;
        self.bytes.clear();
        self.ends.clear();
        Ok(())
    }
}

/// The end of the session is one error, whichever call meets it.
fn received(error: SendError) -> RecvError {
    match error {
        SendError::Session(error) => error.into(),
        error => RecvError::Open(error),
    }
}
