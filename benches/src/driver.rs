//! The driver: plans the arms, lets them take turns, and reports.

use std::io;
use std::time::Duration;

use crate::args::{Bell, Bench, Options, Runtime, Size, Touch, Transport, Trust, Wait};
use crate::control::Control;
use crate::measure::{self, Block, Figures, Measure, median};
use crate::process::{self, Peer, Watchdog};
use crate::transport::{self, Arm, Visitor};

/// How long a probe measures in each round.
const PROBE: Duration = Duration::from_millis(20);

/// No leg of a sane run takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Below these a figure does not count.
const ENOUGH_BLOCKS: u32 = 10;
const ENOUGH_MS: u64 = 200;

/// Measures. `streams` says how many ping-pongs run side by side.
pub(crate) fn run(bench: Bench, options: &Options, streams: &[usize]) -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("s").display().to_string();
    let arms = plan(bench, options, streams, &socket);
    if arms.is_empty() {
        return Err(io::Error::other("nothing to measure"));
    }

    process::pin(options.pin.driver)?;
    let (control, peer_end) = Control::pair()?;
    let (peer, pid) = Peer::start(options.pin.peer, peer_end)?;
    control.expect_ready()?;
    introduce(bench, options, pid);

    let duration = Duration::from_millis(options.block_ms);
    let watchdog = Watchdog::start(PATIENCE.max(duration * 20))?;
    let measure = Measure::new(control, watchdog);
    let mut cacheline = Probe::new(Transport::Cacheline, &socket);
    let mut eventfd = Probe::new(Transport::Eventfd, &socket);
    let mut blocks: Vec<Vec<Block>> = arms.iter().map(|_| Vec::new()).collect();
    for round in 0..options.blocks {
        let cacheline_ns = cacheline.run(&measure)?;
        let eventfd_ns = eventfd.run(&measure)?;
        eprintln!(
            "round {}/{}: probes cacheline {cacheline_ns:.0} ns, eventfd {:.1} us",
            round + 1,
            options.blocks,
            eventfd_ns / 1e3,
        );
        let mut order: Vec<usize> = (0..arms.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let block = measure.block(&arms[at], duration).map_err(|error| {
                io::Error::other(format!("{} {}: {error}", arms[at].transport, arms[at].size))
            })?;
            blocks[at].push(block);
        }
    }

    peer.leave();
    drop(measure);
    peer.join()?;
    let figures: Vec<Figures> = arms
        .iter()
        .zip(&blocks)
        .map(|(arm, blocks)| Figures::new(arm, blocks, cacheline.median_ns(), eventfd.median_ns()))
        .collect();
    if options.json {
        measure::print_json(&figures)?;
    } else {
        measure::print_table(&figures);
    }
    Ok(())
}

/// Every transport at every size that it supports.
fn plan(bench: Bench, options: &Options, streams: &[usize], socket: &str) -> Vec<Arm> {
    let transports = match (&options.transport[..], bench) {
        ([], Bench::Parallel) => Transport::SIDE_BY_SIDE,
        ([], Bench::Timers) => Transport::ON_TOKIO,
        ([], _) => Transport::ALL,
        (chosen, _) => chosen,
    };
    let mut arms: Vec<Arm> = Vec::new();
    for &transport in transports {
        let runtimes = match transport.has_tasks() {
            true => &options.runtime[..],
            false => &[Runtime::None],
        };
        for (&size, &streams, &(&open, &runtime)) in
            combinations(&options.size, streams, &pairs(&options.open, runtimes))
        {
            let mut arm = Arm {
                bench,
                transport,
                size,
                wait: options.wait,
                trust: options.trust,
                bell: options.bell,
                touch: options.touch,
                batch: options.batch,
                parked: options.parked,
                open,
                streams,
                runtime,
                ring: options.ring,
                socket: socket.to_owned(),
            };
            if let Err(why) = settle(&mut arm) {
                eprintln!("{transport} {size}: {why}");
                continue;
            }
            if bench != Bench::Throughput {
                arm.batch = 1;
            }
            if arms.contains(&arm) {
                continue;
            }
            if bench == Bench::Throughput && arm.batch < options.batch {
                eprintln!("{transport} {}: publishes each message by itself", arm.size);
            }
            arms.push(arm);
        }
    }
    arms
}

fn pairs<'a, A, B>(a: &'a [A], b: &'a [B]) -> Vec<(&'a A, &'a B)> {
    a.iter().flat_map(|a| b.iter().map(move |b| (a, b))).collect()
}

/// Every choice of one of each.
fn combinations<'a, A, B, C>(
    a: &'a [A],
    b: &'a [B],
    c: &'a [C],
) -> impl Iterator<Item = (&'a A, &'a B, &'a C)> {
    a.iter().flat_map(move |a| b.iter().flat_map(move |b| c.iter().map(move |c| (a, b, c))))
}

fn settle(arm: &mut Arm) -> Result<(), String> {
    struct Settle<'a>(&'a mut Arm);
    impl Visitor for Settle<'_> {
        type Output = Result<(), String>;

        fn visit<T: transport::Transport>(self) -> Self::Output {
            T::settle(self.0)
        }
    }
    if arm.bench == Bench::Timers && arm.runtime == Runtime::None {
        return Err("not supported: it has no tasks".to_owned());
    }
    transport::visit(arm.transport, Settle(arm))
}

/// Says what is about to happen, and loudly what makes figures worthless.
fn introduce(bench: Bench, options: &Options, peer: u32) {
    eprintln!(
        "{bench}: driver {} on {}, peer {peer} on {}; batches of {}; shmipc waits {}, {}, bell {}",
        std::process::id(),
        place(options.pin.driver),
        place(options.pin.peer),
        options.batch,
        options.wait,
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
