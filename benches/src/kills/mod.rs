//! `ipcbench kills`: the peer is killed with `SIGKILL` while this process is in a call, or before the
//! next one, and the call must fail soon and say why.
//!
//! For each kill there is a process of its own, the [`victim`], with a session of its own. Kinds of
//! call and wait modes take turns. A thread of the survivor makes the call, without a time-out; up to
//! [`LATEST`] later the victim is killed, so some die while the call begins, some while it spins, some
//! while it sleeps. The duration counts from just before `kill(2)` to the return of the call, so the
//! kernel's work on the dying process is in it, and so is the time for which a busy machine lets neither
//! process run. How long the call lasted after the victim had been reaped is told apart. For `next` it is that of the call itself, made when the
//! process is gone.
//!
//! A call that has not returned after [`PATIENCE`] hangs. One that gives anything but the peer's death
//! is wrong. Either makes the command fail, and so do descriptors that are left behind.

mod survivor;
pub(crate) mod victim;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use shmipc_sync::{Config, Listener, Session, Stream};

use crate::args::{Call, Kills, Wait};
use crate::measure::{Samples, duration};
use crate::process;
use crate::transport::wait_mode;

/// The longest time between the beginning of a call and the kill.
const LATEST: Duration = Duration::from_millis(5);

/// A call that takes longer hangs; nothing here takes longer without being broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A call that takes longer is late.
const LATE: Duration = Duration::from_millis(100);

pub(crate) fn run(options: &Kills) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    process::pin(options.pin.driver)?;
    let ground = options
        .wait
        .iter()
        .map(|&wait| Ground::new(wait, directory.path().join(wait.to_string()), options.pin.peer))
        .collect::<io::Result<Vec<_>>>()?;
    let mut arms: Vec<Arm<'_>> = Vec::new();
    for ground in &ground {
        arms.extend(options.call.iter().map(|&call| Arm::new(ground, call)));
    }
    let mut moments = Moments::default();
    // The first of each kind makes the process load what it needs.
    arms.iter_mut().try_for_each(|arm| arm.kill(moments.next()))?;
    arms.iter_mut().for_each(|arm| arm.figures = Figures::new(arm.ground.wait, arm.call));
    let before = descriptors()?;
    for round in 0..options.count {
        arms.iter_mut().try_for_each(|arm| arm.kill(moments.next()))?;
        if (round + 1) % options.count.div_ceil(10) == 0 {
            eprintln!(
                "{} of {} kills",
                (round + 1) as usize * arms.len(),
                options.count as usize * arms.len()
            );
        }
    }
    let left = descriptors()?.saturating_sub(before);
    let figures: Vec<Figures> = arms.into_iter().map(|arm| arm.figures).collect();
    print(&figures, options.json)?;
    eprintln!("descriptors left behind: {left}");
    let failed = |figures: &Figures| figures.hangs + figures.wrong > 0;
    match figures.iter().any(failed) || left > 0 {
        true => Err(io::Error::other("calls hung or were wrong, or descriptors were left behind")),
        false => Ok(()),
    }
}

/// Where the sessions of one wait mode are made.
struct Ground {
    wait: Wait,
    path: PathBuf,
    listener: Listener,
    cpu: Option<usize>,
}

impl Ground {
    fn new(wait: Wait, path: PathBuf, cpu: Option<usize>) -> io::Result<Self> {
        let listener = Listener::builder().config(config(wait)?).bind(&path);
        Ok(Self { wait, listener: listener.map_err(io::Error::other)?, path, cpu })
    }

    /// A victim that is ready to be killed, and our end of its stream.
    fn victim(&self, call: Call) -> io::Result<(Child, Session, Stream)> {
        let victim = process::again("victim", self.cpu)
            .arg("--socket")
            .arg(&self.path)
            .args(["--wait", &self.wait.to_string(), "--call", &call.to_string()])
            .spawn()?;
        let session = self.listener.accept_timeout(PATIENCE).map_err(io::Error::other)?;
        let session = session.ok_or_else(|| io::Error::other("the victim does not connect"))?;
        let mut stream = session.accept_timeout(PATIENCE).map_err(io::Error::other)?;
        stream.recv_timeout(PATIENCE).map_err(io::Error::other)?;
        Ok((victim, session, stream))
    }
}

fn config(wait: Wait) -> io::Result<Config> {
    Config::builder().wait(wait_mode(wait)).build().map_err(io::Error::other)
}

/// Kills of one kind.
struct Arm<'a> {
    ground: &'a Ground,
    call: Call,
    figures: Figures,
}

