//! The figures of an arm, as JSON or as a line of a table.

use serde::{Deserialize, Serialize};

use super::verdict::{ENOUGH_BLOCKS, Verdict};
use super::{Block, Samples, median, spread};
use crate::args::{Bell, Bench, Runtime, Size, Touch, Trust, Wait};
use crate::transport::Arm;

/// What is said about one arm. The names are those of the JSON object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) bench: Bench,
    pub(crate) transport: crate::args::Transport,
    pub(crate) wait: Wait,
    pub(crate) trust: Trust,
    pub(crate) bell: Bell,
    pub(crate) touch: Touch,
    pub(crate) size: usize,
    pub(crate) mixed: bool,
    pub(crate) batch: u64,
    pub(crate) parked: usize,
    pub(crate) open: usize,
    pub(crate) streams: usize,
    /// At a fixed rate: in percent of what a Unix socket carries, and messages a second.
    pub(crate) percent: u32,
    pub(crate) rate: u64,
    pub(crate) runtime: Runtime,
    /// Operations timed, in all blocks.
    pub(crate) n: u64,
    /// The median of the blocks' medians; the other durations are of all blocks merged.
    pub(crate) p50_ns: f64,
    pub(crate) p90_ns: f64,
    pub(crate) p99_ns: f64,
    pub(crate) p999_ns: f64,
    pub(crate) max_ns: f64,
    pub(crate) mean_ns: f64,
    pub(crate) msgs_per_s: f64,
    pub(crate) bytes_per_s: f64,
    pub(crate) cpu_ns_per_op: f64,
    /// How often the kernel has taken a CPU from a thread, or a thread gave it up to wait, on both sides.
    pub(crate) switches_per_op: f64,
    /// None: not counted.
    pub(crate) bells_per_op: Option<f64>,
    /// Of both processes. None: not counted.
    pub(crate) syscalls_per_op: Option<f64>,
    pub(crate) spread: f64,
    /// Of the blocks' medians.
    pub(crate) lowest_ns: f64,
    pub(crate) highest_ns: f64,
    pub(crate) blocks: usize,
    pub(crate) probe_cacheline_ns: f64,
    pub(crate) probe_eventfd_ns: f64,
}

impl Figures {
    pub(crate) fn new(arm: &Arm, blocks: &[Block], cacheline_ns: f64, eventfd_ns: f64) -> Self {
        let medians: Vec<f64> = blocks.iter().map(Block::median_ns).collect();
        let rates: Vec<f64> = blocks.iter().map(Block::ops_per_s).collect();
        let mut merged = Samples::new();
        for block in blocks {
            merged.add(&block.samples);
        }
        let (messages_per_op, judged) = match arm.bench {
            Bench::Latency | Bench::Timers | Bench::Quiet => (2.0, &medians),
            Bench::Load => (1.0, &medians),
            Bench::Throughput | Bench::Both => (1.0, &rates),
            Bench::Parallel | Bench::FanIn => (2.0, &rates),
        };
        let n: u64 = blocks.iter().map(|block| block.timed_ops).sum();
        let ops = blocks.iter().map(|block| block.ops).sum::<u64>() as f64;
        let elapsed: f64 = blocks.iter().map(|block| block.elapsed.as_secs_f64()).sum();
        let cpu_ns = blocks.iter().map(|block| block.cpu_ns).sum::<u64>() as f64;
        let bells = blocks.iter().map(|block| block.bells).sum::<u64>() as f64;
        let switches = blocks.iter().map(|block| block.switches).sum::<u64>() as f64;
        let msgs_per_s = messages_per_op * median(&rates);
        Self {
            bench: arm.bench,
            transport: arm.transport,
            wait: arm.wait,
            trust: arm.trust,
            bell: arm.bell,
            touch: arm.touch,
            size: arm.size.0,
            mixed: arm.mixed,
            batch: arm.batch,
            parked: arm.parked,
            open: arm.open,
            streams: arm.streams,
            percent: arm.percent,
            rate: arm.rate,
            runtime: arm.runtime,
            n,
            p50_ns: median(&medians),
            p90_ns: merged.quantile_ns(0.9),
            p99_ns: merged.quantile_ns(0.99),
            p999_ns: merged.quantile_ns(0.999),
            max_ns: merged.max_ns(),
            mean_ns: elapsed * 1e9 / n as f64,
            msgs_per_s,
            bytes_per_s: msgs_per_s * arm.payload().mean_len(),
            cpu_ns_per_op: cpu_ns / ops,
            switches_per_op: switches / ops,
            bells_per_op: (!arm.transport.is_grpc()).then_some(bells / ops),
            syscalls_per_op: blocks.iter().find_map(|block| block.syscalls_per_op),
            spread: spread(judged),
            lowest_ns: medians.iter().copied().fold(f64::INFINITY, f64::min),
            highest_ns: medians.iter().copied().fold(0.0, f64::max),
            blocks: blocks.len(),
            probe_cacheline_ns: cacheline_ns,
            probe_eventfd_ns: eventfd_ns,
        }
    }
}

