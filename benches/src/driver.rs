//! The driver: lets the arms of a plan take turns, and reports.

use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Bell, Bench, Options, Runtime, Size, Touch, Transport, Trust, Wait};
use crate::control::Control;
use crate::measure::{self, Block, Figures, Measure, median};
use crate::plan::{Plan, settle};
use crate::process::{self, Peer, Watchdog};
use crate::transport::Arm;

/// How long a probe measures in each round.
const PROBE: Duration = Duration::from_millis(20);

/// No leg of a sane run takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a Unix socket carries is the median of so many blocks.
const SATURATING_BLOCKS: usize = 5;

/// Below these a figure does not count.
const ENOUGH_BLOCKS: u32 = 10;
const ENOUGH_MS: u64 = 200;

/// Measures what the plan says, and prints it.
pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let figures = measure(plan)?;
    if plan.options.json {
        measure::print_json(&figures)?;
    } else {
        measure::print_table(&figures);
    }
    Ok(())
}

/// Measures what the plan says.
pub(crate) fn measure(plan: &Plan) -> io::Result<Vec<Figures>> {
    let options = &plan.options;
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("s").display().to_string();
    let mut arms = plan.arms(&socket);
    if arms.is_empty() {
        return Err(io::Error::other("nothing to measure"));
    }

    process::pin(options.pin.driver)?;
    let (control, peer_end) = Control::pair()?;
    let (peer, pid) = Peer::start(options.pin.peer, peer_end)?;
    control.expect_ready()?;
    introduce(plan.bench, options, pid);

    let duration = Duration::from_millis(options.block_ms);
    let longest = duration.max(Duration::from_millis(plan.quiet_ms));
    let watchdog = Watchdog::start(PATIENCE.max(longest * 20))?;
    let measure = Measure::new(control, watchdog);
    if plan.bench == Bench::Load {
        fix_rates(&mut arms, &measure, duration)?;
    }
    let mut cacheline = Probe::new(Transport::Cacheline, &socket);
    let mut eventfd = Probe::new(Transport::Eventfd, &socket);
    let mut blocks: Vec<Vec<Block>> = arms.iter().map(|_| Vec::new()).collect();
    let bar = progress(u64::from(options.blocks) * arms.len() as u64);
    for round in 0..options.blocks {
        let cacheline_ns = cacheline.run(&measure)?;
        let eventfd_ns = eventfd.run(&measure)?;
        bar.suspend(|| {
            eprintln!(
                "round {}/{}: probes cacheline {cacheline_ns:.0} ns, eventfd {:.1} us",
                round + 1,
                options.blocks,
                eventfd_ns / 1e3,
            );
        });
        let mut order: Vec<usize> = (0..arms.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let block = measure.block(&arms[at], duration).map_err(|error| {
                io::Error::other(format!("{} {}: {error}", arms[at].transport, arms[at].size))
            })?;
            blocks[at].push(block);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    peer.leave();
    drop(measure);
    peer.join()?;
    let figures = arms
        .iter()
        .zip(&blocks)
        .map(|(arm, blocks)| Figures::new(arm, blocks, cacheline.median_ns(), eventfd.median_ns()));
    Ok(figures.collect())
}

/// How far a run is, on a terminal.
fn progress(blocks: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks, {eta} left");
    ProgressBar::new(blocks).with_style(style.expect("the template is fixed"))
}

/// Finds out what a Unix socket carries one way, and what the arms' percentages of that are.
fn fix_rates(arms: &mut [Arm], measure: &Measure, duration: Duration) -> io::Result<()> {
    let mut known: Vec<(Arm, f64)> = Vec::new();
    for arm in arms {
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
                    .map(|_| Ok(measure.block(&socket, duration)?.ops_per_s()))
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

/// Says what is about to happen, and loudly what makes figures worthless.
fn introduce(bench: Bench, options: &Options, peer: u32) {
    eprintln!(
        "{bench}: driver {} on {}, peer {peer} on {}; batches of {}; shmipc waits {}, {}, bell {}",
        std::process::id(),
        place(options.pin.driver),
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

    fn run(&mut self, measure: &Measure) -> io::Result<f64> {
        let ns = measure.block(&self.arm, PROBE)?.median_ns();
        self.medians.push(ns);
        Ok(ns)
    }

    fn median_ns(&self) -> f64 {
        median(&self.medians)
    }
}
