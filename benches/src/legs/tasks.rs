//! Links that tasks use, with the runtime that these run on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quanta::Clock;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Ends, Leg, Over};
use crate::args::{self, Bench};
use crate::measure::Samples;
use crate::process;
use crate::transport::{Arm, TaskLink};

/// From one tick of the timer to the next: a few of the milliseconds that tokio counts in.
const TICK: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Tasks<L: TaskLink> {
    /// Before their runtime goes, the links do.
    links: Vec<L>,
    runtime: Runtime,
}

/// The runtime that the arm names.
pub(crate) fn runtime(arm: &Arm) -> io::Result<Runtime> {
    let mut builder = match arm.runtime {
        args::Runtime::Current => Builder::new_current_thread(),
        args::Runtime::Multi | args::Runtime::Main => Builder::new_multi_thread(),
        args::Runtime::None => return Err(io::Error::other("tasks need a runtime")),
    };
    builder.enable_all().build()
}

impl<L: TaskLink> Tasks<L> {
    pub(crate) fn new(links: Vec<L>, runtime: Runtime) -> Self {
        Self { links, runtime }
    }

    /// How long after it was due each message of [`paced`] has been checked.
    fn punctuality(
        &mut self,
        arm: &Arm,
        leg: Leg,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        let its_arm = arm.clone();
        let received = self.run(arm, move |link| receive(link, its_arm.clone(), leg))?;
        let (late, last) = received.into_iter().next().unwrap_or_default();
        late.iter().for_each(|&ns| samples.record(ns, 1));
        Ok((leg.ops, Duration::from_nanos(last - leg.start_ns)))
    }

    /// Runs `on_link` for each link, and waits for all. Each is a task, unless the arm measures what is
    /// none: the one link of `main`.
    fn run<T, F, O>(&mut self, arm: &Arm, on_link: O) -> io::Result<Vec<T>>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<(L, T)>> + Send + 'static,
        O: Fn(L) -> F + Send + 'static,
    {
        let mut links = std::mem::take(&mut self.links);
        let ended = if (arm.runtime, arm.streams) == (args::Runtime::Main, 1) {
            let link = links.pop().expect("an arm has as many links as streams");
            self.runtime.block_on(async move { Ok(vec![on_link(link).await?]) })
        } else {
            // A task starts the others: all of them are there before the first one runs.
            let all = self.runtime.spawn(async move {
                let mut tasks: JoinSet<_> = links.into_iter().map(on_link).collect();
                let mut all = Vec::new();
                while let Some(ended) = tasks.join_next().await {
                    all.push(ended.map_err(io::Error::other)??);
                }
                Ok(all)
            });
            self.runtime.block_on(all).map_err(io::Error::other)?
        };
        let ended: io::Result<Vec<_>> = ended;
        let (links, values) = ended?.into_iter().unzip();
        self.links = links;
        Ok(values)
    }
}

impl<L: TaskLink> Drop for Tasks<L> {
    /// What belongs to all goes with the first.
    fn drop(&mut self) {
        let links = std::mem::take(&mut self.links);
        self.runtime.block_on(async {
            for link in links.into_iter().rev() {
                link.close().await;
            }
        });
    }
}

impl<L: TaskLink> Ends for Tasks<L> {
    fn measure(
        &mut self,
        arm: &Arm,
        clock: &Clock,
        leg: Leg,
        over: &Arc<Over>,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        if arm.bench == Bench::Load {
            return self.punctuality(arm, leg, samples);
        }
        if arm.bench == Bench::Quiet {
            std::thread::sleep(Duration::from_millis(arm.quiet_ms));
        }
        let (from, share) = (leg.from, leg.ops / arm.streams as u64);
        let late =
            (arm.bench == Bench::Timers).then(|| self.runtime.spawn(lateness(Arc::clone(over))));
        let (mut timed_ops, mut first, mut last) = (0, u64::MAX, 0);
        let (its_clock, first_over) = (clock.clone(), Arc::clone(over));
        let lanes = self.run(arm, move |link| {
            lane(link, its_clock.clone(), Arc::clone(&first_over), from, share)
        })?;
        for lane in lanes {
            if arm.bench != Bench::Timers {
                lane.nanos.iter().for_each(|&ns| samples.record(ns.into(), 1));
            }
            timed_ops += lane.nanos.len() as u64;
            (first, last) = (first.min(lane.start), last.max(lane.end));
        }
        if let Some(late) = late {
            let late = self.runtime.block_on(late).map_err(io::Error::other)?;
            let least = late.iter().min().copied().unwrap_or_default();
            late.iter().for_each(|late| samples.record((*late - least).as_nanos() as u64, 1));
        }
        let quiet = if arm.bench == Bench::Quiet { arm.quiet_ms } else { 0 };
        Ok((timed_ops, clock.delta(first, last) + Duration::from_millis(quiet)))
    }

