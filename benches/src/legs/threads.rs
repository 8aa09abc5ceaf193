//! Links that threads use, which wait in their calls.

use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use quanta::Clock;

use super::Ends;
use crate::args::Bench;
use crate::measure::Samples;
use crate::process;
use crate::transport::{Arm, Link};

/// One way, a sample is the mean of about so many bytes or messages, whichever are fewer.
const SAMPLE_BYTES: usize = 64 << 10;
const SAMPLE_MESSAGES: usize = 256;

/// How many messages make a sample of a one-way stream.
pub(crate) fn sample_len(arm: &Arm) -> u64 {
    let few = (SAMPLE_BYTES / arm.size.0).clamp(1, SAMPLE_MESSAGES) as u64;
    few.max(arm.batch)
}

impl<L: Link> Ends for Vec<L> {
    fn measure(
        &mut self,
        arm: &Arm,
        clock: &Clock,
        from: u64,
        ops: u64,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        match arm.bench {
            Bench::Latency => ping_pong(clock, &mut self[0], from, ops, samples),
            Bench::Throughput => one_way(clock, &mut self[0], from, ops, sample_len(arm), samples),
            Bench::Parallel => side_by_side(clock, self, from, ops / arm.streams as u64, samples),
            Bench::Timers => Err(io::Error::other("threads have no timers")),
        }
    }

    fn answer(&mut self, arm: &Arm, from: u64, ops: u64) -> io::Result<()> {
        match arm.bench {
            Bench::Latency | Bench::Timers => echo(&mut self[0], from, ops),
            Bench::Throughput => flood(arm, &mut self[0], from, ops),
            Bench::Parallel => {
                let share = ops / arm.streams as u64;
                thread::scope(|scope| {
                    let threads: Vec<_> = self
                        .iter_mut()
                        .map(|link| scope.spawn(move || echo(link, from, share)))
                        .collect();
                    threads.into_iter().try_for_each(process::joined)
                })
            }
        }
    }

    fn bells(&self) -> u64 {
        self.iter().map(Link::bells).sum()
    }
}

fn echo<L: Link>(link: &mut L, from: u64, ops: u64) -> io::Result<()> {
    (from..from + ops).try_for_each(|seq| {
        link.recv(2 * seq)?;
        link.send(2 * seq + 1, 1)
    })
}

fn flood<L: Link>(arm: &Arm, link: &mut L, from: u64, ops: u64) -> io::Result<()> {
    let mut seq = from;
    while seq < from + ops {
        let count = arm.batch.min(from + ops - seq);
        link.send(seq, count)?;
        seq += count;
    }
    Ok(())
}

/// One clock reading a round trip; a sample is noted while the next reply is on its way.
fn ping_pong<L: Link>(
    clock: &Clock,
    link: &mut L,
    from: u64,
    ops: u64,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    let start = clock.raw();
    let mut before = start;
    let mut previous = None;
    for seq in from..from + ops {
        link.send(2 * seq, 1)?;
        if let Some(ns) = previous {
            samples.record(ns, 1);
        }
        link.recv(2 * seq + 1)?;
        let now = clock.raw();
        previous = Some(clock.delta_as_nanos(before, now));
        before = now;
    }
    if let Some(ns) = previous {
        samples.record(ns, 1);
    }
    Ok((ops, clock.delta(start, before)))
}

/// A thread for each link, `ops` round trips each. What is timed ends when the first of them is
/// through, as from then on there are fewer.
fn side_by_side<L: Link>(
    clock: &Clock,
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
        let start = clock.raw();
        let mut before = start;
        let mut timed = None;
        for seq in from..from + ops {
            link.send(2 * seq, 1)?;
            link.recv(2 * seq + 1)?;
            if timed.is_some() {
                continue;
            }
            let now = clock.raw();
            samples.record(clock.delta_as_nanos(before, now), 1);
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
        Ok((timed_ops, clock.delta(first, last)))
    })
}

/// The first `sample` messages say that the sender is at work; the clock starts after them.
fn one_way<L: Link>(
    clock: &Clock,
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
    let start = clock.raw();
    let mut before = start;
    loop {
        let received = receive(sample)?;
        if received == 0 {
            return Ok((ops - lead, clock.delta(start, before)));
        }
        let now = clock.raw();
        samples.record(clock.delta_as_nanos(before, now), received);
        before = now;
    }
}
