//! A run: servers that follow each other, under load, some of which are killed.

use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use shmipc_sync::{Session, Stream};

use super::account::{Outcome, Sum};
use super::clients::THREADS;
use super::message::{SIZES, request};
use super::{Place, append, open};
use crate::child::Peer;
use crate::deadline::until;
use crate::proc::{Held, pss};

/// Who is killed. Each upgrade is another step of the protocol's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The one that takes over; another one follows, which is not killed.
    Successor,
    /// The one that is taken over from.
    Predecessor,
    /// Nobody: either stops for a while, where it would have been killed.
    Nobody,
}

/// Where the one that takes over is when somebody is killed.
const PAUSES: [&str; 4] = ["starting", "bound", "asked", "serving"];
/// What the one that takes over does when it stops by itself.
const OF_SUCCESSOR: [&str; 6] =
    ["ClaimUnsent", "ClaimSent", "ReadyUnsent", "ReadySent", "ServingUnsent", "ServingSent"];
/// The same of the one that is taken over from.
const OF_PREDECESSOR: [&str; 4] = ["OfferUnsent", "OfferSent", "YieldUnsent", "YieldSent"];
/// The same if it has a predecessor itself.
const OF_BOTH: [&str; 2] = ["ReleaseUnsent", "ReleaseSent"];
/// How long who stops for a while does.
const STALL: Duration = Duration::from_millis(20);

impl Kill {
    /// The steps, which take turns.
    fn steps(self) -> Vec<&'static str> {
        match self {
            Self::Successor => [&PAUSES[..], &OF_SUCCESSOR].concat(),
            Self::Predecessor => [&PAUSES[..], &OF_PREDECESSOR, &OF_BOTH].concat(),
            Self::Nobody => [&OF_SUCCESSOR[..], &OF_PREDECESSOR, &OF_BOTH].concat(),
        }
    }

    /// The step at which somebody is killed in that upgrade.
    fn step(self, upgrade: u32) -> &'static str {
        let steps = self.steps();
        steps[(upgrade as usize - 1) % steps.len()]
    }

    /// Upgrades until each step had its turn.
    pub fn round(self) -> u32 {
        self.steps().len() as u32
    }
}

/// The step of an upgrade in which nobody is killed.
pub const UPGRADE: &str = "upgrade";

/// Who has waited for less than that since the last look is not behind.
const CAUGHT_UP: Duration = Duration::from_millis(50);

/// What a run consists of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The binary `upgrades`.
    pub program: &'static str,
    /// How many servers follow the first one.
    pub upgrades: u32,
    /// Who is killed, if anybody is.
    pub kill: Option<Kill>,
    /// Each thread of a client sends so often; if not given, half as often as is possible.
    pub interval: Option<Duration>,
    /// Between upgrades.
    pub rest: Duration,
    /// Whether to compare what everybody holds after the 10th upgrade and at the end.
    pub weigh: bool,
    /// Whether to say how it goes.
    pub talkative: bool,
}

/// What a process holds, and its memory.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Descriptors and mappings.
    pub held: Held,
    /// Memory that it pays for, KiB.
    pub kibibytes: u64,
}

impl Weight {
    fn of(peer: &Peer) -> Self {
        Self { held: Held::by(peer.pid()), kibibytes: pss(peer.pid()) }
    }

    /// Whether nothing has piled up since. Memory alone has an allowance: what an allocator may keep of the
    /// largest message for each thread that sends or answers.
    fn is_like(self, before: Self) -> bool {
        let kept = 2 * THREADS as u64 * (SIZES.1 as u64 >> 10);
        self.held == before.held && self.kibibytes <= before.kibibytes + kept
    }
}

/// Of the server, the blocking and the tokio client.
pub type Weights = [Weight; 3];

/// What has come of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages.
    pub sum: Sum,
    /// The longest wait of any client, for each upgrade and each step at which somebody was killed.
    pub pauses: Vec<(&'static str, Duration)>,
    /// After the 10th upgrade and the last one.
    pub weights: Option<(Weights, Weights)>,
}

