//! One block: a link is opened, warmed up, measured for a while and closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quanta::Clock;
use serde::{Deserialize, Serialize};

use super::Samples;
use crate::args::Bench;
use crate::clients::Clients;
use crate::control::{Control, Order, Spent};
use crate::legs::{self, Ends, Leg, Over};
use crate::meter::Meter;
use crate::process::{self, Watchdog};
use crate::transport::{self, Arm, Transport, Visitor};

/// Warming up takes at least this part of a block.
const WARM_UP: u32 = 10;

/// From the order of a leg to its first message, where messages are due at fixed times.
const AHEAD: Duration = Duration::from_millis(2);

/// The same where system calls are counted: it takes the kernel a while to begin.
const LONG_AHEAD: Duration = Duration::from_millis(200);

/// The fewest operations of a lane, except to warm up.
const FEW: u64 = 16;

/// System calls are counted for about so long.
const COUNTED: Duration = Duration::from_millis(20);

/// What a block has measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) samples: Samples,
    /// Operations within `elapsed`.
    pub(crate) timed_ops: u64,
    pub(crate) elapsed: Duration,
    /// Operations that the following sums are about, some more than were timed.
    pub(crate) ops: u64,
    /// Of both processes; at a fixed rate of the receiver.
    pub(crate) cpu_ns: u64,
    /// In both directions.
    pub(crate) bells: u64,
    /// Of both processes.
    pub(crate) switches: u64,
    /// System calls an operation of both processes, at a fixed rate of the receiver, if they were counted.
    pub(crate) syscalls_per_op: Option<f64>,
}

/// Measures blocks with the peer at the other end of `control`.
#[derive(Debug)]
pub(crate) struct Measure {
    control: Control,
    clock: Clock,
    watchdog: Watchdog,
    over: Arc<Over>,
    /// Where clients run.
    cpu: Option<usize>,
}

impl Measure {
    pub(crate) fn new(
        control: Control,
        watchdog: Watchdog,
        cpu: Option<usize>,
    ) -> io::Result<Self> {
        let (clock, over) = (Clock::new(), Arc::new(Over::new()?));
        Ok(Self { control, clock, watchdog, over, cpu })
    }

    /// Measures `arm` for at least `duration`, and counts system calls after that if they are wanted.
    pub(crate) fn block(&self, arm: &Arm, duration: Duration, counts: bool) -> io::Result<Block> {
        let wanted = Wanted { measure: self, arm, duration, counts };
        match arm.bench {
            Bench::FanIn => {
                let (clients, fds) = Clients::start(arm, self.cpu, &self.over)?;
                self.control.send(&Order::Open(arm.clone()), &fds)?;
                drop(fds);
                wanted.of(clients.complete()?)
            }
            _ => transport::visit(arm.transport, wanted),
        }
    }

    /// Runs one leg. Returns what was timed and what was spent.
    fn leg(
        &self,
        arm: &Arm,
        ends: &mut impl Ends,
        leg: Leg,
        samples: &mut Samples,
    ) -> io::Result<(Timed, Spent)> {
        let mut meter = Meter::new(leg.counts && ends.spent_elsewhere().is_none());
        self.over.clear();
        self.control.send(&Order::Leg(leg), &[])?;
        self.control.expect_ready()?;
        meter.start(ends.bells())?;
        let (ops, mut elapsed) = ends.measure(arm, &self.clock, leg, &self.over, samples)?;
        let here = meter.spent(ends.bells())?;
        let mut spent = ends.spent_elsewhere().unwrap_or(here);
        let of_peer = self.control.expect_done()?;
        if arm.bench == Bench::Both {
            elapsed = elapsed.max(Duration::from_nanos(of_peer.elapsed_ns));
        }
        match arm.bench {
            // The sender spins until the next message is due.
            Bench::Load => {
                spent.bells += of_peer.bells;
                spent.switches += of_peer.switches;
            }
            _ => spent.add(&of_peer),
        }
        self.watchdog.pat();
        Ok((Timed { ops, elapsed }, spent))
    }
}

/// Operations that were timed.
#[derive(Clone, Copy, Debug)]
struct Timed {
    ops: u64,
    elapsed: Duration,
}

struct Wanted<'a> {
    measure: &'a Measure,
    arm: &'a Arm,
    duration: Duration,
    counts: bool,
}