/// One object a line.
pub(crate) fn print_json(figures: &[Figures]) -> serde_json::Result<()> {
    for line in figures {
        println!("{}", serde_json::to_string(line)?);
    }
    Ok(())
}

pub(crate) fn print_table(figures: &[Figures]) {
    println!(
        "{:21} {:>6} {:>6} {:>7} {:>5} {:7} {:8} {:9} {:7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>10} {:>9} {:>8} {:>8} {:>8} {:>7} {:>8} {:>9}",
        "transport",
        "size",
        "open",
        "streams",
        "load",
        "runtime",
        "wait",
        "trust",
        "bell",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "messages/s",
        "bytes/s",
        "CPU/op",
        "bells/op",
        "switches",
        "calls/op",
        "spread",
        "p50/line",
        "to first",
    );
    for line in figures {
        println!(
            "{:21} {:>6} {:>6} {:>7} {:>5} {:7} {:8} {:9} {:7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>10} {:>9} {:>8} {:>8.3} {:>8} {:>6.1}% {:>7.2}x {:>9}",
            line.transport,
            if line.mixed { "mixed".to_owned() } else { Size(line.size).to_string() },
            line.open,
            line.streams,
            match (line.percent, line.rate) {
                (0, 0) => "-".to_owned(),
                (0, rate) => format!("{}us", 1_000_000 / rate),
                (percent, _) => format!("{percent}%"),
            },
            line.runtime,
            line.wait,
            line.trust,
            line.bell,
            duration(line.p50_ns),
            duration(line.p90_ns),
            duration(line.p99_ns),
            duration(line.p999_ns),
            duration(line.max_ns),
            quantity(line.msgs_per_s),
            quantity(line.bytes_per_s),
            duration(line.cpu_ns_per_op),
            counted(line.bells_per_op),
            line.switches_per_op,
            counted(line.syscalls_per_op),
            line.spread * 100.0,
            line.p50_ns / line.probe_cacheline_ns,
            to_first(figures, line),
        );
    }
    if let Some(line) = figures.first() {
        if matches!(line.bench, Bench::Throughput | Bench::Both) {
            println!("durations are those of one message");
        }
        if line.bench == Bench::Load {
            println!("durations are from when a message was due; the CPU is the receiver's");
        }
        if line.bench == Bench::Timers {
            println!("durations are how late the timer was, after the most punctual tick");
        }
        println!("switches: those of the kernel between threads, in both processes, an operation");
        println!("calls/op: system calls of both processes, counted in a leg that is not timed");
        println!(
            "to first: {} relative to the first line of its family (uds, shm, …) and size; none where the margin \
             is within the spread or there were fewer than {ENOUGH_BLOCKS} blocks",
            if line.bench.is_about_durations() { "p50" } else { "messages/s" },
        );
        println!(
            "probes of every round: cacheline {}, eventfd {}; p50/line is relative to the former",
            duration(line.probe_cacheline_ns),
            duration(line.probe_eventfd_ns),
        );
    }
}

/// `line` relative to the first line of its family and size, in what its benchmark is about, if that says
/// anything.
fn to_first(figures: &[Figures], line: &Figures) -> String {
    let same = |first: &&Figures| {
        first.transport.family() == line.transport.family()
            && first.size == line.size
            && first.percent == line.percent
            && first.rate == line.rate
    };
    let first = figures.iter().find(same).unwrap_or(line);
    match Verdict::new(line, first).counts() {
        Some(ratio) => format!("{ratio:.2}x"),
        None if std::ptr::eq(first, line) => "-".to_owned(),
        None => "none".to_owned(),
    }
}

/// A number an operation, if it was counted.
pub(crate) fn counted(number: Option<f64>) -> String {
    number.map_or("-".to_owned(), |number| format!("{number:.3}"))
}

/// Nanoseconds with a fitting unit and about three digits.
pub(crate) fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

pub(crate) fn quantity(number: f64) -> String {
    match number {
        number if number < 1e3 => format!("{number:.0}"),
        number if number < 1e6 => format!("{:.2} k", number / 1e3),
        number if number < 1e9 => format!("{:.2} M", number / 1e6),
        number => format!("{:.2} G", number / 1e9),
    }
}