/// What is said about one arm. The names are those of the JSON object.
#[derive(Debug, Serialize)]
struct Figures {
    bench: &'static str,
    wait: Wait,
    call: Call,
    n: u64,
    hangs: u64,
    wrong: u64,
    /// More than 100 ms.
    late: u64,
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip)]
    samples: Samples,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    p50_ns: f64,
    p99_ns: f64,
    max_ns: f64,
    /// The longest that a call lasted after the victim was reaped.
    max_after_death_ns: f64,
}

impl<'a> Arm<'a> {
    fn new(ground: &'a Ground, call: Call) -> Self {
        Self { ground, call, figures: Figures::new(ground.wait, call) }
    }

    /// Makes a victim and kills it, for most kinds `moment` after the call has begun.
    fn kill(&mut self, moment: Duration) -> io::Result<()> {
        let (mut victim, session, stream) = self.ground.victim(self.call)?;
        let (begin, begins) = mpsc::channel();
        let (returned, returns) = mpsc::channel();
        let (call, watched) = (self.call, session.clone());
        let caller = thread::spawn(move || {
            let outcome = begins.recv().map(|()| survivor::make(call, &session, stream));
            let _ = returned.send((outcome, Instant::now()));
        });
        let began;
        if self.call == Call::Next {
            victim.kill()?;
            victim.wait()?;
            began = Instant::now();
            let _ = begin.send(());
        } else {
            let _ = begin.send(());
            while self.call == Call::Reserve
                && watched.stats().reserve_waits == 0
                && !caller.is_finished()
            {
                thread::sleep(Duration::from_micros(50));
            }
            thread::sleep(moment);
            began = Instant::now();
            victim.kill()?;
            victim.wait()?;
        }
        let dead = Instant::now();
        drop(watched);
        match returns.recv_timeout(PATIENCE) {
            Ok((Ok(Ok(())), ended)) => {
                self.figures.note(ended - began, ended.saturating_duration_since(dead));
            }
            Ok((outcome, _)) => {
                eprintln!("{} {}: {outcome:?}", self.ground.wait, self.call);
                self.figures.wrong += 1;
            }
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("{} {}: hangs", self.ground.wait, self.call);
                self.figures.hangs += 1;
                return Ok(());
            }
            Err(RecvTimeoutError::Disconnected) => self.figures.wrong += 1,
        }
        let _ = caller.join();
        Ok(())
    }
}

impl Figures {
    fn new(wait: Wait, call: Call) -> Self {
        Self {
            bench: "kills",
            wait,
            call,
            n: 0,
            hangs: 0,
            wrong: 0,
            late: 0,
            summary: Summary::default(),
            samples: Samples::new(),
        }
    }

    fn note(&mut self, took: Duration, after_death: Duration) {
        self.n += 1;
        self.late += u64::from(took > LATE);
        self.samples.record(took.as_nanos() as u64, 1);
        self.summary = Summary {
            p50_ns: self.samples.median_ns(),
            p99_ns: self.samples.quantile_ns(0.99),
            max_ns: self.samples.max_ns(),
            max_after_death_ns: self.summary.max_after_death_ns.max(after_death.as_nanos() as f64),
        };
    }
}

fn print(figures: &[Figures], json: bool) -> io::Result<()> {
    if json {
        for line in figures {
            println!("{}", serde_json::to_string(line)?);
        }
        return Ok(());
    }
    println!(
        "{:8} {:8} {:>6} {:>9} {:>9} {:>9} {:>9} {:>11} {:>6} {:>6}",
        "wait", "call", "kills", "p50", "p99", "max", "> 100 ms", "after death", "hangs", "wrong",
    );
    for Figures { wait, call, n, hangs, wrong, late, summary, .. } in figures {
        println!(
            "{wait:8} {call:8} {n:>6} {:>9} {:>9} {:>9} {late:>9} {:>11} {hangs:>6} {wrong:>6}",
            duration(summary.p50_ns),
            duration(summary.p99_ns),
            duration(summary.max_ns),
            duration(summary.max_after_death_ns),
        );
    }
    Ok(())
}

fn descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// Moments up to [`LATEST`], spread evenly, without a pattern that the kinds could follow.
#[derive(Debug, Default)]
struct Moments {
    step: u64,
}

impl Moments {
    fn next(&mut self) -> Duration {
        self.step = self.step.wrapping_add(0x9e37_79b9_7f4a_7c15);
        LATEST.mul_f64((self.step >> 32) as f64 / f64::from(u32::MAX))
    }
}
