//! Mixed traffic with a checksum on every message, beside kills, stalls and reconnects; every message is
//! accounted for.
//!
//! A round has two lanes side by side. In one the child process is the server, in the other the client;
//! this process survives. In each, the child is left alone, stalled (`SIGSTOP`, `SIGCONT`) or killed once
//! so many messages have been seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shmipc_sync::{AcceptError, Listener, RecvError, SendError, Session, SessionError, Stream};

use crate::child::Peer;
use crate::deadline::{PATIENCE, until};
use crate::payload::{Random, fill};

/// Sessions of a lane, one after the other.
const SESSIONS: u64 = 3;
/// Streams of a session, side by side.
const STREAMS: u64 = 3;
/// Messages of a stream.
const MESSAGES: u64 = 400;
/// Bytes of the longest message.
const LONGEST: usize = 200_000;

/// What became of the messages.
#[derive(Debug, Default)]
pub struct Tally {
    /// Sent and answered, each right.
    pub answered: AtomicU64,
    /// Missing from the middle of a stream, or from one that was finished.
    pub lost: AtomicU64,
    /// Seen again.
    pub duplicated: AtomicU64,
    /// Children killed.
    pub kills: AtomicU64,
    /// Children stopped for a while.
    pub stalls: AtomicU64,
    /// How often each error ended a stream.
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// Errors without a cause.
    pub wrong: AtomicU64,
    /// Messages seen by now, answered or not.
    seen: AtomicU64,
}

impl Tally {
    fn error(&self, error: SessionError, killed: bool) {
        let mut errors = self.errors.lock().expect("no panic");
        *errors.entry(format!("{error:?}")).or_default() += 1;
        if !(killed && error == SessionError::PeerDied) {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Compares a message with the one that is due; gives the number of the one that is due next.
    fn note(&self, message: &[u8], due: u64, key: u64) -> u64 {
        self.seen.fetch_add(1, Ordering::Relaxed);
        let number = u64::from_le_bytes(message[..8].try_into().expect("eight bytes"));
        assert!(message == compose(key, number), "message {number} of {key} is not what was sent");
        if number < due {
            self.duplicated.fetch_add(1, Ordering::Relaxed);
            return due;
        }
        self.lost.fetch_add(number - due, Ordering::Relaxed);
        number + 1
    }
}

/// The message of that number, on the stream of that key.
fn compose(key: u64, number: u64) -> Vec<u8> {
    let seed = key.wrapping_mul(1_000_003) ^ number;
    let len = 8 + Random::new(seed).size(LONGEST);
    let mut message = vec![0; len];
    message[..8].copy_from_slice(&number.to_le_bytes());
    fill(&mut message[8..], seed);
    message
}

/// Both lanes once. `program` is what plays the child: `serve PATH`, `send PATH SEED`.
///
/// # Panics
/// If a message is not what was sent, or something hangs.
pub fn round(program: &str, seed: u64, tally: &Tally) {
    thread::scope(|scope| {
        scope.spawn(|| lane(program, seed, tally, true));
        scope.spawn(|| lane(program, seed ^ 1 << 40, tally, false));
    });
}

fn lane(program: &str, seed: u64, tally: &Tally, child_serves: bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let text = path.to_str().expect("a path of ASCII");
    let killed = AtomicBool::new(false);
    let over = AtomicBool::new(false);
    let disturb = |peer: &mut Peer| disturb(peer, seed, tally, &killed, &over);
    if child_serves {
        let mut peer = Peer::start(program, &["serve", text]);
        peer.line("listening");
        thread::scope(|scope| {
            scope.spawn(|| {
                send(&path, seed, tally, &killed);
                over.store(true, Ordering::Relaxed);
            });
            disturb(&mut peer);
        });
        finish(peer, &killed);
    } else {
        let listener = Listener::bind(&path).expect("the path is free");
        let mut peer = Peer::start(program, &["send", text, &seed.to_string()]);
        thread::scope(|scope| {
            let serving = scope.spawn(|| serve(&listener, tally, &killed));
            disturb(&mut peer);
            if !killed.load(Ordering::Relaxed) {
                peer.line("sent");
            }
            finish(peer, &killed);
            listener.close();
            serving.join().expect("served");
        });
    }
}

/// Leaves the child alone, stalls it or kills it, after so many messages.
fn disturb(peer: &mut Peer, seed: u64, tally: &Tally, killed: &AtomicBool, over: &AtomicBool) {
    let mut random = Random::new(seed);
    let kind = random.below(3);
    if kind == 0 {
        return;
    }
    let from = tally.seen.load(Ordering::Relaxed);
    let after = random.below((STREAMS * MESSAGES) as usize) as u64;
    // The other lane counts as well, so that moment comes in any case.
    until("so many messages", || {
        tally.seen.load(Ordering::Relaxed) >= from + after || over.load(Ordering::Relaxed)
    });
    if kind == 1 {
        let pid = Pid::from_raw(peer.pid() as i32);
        kill(pid, Signal::SIGSTOP).expect("our child");
        thread::sleep(Duration::from_millis(random.below(50) as u64));
        kill(pid, Signal::SIGCONT).expect("our child");
        tally.stalls.fetch_add(1, Ordering::Relaxed);
    } else {
        // Before: who learns of the death finds that it was meant.
        killed.store(true, Ordering::SeqCst);
        peer.kill();
        tally.kills.fetch_add(1, Ordering::Relaxed);
    }
}

fn finish(peer: Peer, killed: &AtomicBool) {
    if !killed.load(Ordering::Relaxed) {
        peer.succeed();
    }
}

/// The client: some sessions, each with some streams.
pub fn send(path: &Path, seed: u64, tally: &Tally, killed: &AtomicBool) {
    for number in 0..SESSIONS {
        // Connecting would wait for another server until its time-out.
        if killed.load(Ordering::SeqCst) {
            return;
        }
        let session = match Session::connect(path) {
            Ok(session) => session,
            Err(_) if killed.load(Ordering::SeqCst) => return,
            Err(error) => panic!("{error}"),
        };
        thread::scope(|scope| {
            for stream in 0..STREAMS {
                let (session, key) = (&session, seed ^ (number * STREAMS + stream) << 32);
                scope.spawn(move || ask(session, key, tally, killed));
            }
        });
    }
}

/// Sends the messages of a stream while the replies come.
fn ask(session: &Session, key: u64, tally: &Tally, killed: &AtomicBool) {
    let (mut send, mut recv) = match session.open() {
        Ok(stream) => stream.into_split(),
        Err(shmipc_sync::OpenError::Session(error)) => {
            return tally.error(error, killed.load(Ordering::SeqCst));
        }
        Err(error) => panic!("{error}"),
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            send.send(&key.to_le_bytes())?;
            for number in 0..MESSAGES {
                send.send(&compose(key, number))?;
            }
            // Whoever receives learns of an error too.
            send.finish()
        });
        let mut due = 0;
        loop {
            match recv.recv_timeout(PATIENCE) {
                Ok(Some(reply)) => {
                    due = tally.note(&reply.to_vec(), due, key);
                    tally.answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(None) => {
                    tally.lost.fetch_add(MESSAGES - due, Ordering::Relaxed);
                    return;
                }
                Err(RecvError::Session(error)) => {
                    return tally.error(error, killed.load(Ordering::SeqCst));
                }
                Err(error) => panic!("stream {key}: {error}"),
            }
        }
    });
}

