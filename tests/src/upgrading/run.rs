//! A run: servers that follow each other, under load, some of which are killed.

use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Place;
use super::account::Sum;
use super::clients::THREADS;
use super::plan::{OF_SUCCESSOR, PAUSES, Plan, UPGRADE, own_step};
use super::report::{Report, Weight, Weights};
use crate::child::Peer;
use crate::deadline::until;

/// How long who stops for a while does.
pub(super) const STALL: Duration = Duration::from_millis(20);

/// Who has waited for less than that since the last look is not behind.
const CAUGHT_UP: Duration = Duration::from_millis(50);

/// Does all of it.
pub fn run(plan: Plan) -> Report {
    let directory = tempfile::tempdir().expect("a directory");
    let mut run = Run::start(plan, directory.path());
    let (mut pauses, mut early, mut late, mut tokio) = (Vec::new(), None, None, false);
    for upgrade in 1..=plan.upgrades {
        run.rest();
        run.upgrade = upgrade;
        match plan.kill {
            None => pauses.push((UPGRADE, run.upgrade())),
            Some(kill) => run.disturb(kill, kill.step(upgrade), &mut pauses),
        }
        if plan.weigh && upgrade == 10 {
            early = Some(run.weights());
            tokio = is_tokio(run.number);
        }
        // A server of the other flavour holds more or less.
        if plan.weigh && upgrade + 3 >= plan.upgrades && is_tokio(run.number) == tokio {
            late = Some(run.weights());
        }
        if plan.talkative && upgrade.is_multiple_of(20) {
            println!("{upgrade} upgrades");
        }
    }
    let (place, learned) = run.end();
    Report { sum: Sum::of(&place), pauses, learned, weights: early.zip(late) }
}

/// A run under way.
pub(super) struct Run {
    plan: Plan,
    pub(super) place: Place,
    pub(super) server: Peer,
    /// Its number.
    pub(super) number: u32,
    /// The number of the last one that was started.
    pub(super) last: u32,
    /// Which upgrade it is.
    upgrade: u32,
    clients: [Peer; 2],
    /// See [`Report`].
    pub(super) learned: Vec<(&'static str, Duration)>,
}

impl Run {
    fn start(plan: Plan, directory: &Path) -> Self {
        let place = Place::new(directory);
        let mut server = start_server(&plan, &place, 1, ["", own_step(&plan, 1)]);
        server.line("serving");
        let client = |flavour, first: u32| {
            let first = first.to_string();
            Peer::start(plan.program, &["client", flavour, place.directory(), &first])
        };
        let clients = [client("blocking", 1), client("tokio", 1 + 2 * THREADS)];
        let mut run = Self {
            plan,
            place,
            server,
            number: 1,
            last: 1,
            upgrade: 1,
            clients,
            learned: Vec::new(),
        };
        run.wait_for_clients();
        let intervals = plan.interval.map(|interval| [interval; 2]);
        let intervals = intervals.unwrap_or_else(|| run.half_of_saturation());
        run.say_intervals(intervals);
        run
    }

    fn say_intervals(&mut self, intervals: [Duration; 2]) {
        let [call, streamed] = intervals.map(|interval| interval.as_nanos());
        for client in &mut self.clients {
            client.say(&format!("interval {call} {streamed}"));
        }
    }

    /// Calls, and messages over streams.
    fn sent(&mut self) -> [u64; 2] {
        let mut sum = [0; 2];
        for client in &mut self.clients {
            client.say("sent");
            let sent = client.line("sent");
            for (sum, sent) in sum.iter_mut().zip(sent.split(' ')) {
                *sum += sent.parse::<u64>().expect("a number");
            }
        }
        sum
    }

