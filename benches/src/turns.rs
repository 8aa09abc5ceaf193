//! Lets the arms of a plan take turns, and reports.

use std::fs;
use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::args::{Bell, Bench, Options, Runtime, Size, Touch, Transport, Trust, Wait};
use crate::driver::Driver;
use crate::measure::{self, Block, Figures, median};
use crate::meter;
use crate::plan::{Plan, settle};
use crate::transport::Arm;

/// How long a probe measures in each round.
pub(crate) const PROBE: Duration = Duration::from_millis(20);

/// No leg of a sane run takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a Unix socket carries is the median of so many blocks.
pub(crate) const SATURATING_BLOCKS: usize = 5;

/// Below these a figure does not count.
const ENOUGH_BLOCKS: u32 = 10;
const ENOUGH_MS: u64 = 200;

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figures>,
    /// What was not measured, or not to its end, and why.
    pub(crate) left_out: Vec<String>,
    pub(crate) failures: Vec<Failure>,
}

/// An arm that failed: no more of its blocks were measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) arm: String,
    /// Blocks that it has got through.
    pub(crate) blocks: usize,
    pub(crate) reason: String,
}

/// Measures what the plan says, and prints it.
pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let Outcome { figures, failures, .. } = measure(plan)?;
    if plan.options.json {
        measure::print_json(&figures)?;
    } else {
        measure::print_table(&figures);
    }
    match &failures[..] {
        [] => Ok(()),
        [first, rest @ ..] => Err(io::Error::other(format!(
            "{} failed after {} blocks, and {} others: {}",
            first.arm,
            first.blocks,
            rest.len(),
            first.reason,
        ))),
    }
}

/// A directory for sockets, also those of the standard library, which takes at most 107 bytes of a path.
fn short_directory() -> io::Result<TempDir> {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() <= 80 {
        return tempfile::tempdir();
    }
    eprintln!(
        "sockets are in /tmp: {} is too long for a path of the standard library",
        usual.display()
    );
    tempfile::tempdir_in("/tmp")
}

/// Measures what the plan says. An arm that fails ends its processes; the others go on with new ones.
pub(crate) fn measure(plan: &Plan) -> io::Result<Outcome> {
    let directory = short_directory()?;
    let socket = directory.path().join("s").display().to_string();
    let (arms, left_out) = plan.arms(&socket);
    left_out.iter().for_each(|line| eprintln!("{line}"));
    if arms.is_empty() {
        return Err(io::Error::other("nothing to measure"));
    }
    if let Some(error) = meter::why_not() {
        eprintln!("system calls are not counted: {error}");
    }
    let mut turns = Turns::new(plan, arms, directory)?;
    introduce(plan.bench, &plan.options, &turns.driver);
    if plan.bench == Bench::Load {
        turns.fix_rates()?;
    }
    let bar = progress(u64::from(plan.options.blocks) * turns.arms.len() as u64);
    for round in 0..plan.options.blocks {
        turns.round(round, &bar)?;
        if turns.arms.iter().all(|turn| turn.failure.is_some()) {
            break;
        }
    }
    bar.finish_and_clear();
    turns.outcome(left_out)
}

/// The arms of a plan, and how far they are.
struct Turns<'a> {
    plan: &'a Plan,
    driver: Driver,
    arms: Vec<Turn>,
    cacheline: Probe,
    eventfd: Probe,
    /// Of sockets.
    directory: TempDir,
}

struct Turn {
    arm: Arm,
    blocks: Vec<Block>,
    failure: Option<Failure>,
}

impl<'a> Turns<'a> {
    fn new(plan: &'a Plan, arms: Vec<Arm>, directory: TempDir) -> io::Result<Self> {
        let socket = &arms[0].socket;
        let (cacheline, eventfd) =
            (Probe::new(Transport::Cacheline, socket), Probe::new(Transport::Eventfd, socket));
        let turn = |arm| Turn { arm, blocks: Vec::new(), failure: None };
        Ok(Self {
            plan,
            driver: start(plan)?,
            arms: arms.into_iter().map(turn).collect(),
            cacheline,
            eventfd,
            directory,
        })
    }

    fn duration(&self) -> Duration {
        Duration::from_millis(self.plan.options.block_ms)
    }

    /// A block of each arm. Every other round runs them in reverse.
    fn round(&mut self, round: u32, bar: &ProgressBar) -> io::Result<()> {
        let cacheline_ns = self.cacheline.run(&self.driver)?;
        let eventfd_ns = self.eventfd.run(&self.driver)?;
        bar.suspend(|| {
            eprintln!(
                "round {}/{}: probes cacheline {cacheline_ns:.0} ns, eventfd {:.1} us",
                round + 1,
                self.plan.options.blocks,
                eventfd_ns / 1e3,
            );
        });
        let mut order: Vec<usize> = (0..self.arms.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            bar.inc(1);
            let (duration, turn) = (self.duration(), &mut self.arms[at]);
            if turn.failure.is_some() {
                continue;
            }
            match self.driver.block(&turn.arm, duration, round == 0) {
                Ok(block) => turn.blocks.push(block),
                Err(_) => {
                    let gone = std::mem::replace(&mut self.driver, start(self.plan)?);
                    // What it has left there would be in the way of the next.
                    for left in fs::read_dir(&self.directory)? {
                        fs::remove_file(left?.path())?;
                    }
                    let reason = gone.end().err().unwrap_or_else(|| "the driver is gone".into());
                    let (arm, blocks) = (turn.arm.to_string(), turn.blocks.len());
                    bar.suspend(|| eprintln!("{arm} failed after {blocks} blocks: {reason}"));
                    turn.failure = Some(Failure { arm, blocks, reason });
                }
            }
        }
        Ok(())
    }