impl Report {
    /// Whether nobody holds more after the last upgrade than after the 10th.
    pub fn is_flat(&self) -> bool {
        let like = |(early, late): &(Weights, Weights)| {
            late.iter().zip(early).all(|(late, &early)| late.is_like(early))
        };
        self.weights.as_ref().is_none_or(like)
    }
}

/// Does all of it.
pub fn run(plan: Plan) -> Report {
    let directory = tempfile::tempdir().expect("a directory");
    let mut run = Run::start(plan, directory.path());
    let (mut pauses, mut early, mut late, mut flavour) = (Vec::new(), None, None, 0);
    for upgrade in 1..=plan.upgrades {
        run.rest();
        run.upgrade = upgrade;
        match plan.kill {
            None => pauses.push((UPGRADE, run.upgrade())),
            Some(kill) => run.disturb(kill, kill.step(upgrade), &mut pauses),
        }
        if plan.weigh && upgrade == 10 {
            early = Some(run.weights());
            flavour = run.number % 2;
        }
        // A server of the other flavour holds more or less.
        if plan.weigh && upgrade + 3 >= plan.upgrades && run.number % 2 == flavour {
            late = Some(run.weights());
        }
        if plan.talkative && upgrade.is_multiple_of(20) {
            println!("{upgrade} upgrades");
        }
    }
    let place = run.end();
    Report { sum: Sum::of(&place), pauses, weights: early.zip(late) }
}

