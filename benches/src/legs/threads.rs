//! Links that threads use, which wait in their calls.

use std::io;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use quanta::Clock;

use super::one_way::{flood, one_way, paced, punctuality};
use super::{Ends, Leg, Over};
use crate::args::Bench;
use crate::measure::Samples;
use crate::process;
use crate::transport::{Arm, Link};

impl<L: Link + Send> Ends for Vec<L> {
    fn measure(
        &mut self,
        arm: &Arm,
        clock: &Clock,
        leg: Leg,
        over: &Arc<Over>,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        match arm.bench {
            Bench::Parallel | Bench::FanIn => {
                let share = Leg { ops: leg.ops / arm.streams as u64, ..leg };
                side_by_side(clock, self, share, over, samples)
            }
            Bench::Both => both_ways(arm, clock, self, leg, samples),
            _ => measure_one(arm, clock, &mut self[0], leg, samples),
        }
    }

    fn answer(&mut self, arm: &Arm, leg: Leg) -> io::Result<()> {
        let share = leg.ops / arm.streams as u64;
        match arm.bench {
            Bench::Parallel | Bench::FanIn => thread::scope(|scope| {
                let threads: Vec<_> = self
                    .iter_mut()
                    .map(|link| scope.spawn(move || echo(link, leg.from, share)))
                    .collect();
                threads.into_iter().try_for_each(process::joined)
            }),
            Bench::Both => {
                let [out, into, ..] = &mut self[..] else { return Err(two_links()) };
                thread::scope(|scope| {
                    let sends = scope.spawn(move || flood(arm, out, leg.from, share));
                    (leg.from..leg.from + share).try_for_each(|seq| into.recv(seq))?;
                    process::joined(sends)
                })
            }
            _ => answer_one(arm, &mut self[0], leg),
        }
    }

    fn bells(&self) -> u64 {
        self.iter().map(Link::bells).sum()
    }
}

/// The driver's part where there is one link.
pub(super) fn measure_one<L: Link>(
    arm: &Arm,
    clock: &Clock,
    link: &mut L,
    leg: Leg,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    match arm.bench {
        Bench::Throughput => one_way(arm, clock, link, leg, samples),
        Bench::Load => punctuality(arm, link, leg, samples),
        Bench::Quiet => after_quiet(arm, clock, link, leg, samples),
        Bench::Latency | Bench::Parallel | Bench::FanIn => ping_pong(clock, link, leg, samples),
        Bench::Both | Bench::Timers => Err(io::Error::other("not for one link of a thread")),
    }
}

/// The peer's part where there is one link.
pub(super) fn answer_one<L: Link>(arm: &Arm, link: &mut L, leg: Leg) -> io::Result<()> {
    match arm.bench {
        Bench::Throughput => flood(arm, link, leg.from, leg.ops),
        Bench::Load => paced(arm, link, leg),
        _ => echo(link, leg.from, leg.ops),
    }
}

fn two_links() -> io::Error {
    io::Error::other("there is a link for each direction")
}

/// Driver to peer on the second link, and what is timed on the first. The peer says how long it has taken for
/// its part.
fn both_ways<L: Link + Send>(
    arm: &Arm,
    clock: &Clock,
    links: &mut [L],
    leg: Leg,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    let [into, out, ..] = links else { return Err(two_links()) };
    let share = Leg { ops: leg.ops / 2, ..leg };
    let start = clock.raw();
    thread::scope(|scope| {
        let sends = scope.spawn(move || flood(arm, out, share.from, share.ops));
        one_way(arm, clock, into, share, samples)?;
        process::joined(sends)
    })?;
    Ok((leg.ops, clock.delta(start, clock.raw())))
}

/// A round trip after a while of nothing, as often as there are operations.
fn after_quiet<L: Link>(
    arm: &Arm,
    clock: &Clock,
    link: &mut L,
    leg: Leg,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    let start = clock.raw();
    for from in leg.from..leg.from + leg.ops {
        thread::sleep(Duration::from_millis(arm.quiet_ms));
        ping_pong(clock, link, Leg { from, ops: 1, ..leg }, samples)?;
    }
    Ok((leg.ops, clock.delta(start, clock.raw())))
}

fn echo<L: Link>(link: &mut L, from: u64, ops: u64) -> io::Result<()> {
    (from..from + ops).try_for_each(|seq| {
        link.recv(2 * seq)?;
        link.send(2 * seq + 1, 1)
    })
}

/// One clock reading a round trip; a sample is noted while the next reply is on its way.
fn ping_pong<L: Link>(
    clock: &Clock,
    link: &mut L,
    leg: Leg,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    let start = clock.raw();
    let mut before = start;
    let mut previous = None;
    for seq in leg.from..leg.from + leg.ops {
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
    Ok((leg.ops, clock.delta(start, before)))
}

/// A thread for each link, as many round trips each. What is timed ends when the first of them is
/// through, as from then on there are fewer.
fn side_by_side<L: Link + Send>(
    clock: &Clock,
    links: &mut [L],
    leg: Leg,
    over: &Over,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    let Leg { from, ops, .. } = leg;
    let line = Barrier::new(links.len());
    let lane = |link: &mut L| {
        // A histogram for each lane would be too large for the caches.
        let mut nanos = Vec::with_capacity(ops as usize);
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
            nanos.push(u32::try_from(clock.delta_as_nanos(before, now)).unwrap_or(u32::MAX));
            before = now;
            if over.is_set() {
                timed = Some(seq + 1 - from);
            }
        }
        over.set();
        Ok::<_, io::Error>((nanos, timed.unwrap_or(ops), start, before))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = links.iter_mut().map(|link| scope.spawn(|| lane(link))).collect();
        let (mut timed_ops, mut first, mut last) = (0, u64::MAX, 0);
        for thread in threads {
            let (of_lane, timed, start, end) = process::joined(thread)?;
            of_lane.iter().for_each(|&ns| samples.record(ns.into(), 1));
            timed_ops += timed;
            (first, last) = (first.min(start), last.max(end));
        }
        Ok((timed_ops, clock.delta(first, last)))
    })
}
