//! A client process: threads that call, and threads that hold a stream over each upgrade, on
//! which up to [`MOST`] messages are under way at a time.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Outcome;
use super::burst::{Burst, Fate, MOST, is_unseen};
use super::message::SIZES;
use super::{Place, append, open};
use crate::client::{Blocking, Client, Conversation, Tokio, soon};
use crate::deadline::until;
use crate::payload::Random;

/// Threads of each kind, in each client process.
pub const THREADS: u32 = 2;

/// Bursts of messages that go over a stream after it has learned of a new server.
const AFTER: u32 = 3;

/// The process's side: `blocking` or `tokio`, the directory, and the number of its first thread.
///
/// Told `server N`, it says `seen N NANOSECONDS` when each thread has been answered by server N: the longest
/// that anybody has waited since it said so last. Told `interval N M`, each thread calls every N nanoseconds, or sends
/// a message over its stream every M; told `small 1`, it sends short ones only. Told `sent`, it says how many calls and
/// how many messages over streams there were: `sent N M`. It ends with its input.
pub fn run(flavour: &str, directory: &str, first: &str) {
    let place = Place::new(Path::new(directory));
    let first = first.parse().expect("a number");
    match flavour {
        "blocking" => obey(&place, first, &Blocking::new(&place.socket())),
        "tokio" => obey(&place, first, &Tokio::new(&place.socket())),
        _ => panic!("unknown flavour: {flavour}"),
    }
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Between calls, and between messages over a stream.
    intervals: [AtomicU64; 2],
    /// Only the shortest messages are sent.
    small: AtomicBool,
    /// The server that serves now.
    server: AtomicU32,
    /// The longest wait, nanoseconds.
    longest: AtomicU64,
    /// Calls, and messages over streams.
    sent: [AtomicU64; 2],
    log: File,
}

/// One thread of the client.
struct Worker<C> {
    client: C,
    shared: Arc<Shared>,
    /// Its number.
    number: u32,
    /// Whether it holds streams.
    streaming: bool,
    /// Streams it has opened, or tried to.
    streams: u32,
    /// The server that has answered last.
    seen: Arc<AtomicU32>,
    random: Random,
    /// When the next message is to be sent.
    due: Instant,
}

fn obey<C: Client>(place: &Place, first: u32, client: &C) {
    let shared = Arc::new(Shared {
        stop: AtomicBool::new(false),
        intervals: [const { AtomicU64::new(2_000_000) }; 2],
        small: AtomicBool::new(false),
        server: AtomicU32::new(1),
        longest: AtomicU64::new(0),
        sent: [const { AtomicU64::new(0) }; 2],
        log: open(&place.outcomes()),
    });
    let mut threads = Vec::new();
    let mut seen: Vec<Arc<AtomicU32>> = Vec::new();
    for number in first..first + 2 * THREADS {
        seen.push(Arc::default());
        let worker = Worker {
            client: client.clone(),
            shared: Arc::clone(&shared),
            number,
            streaming: number >= first + THREADS,
            streams: 0,
            seen: Arc::clone(&seen[seen.len() - 1]),
            random: Random::new(number.into()),
            due: Instant::now(),
        };
        threads.push(thread::spawn(move || worker.work()));
    }
    for line in io::stdin().lines() {
        let line = line.expect("standard input");
        let (word, numbers) = line.split_once(' ').unwrap_or((&line, ""));
        let numbers = numbers.split_whitespace().map(|number| number.parse().expect("a number"));
        match (word, &numbers.collect::<Vec<u64>>()[..]) {
            ("interval", intervals) => {
                for (interval, number) in shared.intervals.iter().zip(intervals) {
                    interval.store(*number, Ordering::Relaxed);
                }
            }
            ("small", [number]) => shared.small.store(*number != 0, Ordering::Relaxed),
            ("sent", []) => {
                let [calls, streamed] =
                    shared.sent.each_ref().map(|sent| sent.load(Ordering::Relaxed));
                say(&format!("sent {calls} {streamed}"));
            }
            ("server", [number]) => {
                let server = u32::try_from(*number).expect("few servers");
                shared.server.store(server, Ordering::Relaxed);
                until("everybody is answered by the server", || {
                    thread::sleep(Duration::from_millis(1));
                    assert!(!threads.iter().any(|thread| thread.is_finished()), "a thread failed");
                    seen.iter().all(|seen| seen.load(Ordering::Relaxed) == server)
                });
                let longest = shared.longest.swap(0, Ordering::Relaxed);
                say(&format!("seen {server} {longest}"));
            }
            _ => panic!("unknown order: {line}"),
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no panic");
    }
}

fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}