    /// Measures how much the clients can send; of either kind, since a thread that calls waits for each reply.
    fn half_of_saturation(&mut self) -> [Duration; 2] {
        const SPAN: Duration = Duration::from_secs(2);
        self.say_intervals([Duration::ZERO; 2]);
        let before = self.sent();
        thread::sleep(SPAN);
        let after = self.sent();
        let rates = [0, 1].map(|kind| (after[kind] - before[kind]) as f64 / SPAN.as_secs_f64());
        let [calls, streamed] = rates;
        println!(
            "at most {calls:.0} calls and {streamed:.0} messages over streams a second; from here on half of that"
        );
        rates.map(|rate| Duration::from_secs_f64(f64::from(2 * THREADS) / (rate / 2.0)))
    }

    /// Until all are answered by the server that is now; the longest that anybody has waited.
    pub(super) fn wait_for_clients(&mut self) -> Duration {
        let number = self.number;
        self.clients.iter_mut().for_each(|client| client.say(&format!("server {number}")));
        let longest = self.clients.each_mut().map(|client| {
            let nanos = client.line(&format!("seen {number}"));
            Duration::from_nanos(nanos.parse().expect("a number"))
        });
        longest[0].max(longest[1])
    }

    /// Until the clients have caught up with what they were to send, if they do.
    fn rest(&mut self) {
        for _ in 0..10 {
            thread::sleep(self.plan.rest);
            if self.wait_for_clients() < CAUGHT_UP {
                return;
            }
        }
    }

    /// When the payload memory of large messages is given back, so that it is known what there has to be.
    fn weights(&mut self) -> Weights {
        self.clients.iter_mut().for_each(|client| client.say("small 1"));
        let weigh = |run: &Self| [&run.server, &run.clients[0], &run.clients[1]].map(Weight::of);
        until("nobody holds more than one session with each client", || {
            thread::sleep(Duration::from_millis(20));
            // Of a session its own segment 0, and that of its peer.
            weigh(self).map(|weight| weight.held.mappings) == [4, 2, 2]
        });
        let weights = weigh(self);
        self.clients.iter_mut().for_each(|client| client.say("small 0"));
        weights
    }

    /// The next server, which stops at `pause`, and where it is to in the upgrade after.
    pub(super) fn next(&mut self, pause: &str) -> Peer {
        self.last += 1;
        let later = own_step(&self.plan, self.upgrade + 1);
        start_server(&self.plan, &self.place, self.last, [pause, later])
    }

    /// In good order; the longest that any client has waited.
    pub(super) fn upgrade(&mut self) -> Duration {
        self.upgrade_with("")
    }

    /// The same; one of the two stops at this step for a while, if it is one.
    pub(super) fn upgrade_with(&mut self, step: &str) -> Duration {
        let of_next = OF_SUCCESSOR.contains(&step);
        let mut next = self.next(if of_next { step } else { "" });
        if !step.is_empty() {
            let stopped = if of_next { &next } else { &self.server };
            wait_for_stop(stopped);
            thread::sleep(STALL);
            stopped.signal(Signal::SIGCONT);
        }
        next.line("serving");
        self.number = self.last;
        let mut server = std::mem::replace(&mut self.server, next);
        server.line("handed over");
        // Streams that are open end when their clients know of the next server.
        let longest = self.wait_for_clients();
        server.line("drained");
        server.succeed();
        longest
    }

    fn end(self) -> (Place, Vec<(&'static str, Duration)>) {
        self.clients.into_iter().for_each(Peer::succeed);
        (self.place, self.learned)
    }
}

pub(super) fn wait_for_stop(server: &Peer) {
    until("a server stops", || server.has_stopped().expect("it lives"));
}

/// Two of one flavour and two of the other by turns: so each takes over from each, also if every second one is killed.
fn is_tokio(number: u32) -> bool {
    !(number / 2).is_multiple_of(2)
}

/// Who waits for a word is of the blocking flavour.
fn start_server(plan: &Plan, place: &Place, number: u32, stops: [&str; 2]) -> Peer {
    let tokio = is_tokio(number) && !PAUSES.contains(&stops[0]);
    let flavour = if tokio { "tokio" } else { "blocking" };
    let number = number.to_string();
    let arguments = ["server", flavour, place.directory(), &number, stops[0], stops[1]];
    Peer::start(plan.program, &arguments)
}
