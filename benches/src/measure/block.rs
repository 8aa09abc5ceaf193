//! One block: a link is opened, warmed up, measured for a while and closed.

use std::io;
use std::time::Duration;

use quanta::Clock;

use super::Samples;
use crate::args::Bench;
use crate::control::{Control, Order};
use crate::legs::{self, Ends, Leg};
use crate::process::{self, Watchdog};
use crate::transport::{self, Arm, Transport, Visitor};

/// Warming up takes at least this part of a block.
const WARM_UP: u32 = 10;

/// From the order of a leg to its first message, where messages are due at fixed times.
const AHEAD: Duration = Duration::from_millis(2);

/// What a block has measured.
#[derive(Debug)]
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
}

/// Measures blocks with the peer at the other end of `control`.
#[derive(Debug)]
pub(crate) struct Measure {
    control: Control,
    clock: Clock,
    watchdog: Watchdog,
}

impl Measure {
    pub(crate) fn new(control: Control, watchdog: Watchdog) -> Self {
        Self { control, clock: Clock::new(), watchdog }
    }

    /// Measures `arm` for at least `duration`.
    pub(crate) fn block(&self, arm: &Arm, duration: Duration) -> io::Result<Block> {
        transport::visit(arm.transport, OneBlock { measure: self, arm, duration })
    }

    /// Runs one leg, and adds to `block` what it measured. Returns how long it took.
    fn leg(
        &self,
        arm: &Arm,
        ends: &mut impl Ends,
        from: u64,
        ops: u64,
        block: &mut Block,
    ) -> io::Result<Duration> {
        let leg = Leg { from, ops, start_ns: process::now_ns() + AHEAD.as_nanos() as u64 };
        self.control.send(&Order::Leg(leg), &[])?;
        self.control.expect_ready()?;
        let (cpu_ns, bells, switches) = (process::cpu_ns(), ends.bells(), process::switches());
        let (timed_ops, mut elapsed) = ends.measure(arm, &self.clock, leg, &mut block.samples)?;
        block.cpu_ns += process::cpu_ns() - cpu_ns;
        block.bells += ends.bells() - bells;
        block.switches += process::switches() - switches;
        let spent = self.control.expect_done()?;
        match arm.bench {
            // The sender spins until the next message is due.
            Bench::Load => {}
            _ => block.cpu_ns += spent.cpu_ns,
        }
        if arm.bench == Bench::Both {
            elapsed = elapsed.max(Duration::from_nanos(spent.elapsed_ns));
        }
        block.bells += spent.bells;
        block.switches += spent.switches;
        block.ops += ops;
        block.timed_ops += timed_ops;
        block.elapsed += elapsed;
        self.watchdog.pat();
        Ok(elapsed)
    }
}

struct OneBlock<'a> {
    measure: &'a Measure,
    arm: &'a Arm,
    duration: Duration,
}

impl Visitor for OneBlock<'_> {
    type Output = io::Result<Block>;

    fn visit<T: Transport>(self) -> io::Result<Block> {
        let Self { measure, arm, duration } = self;
        let offer = T::offer(arm)?;
        measure.control.send(&Order::Open(arm.clone()), &offer.fds)?;
        drop(offer.fds);
        let mut ends = (offer.complete)()?;
        measure.control.expect_ready()?;

        let mut done = 0;
        let streams = arm.streams as u64;
        let mut leg = |ops: u64, block: &mut Block| {
            let ops = ops.next_multiple_of(streams);
            let elapsed = measure.leg(arm, &mut ends, done, ops, block)?;
            done += ops / streams;
            // Never an infinite rate: a leg so short that nothing was timed says nothing.
            Ok::<_, io::Error>(ops as f64 / elapsed.as_secs_f64().max(1e-6))
        };

        let mut warm_up = Block::new();
        let mut ops = least_ops(arm);
        let mut rate = leg(ops, &mut warm_up)?;
        while warm_up.elapsed < duration / WARM_UP && arm.bench != Bench::Load {
            ops *= 2;
            rate = leg(ops, &mut warm_up)?;
        }

        let mut block = Block::new();
        while block.elapsed < duration {
            let rest = (duration - block.elapsed).max(duration / 50);
            let expected = if arm.bench == Bench::Load { arm.rate as f64 } else { rate };
            // There is one operation after each quiet time.
            let most = if arm.bench == Bench::Quiet { 1 } else { u64::MAX };
            let ops = ((expected * rest.as_secs_f64() * 1.02) as u64).min(most);
            rate = leg(ops.max(least_ops(arm)), &mut block)?;
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
        }
    }

    /// The middle of this block's durations.
    pub(crate) fn median_ns(&self) -> f64 {
        self.samples.median_ns()
    }

    pub(crate) fn ops_per_s(&self) -> f64 {
        self.timed_ops as f64 / self.elapsed.as_secs_f64()
    }
}

/// The shortest leg.
fn least_ops(arm: &Arm) -> u64 {
    match arm.bench {
        Bench::Quiet => 1,
        Bench::Throughput | Bench::Both => 8 * legs::sample_len(arm),
        // A hundredth of a second.
        Bench::Load => (arm.rate / 100).max(4),
        Bench::Latency | Bench::Parallel | Bench::FanIn | Bench::Timers => 16,
    }
}