impl Visitor for Wanted<'_> {
    type Output = io::Result<Block>;

    fn visit<T: Transport>(self) -> io::Result<Block> {
        let offer = T::offer(self.arm)?;
        self.measure.control.send(&Order::Open(self.arm.clone()), &offer.fds)?;
        drop(offer.fds);
        self.of((offer.complete)()?)
    }
}

impl Wanted<'_> {
    /// The block, once the driver has its ends of the links.
    fn of(self, mut ends: impl Ends) -> io::Result<Block> {
        let Self { measure, arm, duration, counts } = self;
        measure.control.expect_ready()?;
        measure.watchdog.pat();

        let mut done = 0;
        let streams = arm.streams as u64;
        let mut leg = |arm: &Arm, ops: u64, counts: bool, block: &mut Block| {
            let ops = ops.next_multiple_of(streams);
            let ahead = if counts { LONG_AHEAD } else { AHEAD };
            let start_ns = process::now_ns() + ahead.as_nanos() as u64;
            let leg = Leg { from: done, ops, start_ns, counts };
            let (timed, spent) = measure.leg(arm, &mut ends, leg, &mut block.samples)?;
            block.add(ops, timed, &spent);
            done += ops / streams;
            // Never an infinite rate: a leg so short that nothing was timed says nothing.
            Ok::<_, io::Error>(ops as f64 / timed.elapsed.as_secs_f64().max(1e-6))
        };

        let mut warm_up = Block::new();
        let mut ops = least_ops(&Arm { streams: 1, ..arm.clone() });
        // Nobody needs quiet to warm up.
        let awake = Arm { quiet_ms: 0, ..arm.clone() };
        let mut rate = leg(&awake, ops, false, &mut warm_up)?;
        while warm_up.elapsed < duration / WARM_UP && arm.bench != Bench::Load {
            ops *= 2;
            rate = leg(&awake, ops, false, &mut warm_up)?;
        }

        let mut block = Block::new();
        while block.elapsed < duration {
            let rest = (duration - block.elapsed).max(duration / 50);
            let expected = if arm.bench == Bench::Load { arm.rate as f64 } else { rate };
            let ops = (expected * rest.as_secs_f64() * 1.02) as u64;
            rate = leg(arm, ops.min(most_ops(arm)).max(least_ops(arm)), false, &mut block)?;
        }

        if counts {
            let mut counted = Block::new();
            let ops = (rate * COUNTED.as_secs_f64()) as u64;
            leg(arm, ops.min(most_ops(arm)).max(least_ops(arm)), true, &mut counted)?;
            block.syscalls_per_op = counted.syscalls_per_op;
        }

        drop(ends);
        measure.control.send(&Order::Close, &[])?;
        measure.control.expect_ready()?;
        Ok(block)
    }
}

impl Block {
    fn new() -> Self {
        Self {
            samples: Samples::new(),
            timed_ops: 0,
            elapsed: Duration::ZERO,
            ops: 0,
            cpu_ns: 0,
            bells: 0,
            switches: 0,
            syscalls_per_op: None,
        }
    }

    fn add(&mut self, ops: u64, timed: Timed, spent: &Spent) {
        self.timed_ops += timed.ops;
        self.elapsed += timed.elapsed;
        self.ops += ops;
        self.cpu_ns += spent.cpu_ns;
        self.bells += spent.bells;
        self.switches += spent.switches;
        self.syscalls_per_op = spent.syscalls.map(|calls| calls as f64 / ops as f64);
    }

    /// The middle of this block's durations.
    pub(crate) fn median_ns(&self) -> f64 {
        self.samples.median_ns()
    }

    pub(crate) fn ops_per_s(&self) -> f64 {
        self.timed_ops as f64 / self.elapsed.as_secs_f64()
    }
}

/// There is one operation after each quiet time.
fn most_ops(arm: &Arm) -> u64 {
    if arm.bench == Bench::Quiet { 1 } else { u64::MAX }
}

/// The shortest leg.
fn least_ops(arm: &Arm) -> u64 {
    match arm.bench {
        Bench::Quiet => 1,
        Bench::Throughput | Bench::Both => 8 * legs::sample_len(arm),
        // Fewer of each lane would be about starting threads.
        Bench::Parallel | Bench::FanIn => FEW * arm.streams as u64,
        // A hundredth of a second.
        Bench::Load => (arm.rate / 100).max(4),
        Bench::Latency | Bench::Timers => FEW,
    }
}