impl<C: Client> Worker<C> {
    fn work(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if self.streaming {
                self.hold_a_stream()
            } else {
                self.call()
            }
            self.streams += 1;
        }
    }

    /// The next messages, when they are due.
    fn burst(&mut self, sequence: u32, depth: usize) -> Burst {
        let name = [self.number, self.streams, sequence];
        let most = if self.shared.small.load(Ordering::Relaxed) { SIZES.0 } else { SIZES.1 };
        let burst = Burst::new(name, depth, || self.random.size(most).max(SIZES.0));
        let interval = &self.shared.intervals[usize::from(self.streaming)];
        let interval = Duration::from_nanos(interval.load(Ordering::Relaxed));
        self.due += interval * burst.count();
        let now = Instant::now();
        if interval.is_zero() {
            self.due = now;
        }
        thread::sleep(self.due.saturating_duration_since(now));
        burst
    }

    fn call(&mut self) {
        let call = self.burst(0, 1);
        let reply = self.client.call(call.first(), soon()).map_err(|error| error.delivery());
        self.note(&call, &[reply], false);
    }

    /// Opens a stream, and keeps it until it has gone on for a while after the next server has come.
    fn hold_a_stream(&mut self) {
        let depth = 1 + self.random.below(MOST);
        let burst = self.burst(0, depth);
        let (stream, fates) = self.begin(&burst);
        let (Some(mut stream), true) = (stream, self.note(&burst, &fates, false)) else { return };
        let (mut sequence, mut after) = (burst.count(), 0);
        while after < AFTER && !self.shared.stop.load(Ordering::Relaxed) {
            let burst = self.burst(sequence, depth);
            sequence += burst.count();
            let fates = burst.exchange(&mut stream);
            if !self.note(&burst, &fates, true) {
                return;
            }
            // Whoever answers may not have left yet when clients hear of the next one.
            let answers = self.seen.load(Ordering::Relaxed);
            after += u32::from(answers < self.shared.server.load(Ordering::Relaxed));
        }
        stream.finish();
        // The server has seen the end when it has answered it.
        let _ = stream.take();
    }

    /// A stream with its first messages, which are repeated on another one as a call's would be: no server may
    /// have seen any.
    fn begin(&self, burst: &Burst) -> (Option<C::Stream>, Vec<Fate>) {
        let deadline = soon();
        loop {
            let mut stream = match self.client.open() {
                Ok(stream) => stream,
                Err(error) => return (None, burst.all(error.delivery())),
            };
            let fates = burst.exchange(&mut stream);
            if !is_unseen(&fates) || Instant::now() >= deadline {
                return (Some(stream), fates);
            }
        }
    }

    /// Notes what has become of messages; whether all were answered.
    fn note(&self, burst: &Burst, fates: &[Fate], begun: bool) -> bool {
        let waited = u64::try_from(self.due.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.shared.longest.fetch_max(waited, Ordering::Relaxed);
        let sent = &self.shared.sent[usize::from(self.streaming)];
        sent.fetch_add(burst.count().into(), Ordering::Relaxed);
        let outcomes = burst.outcomes(fates, begun);
        for &([client, stream, sequence], outcome, server) in &outcomes {
            server.into_iter().for_each(|server| self.seen.store(server, Ordering::Relaxed));
            append(&self.shared.log, [client, stream, sequence, outcome as u32]);
        }
        outcomes.iter().all(|(_, outcome, _)| *outcome == Outcome::Answered)
    }
}