struct Run {
    plan: Plan,
    place: Place,
    server: Peer,
    /// Its number.
    number: u32,
    /// The number of the last one that was started.
    last: u32,
    /// Which upgrade it is.
    upgrade: u32,
    clients: [Peer; 2],
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
        let mut run = Self { plan, place, server, number: 1, last: 1, upgrade: 1, clients };
        run.wait_for_clients();
        let interval = plan.interval.unwrap_or_else(|| run.half_of_saturation());
        run.say_interval(interval);
        run
    }

    fn say_interval(&mut self, interval: Duration) {
        for client in &mut self.clients {
            client.say(&format!("interval {}", interval.as_nanos()));
        }
    }

    fn sent(&mut self) -> u64 {
        let sent = |client: &mut Peer| {
            client.say("sent");
            client.line("sent").parse::<u64>().expect("a number")
        };
        self.clients.iter_mut().map(sent).sum()
    }

    /// Measures how much the clients can send.
    fn half_of_saturation(&mut self) -> Duration {
        const SPAN: Duration = Duration::from_secs(2);
        self.say_interval(Duration::ZERO);
        let before = self.sent();
        thread::sleep(SPAN);
        let rate = (self.sent() - before) as f64 / SPAN.as_secs_f64();
        println!("at most {rate:.0} messages a second; from here on half of that");
        Duration::from_secs_f64(f64::from(4 * THREADS) / (rate / 2.0))
    }

    /// Until all are answered by the server that is now; the longest that anybody has waited.
    fn wait_for_clients(&mut self) -> Duration {
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
    fn next(&mut self, pause: &str) -> Peer {
        self.last += 1;
        let later = own_step(&self.plan, self.upgrade + 1);
        start_server(&self.plan, &self.place, self.last, [pause, later])
    }

    /// An upgrade in which somebody is killed at this step, or stops.
    fn disturb(
        &mut self,
        kill: Kill,
        step: &'static str,
        pauses: &mut Vec<(&'static str, Duration)>,
    ) {
        let longest = match kill {
            _ if OF_BOTH.contains(&step) => self.disturb_between(kill, step),
            Kill::Successor => self.kill_successor(step),
            Kill::Predecessor => self.kill_predecessor(step),
            Kill::Nobody => self.upgrade_with(step),
        };
        pauses.push((step, longest));
        if kill == Kill::Successor {
            pauses.push((UPGRADE, self.upgrade()));
        }
    }

    /// In good order; the longest that any client has waited.
    fn upgrade(&mut self) -> Duration {
        self.upgrade_with("")
    }

    /// The same; one of the two stops at this step for a while, if it is one.
    fn upgrade_with(&mut self, step: &str) -> Duration {
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

    /// The next server is killed at this step, and the one before it goes on; the longest wait.
    fn kill_successor(&mut self, step: &str) -> Duration {
        // Else it might have nothing to do any more, and end.
        let held = hold(&self.place, self.last);
        let mut next = self.next(step);
        if OF_SUCCESSOR.contains(&step) {
            wait_for_stop(&next);
        } else if step != "starting" {
            next.line(step);
        }
        if step == "serving" {
            self.server.line("handed over");
        }
        next.kill();
        if step == "serving" {
            self.server.line("resumed");
        }
        let longest = self.wait_for_clients();
        drop(held);
        longest
    }

    /// The server is killed when the next one is at this step, which then goes on; the longest wait.
    fn kill_predecessor(&mut self, step: &str) -> Duration {
        let stops = OF_PREDECESSOR.contains(&step);
        let pauses = !stops && step != "starting";
        let mut next = self.next(if stops { "" } else { step });
        if stops {
            wait_for_stop(&self.server);
        } else if pauses {
            next.line(step);
        }
        self.server.kill();
        if pauses {
            next.say("go on");
        }
        if step != "serving" {
            next.line("serving");
        }
        self.server = next;
        self.number = self.last;
        self.wait_for_clients()
    }

    /// The next server is killed, or stops, when it is succeeded while this one is still needed.
    fn disturb_between(&mut self, kill: Kill, step: &str) -> Duration {
        // Until then this one is not drained.
        let held = hold(&self.place, self.number);
        let mut between = self.next(step);
        between.line("serving");
        self.server.line("handed over");
        let mut last = self.next("");
        wait_for_stop(&between);
        if kill == Kill::Nobody {
            thread::sleep(STALL);
            between.signal(Signal::SIGCONT);
        } else {
            between.kill();
        }
        last.line("serving");
        self.number = self.last;
        drop(held);
        let longest = self.wait_for_clients();
        let first = std::mem::replace(&mut self.server, last);
        let gone = if kill == Kill::Nobody { vec![first, between] } else { vec![first] };
        for mut server in gone {
            server.line("drained");
            server.succeed();
        }
        longest
    }

    fn end(self) -> Place {
        self.clients.into_iter().for_each(Peer::succeed);
        self.place
    }
}

/// Where a server stops as the predecessor of that upgrade, if it does.
fn own_step(plan: &Plan, upgrade: u32) -> &'static str {
    let step = plan.kill.map_or("", |kill| kill.step(upgrade));
    if OF_PREDECESSOR.contains(&step) { step } else { "" }
}

fn wait_for_stop(server: &Peer) {
    until("a server stops", || server.has_stopped().expect("it lives"));
}

/// In tokio and blocking by turns; who waits for a word is of the blocking flavour.
fn start_server(plan: &Plan, place: &Place, number: u32, stops: [&str; 2]) -> Peer {
    let tokio = number.is_multiple_of(2) && !PAUSES.contains(&stops[0]);
    let flavour = if tokio { "tokio" } else { "blocking" };
    let number = number.to_string();
    let arguments = ["server", flavour, place.directory(), &number, stops[0], stops[1]];
    Peer::start(plan.program, &arguments)
}

/// A stream that is open.
fn hold(place: &Place, server: u32) -> (Session, Stream) {
    let session = Session::connect(place.socket()).expect("somebody serves");
    let mut stream = session.open().expect("a stream");
    let name @ [client, number, sequence] = [0, server, 0];
    stream.send(&request(name, SIZES.0)).expect("sent");
    stream.recv().expect("a reply");
    append(&open(&place.outcomes()), [client, number, sequence, Outcome::Answered as u32]);
    (session, stream)
}