    /// Finds out what a Unix socket carries one way, and what the arms' percentages of that are.
    fn fix_rates(&mut self) -> io::Result<()> {
        let mut known: Vec<(Arm, f64)> = Vec::new();
        let duration = self.duration();
        for Turn { arm, .. } in &mut self.arms {
            if arm.percent == 0 {
                // The rate is given.
                continue;
            }
            let mut socket = Arm {
                bench: Bench::Throughput,
                transport: Transport::Uds,
                batch: 1,
                streams: 1,
                percent: 0,
                runtime: Runtime::None,
                ..arm.clone()
            };
            settle(&mut socket).map_err(io::Error::other)?;
            let most = match known.iter().find(|(same, _)| *same == socket) {
                Some(&(_, most)) => most,
                None => {
                    let rates = (0..SATURATING_BLOCKS)
                        .map(|_| Ok(self.driver.block(&socket, duration, false)?.ops_per_s()))
                        .collect::<io::Result<Vec<_>>>()?;
                    let most = median(&rates);
                    eprintln!("{}: a Unix socket carries {most:.0} messages/s", socket.size);
                    known.push((socket, most));
                    most
                }
            };
            arm.rate = (most * f64::from(arm.percent) / 100.0).max(1.0) as u64;
        }
        Ok(())
    }

    fn outcome(self, left_out: Vec<String>) -> io::Result<Outcome> {
        self.driver.end().map_err(io::Error::other)?;
        let (cacheline_ns, eventfd_ns) = (self.cacheline.median_ns(), self.eventfd.median_ns());
        let mut outcome = Outcome { left_out, ..Outcome::default() };
        for Turn { arm, blocks, failure } in self.arms {
            if !blocks.is_empty() {
                outcome.figures.push(Figures::new(&arm, &blocks, cacheline_ns, eventfd_ns));
            }
            outcome.failures.extend(failure);
        }
        Ok(outcome)
    }
}

fn start(plan: &Plan) -> io::Result<Driver> {
    let longest = Duration::from_millis(plan.options.block_ms.max(plan.quiet_ms));
    Driver::start(plan.options.pin.driver, plan.options.pin.peer, PATIENCE.max(longest * 20))
}

/// How far a run is, on a terminal.
fn progress(blocks: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks, {eta} left");
    ProgressBar::new(blocks).with_style(style.expect("the template is fixed"))
}

/// Says what is about to happen, and loudly what makes figures worthless.
fn introduce(bench: Bench, options: &Options, driver: &Driver) {
    eprintln!(
        "{bench}: driver {} on {}, peer {} on {}; batches of {}; shmipc waits {}, {}, bell {}",
        driver.id(),
        place(options.pin.driver),
        driver.peer,
        place(options.pin.peer),
        options.batch,
        options.wait.iter().map(Wait::to_string).collect::<Vec<_>>().join(","),
        options.trust,
        options.bell,
    );
    if options.pin.driver.is_some() && options.pin.driver == options.pin.peer {
        eprintln!("both on one CPU: a transport that only spins waits for the end of a time slice");
    }
    if options.touch == Touch::None {
        eprintln!(
            "*** --touch none: NO PAYLOAD IS WRITTEN OR CHECKED, transports that copy still copy ***"
        );
    }
    if options.blocks < ENOUGH_BLOCKS || options.block_ms < ENOUGH_MS {
        eprintln!(
            "*** fewer than {ENOUGH_BLOCKS} blocks or less than {ENOUGH_MS} ms a block: \
             these figures do not count ***"
        );
    }
}

fn place(cpu: Option<usize>) -> String {
    cpu.map_or_else(|| "any CPU".to_owned(), |cpu| format!("CPU {cpu}"))
}

/// A short round trip of a control in every round, that shows the regime of the machine.
struct Probe {
    arm: Arm,
    medians: Vec<f64>,
}

impl Probe {
    fn new(transport: Transport, socket: &str) -> Self {
        let mut arm = Arm {
            bench: Bench::Latency,
            transport,
            size: Size(64),
            wait: Wait::Spin,
            trust: Trust::Trusted,
            bell: Bell::None,
            touch: Touch::All,
            batch: 1,
            parked: 0,
            open: 0,
            streams: 1,
            mixed: false,
            percent: 0,
            rate: 0,
            quiet_ms: 0,
            runtime: Runtime::None,
            ring: None,
            socket: socket.to_owned(),
        };
        settle(&mut arm).expect("a probe is a control that supports 64 bytes");
        Self { arm, medians: Vec::new() }
    }

    fn run(&mut self, driver: &Driver) -> io::Result<f64> {
        let ns = driver.block(&self.arm, PROBE, false)?.median_ns();
        self.medians.push(ns);
        Ok(ns)
    }

    fn median_ns(&self) -> f64 {
        median(&self.medians)
    }
}