    fn answer(&mut self, arm: &Arm, leg: Leg) -> io::Result<()> {
        if arm.bench == Bench::Load {
            let its_arm = arm.clone();
            return self
                .run(arm, move |link| paced(link, its_arm.clone(), leg))
                .map(|_: Vec<()>| ());
        }
        let (from, share) = (leg.from, leg.ops / arm.streams as u64);
        self.run(arm, move |link| echo(link, from, share)).map(|_: Vec<()>| ())
    }

    fn bells(&self) -> u64 {
        self.links.iter().map(TaskLink::bells).sum()
    }
}

struct Lane {
    /// Of each operation that is timed. A histogram for each lane would be too large for the caches.
    nanos: Vec<u32>,
    start: u64,
    end: u64,
}

/// Ping-pongs on one link. What is timed ends when the first of all lanes is through, as from then on there
/// are fewer.
async fn lane<L: TaskLink>(
    mut link: L,
    clock: Clock,
    over: Arc<Over>,
    from: u64,
    ops: u64,
) -> io::Result<(L, Lane)> {
    let mut nanos = Vec::with_capacity(ops as usize);
    let start = clock.raw();
    let mut before = start;
    let mut timed = true;
    for seq in from..from + ops {
        link.send(2 * seq).await?;
        link.recv(2 * seq + 1).await?;
        if !timed {
            continue;
        }
        let now = clock.raw();
        nanos.push(u32::try_from(clock.delta_as_nanos(before, now)).unwrap_or(u32::MAX));
        before = now;
        timed = !over.is_set();
    }
    over.set();
    Ok((link, Lane { nanos, start, end: before }))
}

async fn echo<L: TaskLink>(mut link: L, from: u64, ops: u64) -> io::Result<(L, ())> {
    for seq in from..from + ops {
        link.recv(2 * seq).await?;
        link.send(2 * seq + 1).await?;
    }
    link.flush().await;
    Ok((link, ()))
}

/// The sender of messages that are due at fixed times. It lets others run while it waits, and does not sleep.
async fn paced<L: TaskLink>(mut link: L, arm: Arm, leg: Leg) -> io::Result<(L, ())> {
    for seq in leg.from..leg.from + leg.ops {
        while process::now_ns() < leg.due_ns(&arm, seq) {
            tokio::task::yield_now().await;
        }
        link.send(seq).await?;
    }
    Ok((link, ()))
}

/// How late each message was, and when the last one came.
async fn receive<L: TaskLink>(mut link: L, arm: Arm, leg: Leg) -> io::Result<(L, (Vec<u64>, u64))> {
    let mut late = Vec::with_capacity(leg.ops as usize);
    let mut last = leg.start_ns;
    for seq in leg.from..leg.from + leg.ops {
        link.recv(seq).await?;
        last = process::now_ns();
        late.push(last.saturating_sub(leg.due_ns(&arm, seq)));
    }
    Ok((link, (late, last)))
}

/// How late each tick of a timer is, until all is over.
async fn lateness(over: Arc<Over>) -> Vec<Duration> {
    let mut late = Vec::new();
    let mut due = Instant::now();
    while !over.is_set() {
        due += TICK;
        sleep_until(due).await;
        let now = Instant::now();
        late.push(now - due);
        while due + TICK < now {
            due += TICK;
        }
    }
    late
}
