//! What is measured, and how long that takes.

use std::time::Duration;

use crate::args::{Bench, Options, Report, Runtime, Size, Transport, Wait};
use crate::plan::Plan;
use crate::transport::Arm;
use crate::turns::{PROBE, SATURATING_BLOCKS};

/// To open, warm up and close a link, beside what is measured; and for each further stream, with its threads.
const BESIDE: Duration = Duration::from_millis(60);
const FOR_A_STREAM: Duration = Duration::from_micros(400);

/// To let the kernel begin to count system calls and end it, once for each arm.
const COUNTING: Duration = Duration::from_millis(400);

/// One line of the matrix. Arms of one plan take turns.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) plans: Vec<Plan>,
}

impl Entry {
    pub(super) fn is_wanted(&self, report: &Report) -> bool {
        report.only.is_empty() || report.only.iter().any(|name| name == self.name)
    }

    /// How many arms there are, and how long they take together.
    pub(super) fn expected(&self) -> (usize, Duration) {
        let (mut arms, mut all) = (0, Duration::ZERO);
        for plan in &self.plans {
            let its = plan.arms("").0;
            arms += its.len();
            all += its.iter().map(|arm| expected(plan, arm)).sum::<Duration>();
            all += (PROBE + BESIDE) * 2 * plan.options.blocks;
            if plan.bench == Bench::Load {
                all += SATURATING_BLOCKS as u32 * block(plan);
            }
        }
        (arms, all)
    }
}

fn expected(plan: &Plan, arm: &Arm) -> Duration {
    let streams = FOR_A_STREAM * arm.streams as u32;
    // Memory that nobody has touched yet.
    let pages = Duration::from_nanos(arm.size.0 as u64 * 10);
    (block(plan) + BESIDE + streams + pages) * plan.options.blocks + COUNTING
}

/// With warming up.
fn block(plan: &Plan) -> Duration {
    Duration::from_millis(plan.options.block_ms.max(plan.quiet_ms)) * 11 / 10
}

pub(super) fn matrix(report: &Report) -> Vec<Entry> {
    use Transport::{
        BareRing, Cacheline, Eventfd, Futex, Mqueue, Seqpacket, ShmAsync, ShmConnect, ShmStreams,
        ShmSync, TcpConnect, UdsAsync, UdsConnect,
    };
    let sizes = [64, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 16 << 20];
    let options = |transport: Vec<Transport>, sizes: &[usize]| Options {
        transport,
        size: sizes.iter().map(|&size| Size(size)).collect(),
        wait: vec![Wait::Adaptive, Wait::Block],
        runtime: vec![Runtime::Current],
        ..report.options.clone()
    };
    let kernel = [Transport::Pipe, Transport::Uds, Transport::Tcp];
    let with = |others: &[Transport]| {
        let mut all = kernel.to_vec();
        all.extend(others);
        all.extend(Transport::CRATES.iter().filter(|_| cfg!(feature = "peers")));
        all
    };
    let controls = [Cacheline, BareRing, Futex, Eventfd, Seqpacket, Mqueue];
    let everything = |ours: &[Transport]| with(&[&controls[..], ours].concat());
    let entry = |name, title, plan| Entry { name, title, plans: vec![plan] };
    let small = &sizes[..1];
    let connections = options(vec![UdsConnect, TcpConnect, ShmConnect, ShmStreams], small);
    let side_by_side = options(vec![UdsConnect, TcpConnect, ShmStreams], small);
    vec![
        entry(
            "latency",
            "Round trips, one at a time",
            Plan::new(Bench::Latency, options(everything(&[ShmSync, UdsAsync, ShmAsync]), &sizes)),
        ),
        entry(
            "throughput",
            "One way, a message a publication",
            Plan::new(Bench::Throughput, options(everything(&[ShmSync]), &sizes)),
        ),
        entry(
            "both",
            "One way in both directions at once",
            Plan {
                streams: vec![2],
                ..Plan::new(Bench::Both, options(with(&[Futex, ShmSync]), &sizes[..5]))
            },
        ),
        entry(
            "parallel",
            "Round trips side by side, 64 B",
            Plan {
                streams: vec![1, 16, 200, 2000],
                ..Plan::new(Bench::Parallel, options(with(&[ShmSync, UdsAsync, ShmAsync]), small))
            },
        ),
        entry(
            "load",
            "At a fixed rate, 64 B: from when a message was due until it was checked",
            Plan {
                percent: vec![10, 50, 90],
                ..Plan::new(Bench::Load, options(with(&[Futex, ShmSync]), small))
            },
        ),
        entry(
            "fan-in",
            "Clients of one server, each a process, 64 B",
            Plan {
                streams: vec![1, 4, 16],
                ..Plan::new(Bench::FanIn, options(with(&[ShmSync, UdsAsync, ShmAsync]), small))
            },
        ),
        Entry {
            name: "connect",
            title: "A connection, or a stream of one, for each round trip, 64 B",
            plans: vec![
                Plan::new(Bench::Latency, connections),
                Plan { streams: vec![16, 200], ..Plan::new(Bench::Parallel, side_by_side) },
            ],
        },
        entry(
            "mixed",
            "Messages of 64 B to 1 MiB, each double as long half as often",
            Plan::new(
                Bench::Latency,
                Options {
                    mixed: true,
                    ..options(with(&[ShmSync, UdsAsync, ShmAsync]), &sizes[4..5])
                },
            ),
        ),
        entry(
            "quiet",
            "A quiet second, then one round trip of 64 B",
            Plan {
                quiet_ms: report.quiet_ms,
                ..Plan::new(Bench::Quiet, options(with(&[ShmSync, UdsAsync, ShmAsync]), small))
            },
        ),
    ]
}
