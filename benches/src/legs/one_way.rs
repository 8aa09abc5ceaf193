//! Messages one way: as many as go, or at a fixed rate.

use std::hint;
use std::io;
use std::thread;
use std::time::Duration;

use quanta::Clock;

use super::Leg;
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

/// As many messages as the receiver takes.
pub(super) fn flood<L: Link>(arm: &Arm, link: &mut L, from: u64, ops: u64) -> io::Result<()> {
    let mut seq = from;
    while seq < from + ops {
        let count = arm.batch.min(from + ops - seq);
        link.send(seq, count)?;
        seq += count;
    }
    Ok(())
}

/// The first `sample` messages say that the sender is at work; the clock starts after them.
pub(super) fn one_way<L: Link>(
    arm: &Arm,
    clock: &Clock,
    link: &mut L,
    leg: Leg,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    let sample = sample_len(arm);
    let end = leg.from + leg.ops;
    let mut seq = leg.from;
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
            return Ok((leg.ops - lead, clock.delta(start, before)));
        }
        let now = clock.raw();
        samples.record(clock.delta_as_nanos(before, now), received);
        before = now;
    }
}

/// How long before a message is due its sender stops sleeping: timers are late by about half as much.
const AWAKE_NS: u64 = 150_000;

/// The sender of messages that are due at fixed times: late if it was held up, never early, none left out.
pub(super) fn paced<L: Link>(arm: &Arm, link: &mut L, leg: Leg) -> io::Result<()> {
    (leg.from..leg.from + leg.ops).try_for_each(|seq| {
        let due = leg.due_ns(arm, seq);
        loop {
            match due.saturating_sub(process::now_ns()) {
                0 => break,
                early if early > 2 * AWAKE_NS => {
                    thread::sleep(Duration::from_nanos(early - AWAKE_NS));
                }
                _ => hint::spin_loop(),
            }
        }
        link.send(seq, 1)
    })
}

/// The receiver of what [`paced`] sends: how long after it was due each message has been checked.
pub(super) fn punctuality<L: Link>(
    arm: &Arm,
    link: &mut L,
    leg: Leg,
    samples: &mut Samples,
) -> io::Result<(u64, Duration)> {
    let mut last = leg.start_ns;
    for seq in leg.from..leg.from + leg.ops {
        link.recv(seq)?;
        last = process::now_ns();
        samples.record(last.saturating_sub(leg.due_ns(arm, seq)), 1);
    }
    Ok((leg.ops, Duration::from_nanos(last - leg.start_ns)))
}
