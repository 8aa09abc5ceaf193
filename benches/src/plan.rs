//! What is measured: the arms of a run.

use crate::args::{
    Bell, Bench, Limits, Options, Pin, Runtime, Size, Touch, Transport, Trust, Wait,
};
use crate::transport::{self, Arm, Visitor};

/// A benchmark, and what the user has asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) bench: Bench,
    pub(crate) options: Options,
    /// Links side by side.
    pub(crate) streams: Vec<usize>,
    /// Rates, in percent of what a Unix socket carries.
    pub(crate) percent: Vec<u32>,
    /// Rates in messages a second, instead.
    pub(crate) rates: Vec<u64>,
    pub(crate) quiet_ms: u64,
}

impl Plan {
    pub(crate) fn new(bench: Bench, options: Options) -> Self {
        Self { bench, options, streams: vec![1], percent: vec![0], rates: vec![0], quiet_ms: 0 }
    }

    /// A few transports at 64 bytes, pinned so.
    pub(crate) fn probe(limits: &Limits, pin: Pin, transports: &[Transport], wait: Wait) -> Self {
        let options = Options {
            transport: transports.to_vec(),
            size: vec![Size(64)],
            mixed: false,
            wait: vec![wait],
            trust: Trust::Untrusted,
            bell: Bell::Socket,
            batch: 1,
            blocks: limits.blocks,
            block_ms: limits.block_ms,
            pin,
            touch: Touch::All,
            parked: 0,
            open: vec![0],
            ring: None,
            runtime: vec![Runtime::Current],
            json: limits.json,
        };
        Self::new(Bench::Latency, options)
    }

    /// Every transport in every way that it supports, and remarks on what is left out and why.
    pub(crate) fn arms(&self, socket: &str) -> (Vec<Arm>, Vec<String>) {
        let mut arms: Vec<Arm> = Vec::new();
        let mut remarks: Vec<String> = Vec::new();
        for mut arm in self.combinations(socket) {
            let (transport, size) = (arm.transport, arm.size);
            if let Err(why) = settle(&mut arm) {
                let line = format!("{transport} {size}: {why}");
                if !remarks.contains(&line) {
                    remarks.push(line);
                }
                continue;
            }
            if !self.has_batches() {
                arm.batch = 1;
            }
            if arms.contains(&arm) {
                continue;
            }
            if self.has_batches() && arm.batch < self.options.batch {
                remarks.push(format!("{transport} {size}: publishes each message by itself"));
            }
            arms.push(arm);
        }
        (arms, remarks)
    }

    fn has_batches(&self) -> bool {
        matches!(self.bench, Bench::Throughput | Bench::Both)
    }

    fn transports(&self) -> &[Transport] {
        match (&self.options.transport[..], self.bench) {
            ([], Bench::Parallel | Bench::FanIn | Bench::Both) => Transport::SIDE_BY_SIDE,
            ([], Bench::Timers) => Transport::ON_TOKIO,
            ([], Bench::Load) => Transport::PACED,
            ([], Bench::Latency | Bench::Throughput | Bench::Quiet) => Transport::BUILT,
            (chosen, _) => chosen,
        }
    }

    /// What is left to be settled: one of each that the user has listed.
    fn combinations(&self, socket: &str) -> Vec<Arm> {
        let options = &self.options;
        let mut arms = Vec::new();
        for &transport in self.transports() {
            let runtimes = match transport.has_tasks() {
                true => &options.runtime[..],
                false => &[Runtime::None],
            };
            let first = self.arm(transport, socket);
            let sizes = options.size.iter().map(|&size| Arm { size, ..first.clone() });
            let streams = each(sizes, &self.streams, |arm, &streams| arm.streams = streams);
            let waits = each(streams, &options.wait, |arm, &wait| arm.wait = wait);
            let open = each(waits, &options.open, |arm, &open| arm.open = open);
            let on = each(open, runtimes, |arm, &runtime| arm.runtime = runtime);
            let loaded = each(on, &self.percent, |arm, &percent| arm.percent = percent);
            arms.extend(each(loaded, &self.rates, |arm, &rate| arm.rate = rate));
        }
        arms
    }

    fn arm(&self, transport: Transport, socket: &str) -> Arm {
        let options = &self.options;
        Arm {
            bench: self.bench,
            transport,
            size: Size(64),
            mixed: options.mixed,
            wait: options.wait[0],
            trust: options.trust,
            bell: options.bell,
            touch: options.touch,
            batch: options.batch,
            parked: options.parked,
            open: 0,
            streams: 1,
            percent: 0,
            rate: 0,
            quiet_ms: self.quiet_ms,
            runtime: Runtime::None,
            ring: options.ring,
            socket: socket.to_owned(),
        }
    }
}

/// Each of `arms` with each of `values`.
fn each<V>(
    arms: impl IntoIterator<Item = Arm>,
    values: &[V],
    set: impl Fn(&mut Arm, &V),
) -> Vec<Arm> {
    let mut all = Vec::new();
    for arm in arms {
        for value in values {
            let mut arm = arm.clone();
            set(&mut arm, value);
            all.push(arm);
        }
    }
    all
}

/// Fixes what is not the user's to choose.
pub(crate) fn settle(arm: &mut Arm) -> Result<(), String> {
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
