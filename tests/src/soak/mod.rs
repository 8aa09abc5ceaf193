//! Mixed traffic with a checksum on every message, beside kills, stalls and reconnects; every message is
//! accounted for.
//!
//! ```text
//!   [`round`]  two lanes side by side: in one the child process is the server, in the other the client
//!     ├── [`traffic`]  what goes over a lane, in the flavour of each end
//!     └── [`tally`]    what became of it
//! ```
//!
//! In each lane the child is left alone, stalled (`SIGSTOP`, `SIGCONT`) or killed once so many messages have
//! been seen; this process survives. All pairs of flavours take turns.

pub mod tally;
pub mod traffic;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use shmipc_core::config::Config;

use self::tally::Tally;
use self::traffic::{Traffic, messages};
use crate::blocking::Blocking;
use crate::child::Peer;
use crate::deadline::until;
use crate::flavour::Flavour;
use crate::payload::Random;
use crate::tokio::{CurrentThread, Kind, MultiThread, Tokio};

/// The flavours, by name.
const FLAVOURS: [&str; 3] = [Blocking::NAME, MultiThread::NAME, CurrentThread::NAME];

/// What all rounds have in common.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Plays the child: `serve FLAVOUR PATH SMALL`, `send FLAVOUR PATH SMALL SEED`.
    pub program: &'a str,
    /// Small messages of each session.
    pub small: u64,
}

/// Does something in the flavour of that name.
pub trait InFlavour {
    /// Does it.
    fn run<F: Flavour>(self);
    /// Finds the flavour.
    fn in_flavour(self, name: &str)
    where
        Self: Sized,
    {
        match name {
            Blocking::NAME => self.run::<Blocking>(),
            CurrentThread::NAME => self.run::<Tokio<CurrentThread>>(),
            MultiThread::NAME => self.run::<Tokio<MultiThread>>(),
            _ => panic!("unknown flavour: {name}"),
        }
    }
}

/// Both lanes once.
///
/// # Panics
/// If a message is not what was sent, or something hangs.
pub fn round(plan: Plan<'_>, seed: u64, tally: &Tally) {
    let pair = seed as usize % (FLAVOURS.len() * FLAVOURS.len());
    let (ours, theirs) = (FLAVOURS[pair % FLAVOURS.len()], FLAVOURS[pair / FLAVOURS.len()]);
    thread::scope(|scope| {
        for (seed, child_serves) in [(seed, true), (seed ^ 1 << 40, false)] {
            let lane = Lane { plan, seed, tally, child_serves, theirs };
            scope.spawn(move || lane.in_flavour(ours));
        }
    });
}

#[derive(Clone, Copy)]
struct Lane<'a> {
    plan: Plan<'a>,
    seed: u64,
    tally: &'a Tally,
    child_serves: bool,
    /// The child's flavour.
    theirs: &'a str,
}

impl InFlavour for Lane<'_> {
    fn run<F: Flavour>(self) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let (killed, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let Plan { small, .. } = self.plan;
        let traffic = Traffic { path: &path, small, tally: self.tally, killed: &killed };
        if self.child_serves {
            let mut peer = self.child(&path);
            peer.line("listening");
            thread::scope(|scope| {
                scope.spawn(|| {
                    traffic.send::<F>(self.seed);
                    over.store(true, Ordering::Relaxed);
                });
                self.disturb(&mut peer, &killed, &over);
            });
            finish(peer, &killed);
        } else {
            let listener = F::bind(&path, &Config::default());
            let mut peer = self.child(&path);
            thread::scope(|scope| {
                let serving = scope.spawn(|| traffic.serve::<F>(&listener));
                self.disturb(&mut peer, &killed, &over);
                if !killed.load(Ordering::Relaxed) {
                    peer.line("sent");
                }
                finish(peer, &killed);
                F::close(&listener);
                serving.join().expect("served");
            });
        }
    }
}

impl Lane<'_> {
    fn child(&self, path: &Path) -> Peer {
        let path = path.to_str().expect("a path of ASCII");
        let (small, seed) = (self.plan.small.to_string(), self.seed.to_string());
        let arguments = match self.child_serves {
            true => vec!["serve", self.theirs, path, &small],
            false => vec!["send", self.theirs, path, &small, &seed],
        };
        Peer::start(self.plan.program, &arguments)
    }

    /// Leaves the child alone, stalls it or kills it, after so many messages.
    fn disturb(&self, peer: &mut Peer, killed: &AtomicBool, over: &AtomicBool) {
        let mut random = Random::new(self.seed);
        let kind = random.below(3);
        if kind == 0 {
            return;
        }
        let seen = || self.tally.seen.load(Ordering::Relaxed);
        let until_then = seen() + random.below(messages(self.plan.small) as usize) as u64;
        // The other lane counts as well, so that moment comes, or everything is over.
        until("so many messages", || {
            thread::sleep(Duration::from_micros(100));
            seen() >= until_then
                || over.load(Ordering::Relaxed)
                || !matches!(peer.has_stopped(), Ok(false))
        });
        if kind == 1 {
            peer.signal(Signal::SIGSTOP);
            thread::sleep(Duration::from_millis(random.below(50) as u64));
            peer.signal(Signal::SIGCONT);
            self.tally.stalls.fetch_add(1, Ordering::Relaxed);
        } else {
            // Before: who learns of the death finds that it was meant.
            killed.store(true, Ordering::SeqCst);
            peer.kill();
            self.tally.kills.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn finish(peer: Peer, killed: &AtomicBool) {
    if !killed.load(Ordering::Relaxed) {
        peer.succeed();
    }
}