/// The server: everything comes back as it came, until the listener is closed.
pub fn serve(listener: &Listener, tally: &Tally, killed: &AtomicBool) {
    thread::scope(|scope| {
        while let Ok(session) = listener.accept() {
            scope.spawn(move || {
                thread::scope(|scope| {
                    loop {
                        match session.accept() {
                            Ok(stream) => scope.spawn(|| answer(stream, tally, killed)),
                            Err(AcceptError::Session(SessionError::ClosedByPeer(0))) => return,
                            Err(AcceptError::Session(error)) => {
                                return tally.error(error, killed.load(Ordering::SeqCst));
                            }
                            Err(error) => panic!("{error}"),
                        };
                    }
                });
            });
        }
    });
}

fn answer(mut stream: Stream, tally: &Tally, killed: &AtomicBool) {
    match answer_all(&mut stream, tally) {
        Ok(()) => {}
        Err(RecvError::Session(error)) => tally.error(error, killed.load(Ordering::SeqCst)),
        Err(error) => panic!("{error}"),
    }
}

fn answer_all(stream: &mut Stream, tally: &Tally) -> Result<(), RecvError> {
    let Some(first) = stream.recv_timeout(PATIENCE)? else { panic!("a stream without a key") };
    let key = u64::from_le_bytes(first.to_vec().try_into().expect("eight bytes"));
    let mut due = 0;
    while let Some(message) = stream.recv_timeout(PATIENCE)? {
        let message = message.to_vec();
        due = tally.note(&message, due, key);
        stream.send(&message).map_err(received)?;
    }
    tally.lost.fetch_add(MESSAGES - due, Ordering::Relaxed);
    stream.finish().map_err(received)
}

/// The end of the session is one error, whichever call meets it.
fn received(error: SendError) -> RecvError {
    match error {
        SendError::Session(error) => error.into(),
        error => RecvError::Open(error),
    }
}
