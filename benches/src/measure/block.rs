//! One block: a link is opened, warmed up, measured for a while and closed.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use quanta::Clock;

use super::Samples;
use crate::args::Bench;
use crate::control::{Control, Order};
use crate::process::{self, Watchdog};
use crate::transport::{self, Arm, Link, Transport, Visitor};

/// Warming up takes at least this part of a block.
const WARM_UP: u32 = 10;

/// One way, a sample is the mean of about so many bytes or messages, whichever are fewer.
const SAMPLE_BYTES: usize = 64 << 10;
const SAMPLE_MESSAGES: usize = 256;

/// What a block has measured.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) samples: Samples,
    /// Operations within `elapsed`.
    pub(crate) timed_ops: u64,
    pub(crate) elapsed: Duration,
    /// Operations that the following sums are about, some more than were timed.
    pub(crate) ops: u64,
    /// Of both processes.
    pub(crate) cpu_ns: u64,
    /// In both directions.
    pub(crate) bells: u64,
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
    fn leg<L: Link>(
        &self,
        arm: &Arm,
        links: &mut [L],
        from: u64,
        ops: u64,
        block: &mut Block,
    ) -> io::Result<Duration> {
        self.control.send(&Order::Leg { ops }, &[])?;
        self.control.expect_ready()?;
        let (cpu_ns, bells) = (process::cpu_ns(), transport::bells(links));
        let (timed_ops, elapsed) = match arm.bench {
            Bench::Latency => self.ping_pong(&mut links[0], from, ops, &mut block.samples)?,
            Bench::Throughput => {
                let sample = sample_len(arm);
                self.one_way(&mut links[0], from, ops, sample, &mut block.samples)?
            }
            Bench::Parallel => {
                let share = ops / arm.streams as u64;
                self.side_by_side(links, from, share, &mut block.samples)?
            }
        };
        block.cpu_ns += process::cpu_ns() - cpu_ns;
        block.bells += transport::bells(links) - bells;
        let spent = self.control.expect_done()?;
        block.cpu_ns += spent.cpu_ns;
        block.bells += spent.bells;
        block.ops += ops;
        block.timed_ops += timed_ops;
        block.elapsed += elapsed;
        self.watchdog.pat();
        Ok(elapsed)
    }

    /// One clock reading a round trip; a sample is noted while the next reply is on its way.
    fn ping_pong<L: Link>(
        &self,
        link: &mut L,
        from: u64,
        ops: u64,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        let start = self.clock.raw();
        let mut before = start;
        let mut previous = None;
        for seq in from..from + ops {
            link.send(2 * seq, 1)?;
            if let Some(ns) = previous {
                samples.record(ns, 1);
            }
            link.recv(2 * seq + 1)?;
            let now = self.clock.raw();
            previous = Some(self.clock.delta_as_nanos(before, now));
            before = now;
        }
        if let Some(ns) = previous {
            samples.record(ns, 1);
        }
        Ok((ops, self.clock.delta(start, before)))
    }

    /// A thread for each link, `ops` round trips each. What is timed ends when the first of them is
    /// through, as from then on there are fewer.
    fn side_by_side<L: Link>(
        &self,
        links: &mut [L],
        from: u64,
        ops: u64,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        let line = Barrier::new(links.len());
        let over = AtomicBool::new(false);
        let lane = |link: &mut L| {
            let mut samples = Samples::new();
            line.wait();
            let start = self.clock.raw();
            let mut before = start;
            let mut timed = None;
            for seq in from..from + ops {
                link.send(2 * seq, 1)?;
                link.recv(2 * seq + 1)?;
                if timed.is_some() {
                    continue;
                }
                let now = self.clock.raw();
                samples.record(self.clock.delta_as_nanos(before, now), 1);
                before = now;
                if over.load(Ordering::Relaxed) {
                    timed = Some(seq + 1 - from);
                }
            }
            over.store(true, Ordering::Relaxed);
            Ok::<_, io::Error>((samples, timed.unwrap_or(ops), start, before))
        };
        thread::scope(|scope| {
            let threads: Vec<_> = links.iter_mut().map(|link| scope.spawn(|| lane(link))).collect();
            let (mut timed_ops, mut first, mut last) = (0, u64::MAX, 0);
            for thread in threads {
                let (of_lane, timed, start, end) = process::joined(thread)?;
                samples.add(&of_lane);
                timed_ops += timed;
                (first, last) = (first.min(start), last.max(end));
            }
            Ok((timed_ops, self.clock.delta(first, last)))
        })
    }

    /// The first `sample` messages say that the sender is at work; the clock starts after them.
    fn one_way<L: Link>(
        &self,
        link: &mut L,
        from: u64,
        ops: u64,
        sample: u64,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        let end = from + ops;
        let mut seq = from;
        let mut receive = |count: u64| {
            let until = end.min(seq + count);
            let received = until - seq;
            while seq < until {
                link.recv(seq)?;
                seq += 1;
            }
            Ok::<_, io::Error>(received)
        };
        let lead = receive(sample)?;
        let start = self.clock.raw();
        let mut before = start;
        loop {
            let received = receive(sample)?;
            if received == 0 {
                return Ok((ops - lead, self.clock.delta(start, before)));
            }
            let now = self.clock.raw();
            samples.record(self.clock.delta_as_nanos(before, now), received);
            before = now;
        }
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
        let mut links = (offer.complete)()?;
        measure.control.expect_ready()?;

        let mut done = 0;
        let streams = arm.streams as u64;
        let mut leg = |ops: u64, block: &mut Block| {
            let ops = ops.next_multiple_of(streams);
            let elapsed = measure.leg(arm, &mut links, done, ops, block)?;
            done += ops / streams;
            // Never an infinite rate: a leg so short that nothing was timed says nothing.
            Ok::<_, io::Error>(ops as f64 / elapsed.as_secs_f64().max(1e-6))
        };

        let mut warm_up = Block::new();
        let mut ops = least_ops(arm);
        let mut rate = leg(ops, &mut warm_up)?;
        while warm_up.elapsed < duration / WARM_UP {
            ops *= 2;
            rate = leg(ops, &mut warm_up)?;
        }

        let mut block = Block::new();
        while block.elapsed < duration {
            let rest = (duration - block.elapsed).max(duration / 50);
            let ops = (rate * rest.as_secs_f64() * 1.02) as u64;
            rate = leg(ops.max(least_ops(arm)), &mut block)?;
        }

        drop(links);
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

/// How many messages make a sample of a one-way stream.
fn sample_len(arm: &Arm) -> u64 {
    let few = (SAMPLE_BYTES / arm.size.0).clamp(1, SAMPLE_MESSAGES) as u64;
    few.max(arm.batch)
}

/// The shortest leg.
fn least_ops(arm: &Arm) -> u64 {
    match arm.bench {
        Bench::Latency | Bench::Parallel => 16,
        Bench::Throughput => 4 * sample_len(arm),
    }
}
