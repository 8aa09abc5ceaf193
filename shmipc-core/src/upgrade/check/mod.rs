//! Every interleaving of three servers of a row (see [`super`]).
//!
//! | file | purpose |
//! |---|---|
//! | `mod` | what a state is made of, who can take a step, what must hold |
//! | `server` | one server, around the real [`Succession`] |
//! | `cases` | what holds, and what breaks as soon as one rule is weakened |
//!
//! The first server serves from the beginning. The others start at any time, connect to whoever has the
//! upgrade socket, or bind if nobody has it, and are ready at any time. Each hears what has come, sends
//! what is to be sent, and loses patience, at any time, so a server that hangs is one that takes no
//! steps for a while. One or two may be killed before any step, and one may be closed.

mod cases;
mod server;

use std::hash::Hash;

use super::{Message, Predecessor, Side, Step, Succession, Successor};
use crate::testing::Mix;
use crate::testing::explore::Model;
use server::{Phase, Server};

const SERVERS: usize = 3;
/// A server that starts over has another connection.
const TRIES: usize = 2;
const LINES: usize = SERVERS * TRIES;

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weakening {
    /// The turn is taken back without shutting the connection down.
    NoCut,
    /// What came before the cut is not read.
    CutUnread,
    /// Who has heard Yield serves, whether or not Serving can be put on the connection.
    YieldIsEnough,
    /// Accepting stops with Serving, not with Yield.
    StopsLate,
    /// A predecessor that goes on hangs up without a word.
    NoRefusal,
    /// The sockets are offered while the own predecessor may come back.
    OfferedUnreleased,
    /// A second successor takes the place of the first.
    SecondTakenIn,
    /// A death is seen before what was said is read.
    DeathOvertakes,
    /// The predecessor does not watch its successor.
    SuccessorUnwatched,
    /// The successor does not watch its predecessor.
    PredecessorUnwatched,
    /// Who has served and closes does not say so.
    NoRelease,
    /// Sessions leave with Yield.
    LeavesEarly,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// So many servers take part.
    servers: usize,
    kills: u8,
    closes: u8,
    weak: Option<Weakening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Violation {
    /// Two servers accept.
    Two,
    /// Nobody does, and somebody who has the sockets waits for ever, or has given up.
    Nobody,
    /// Three servers may come to serve.
    Crowd,
    /// Sessions have left, and nobody has begun to serve.
    LeftTooSoon,
    /// The service was ended, and goes on.
    Resurrected,
}

#[derive(Clone, Debug, Hash)]
struct State {
    servers: [Server; SERVERS],
    lines: [Line; LINES],
    kills: u8,
    closes: u8,
    left_too_soon: bool,
    /// Somebody who had the sockets waited for the dead, and has given up.
    given_up: bool,
}

/// A connection.
#[derive(Clone, Debug, Default, Hash)]
struct Line {
    to_before: Vec<Message>,
    to_after: Vec<Message>,
    /// The predecessor takes no more (U5).
    cut: bool,
    /// The successor's end is open.
    after_open: bool,
    /// The predecessor's end; `None` while it waits in the backlog of the upgrade socket.
    before: Option<End>,
    taken_by: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Open,
    Closed,
}

/// What a server can do.
const STEPS: u8 = 11;
const SEEKS: u8 = 0;
const READY: u8 = 1;
const TAKES_IN: u8 = 2;
const HEARS_BEFORE: u8 = 3;
const HEARS_AFTER: u8 = 4;
const SENDS_BEFORE: u8 = 5;
const SENDS_AFTER: u8 = 6;
const LATE_BEFORE: u8 = 7;
const LATE_AFTER: u8 = 8;
const CLOSES: u8 = 9;
const DIES: u8 = 10;

impl Model for Case {
    type State = State;
    type Violation = Violation;

    fn initial(&self) -> State {
        let mut servers: [Server; SERVERS] = Default::default();
        servers[0].phase = Phase::In;
        servers[0].succession = Succession::first();
        let lines = Default::default();
        let (kills, closes) = (self.kills, self.closes);
        State { servers, lines, kills, closes, left_too_soon: false, given_up: false }
    }

    fn steps(&self, state: &State, found: &mut Vec<(u8, State)>) {
        for step in 0..self.servers as u8 * STEPS {
            let (server, kind) = (usize::from(step / STEPS), step % STEPS);
            let mut next = state.clone();
            if state.servers[server].phase != Phase::Dead && self.step(&mut next, server, kind) {
                found.push((step, next));
            }
        }
    }

    fn judge(&self, state: &State, steps: &[(u8, State)]) -> Option<Violation> {
        if state.left_too_soon {
            return Some(Violation::LeftTooSoon);
        }
        if state.given_up {
            return Some(Violation::Nobody);
        }
        let alive = || state.servers.iter().filter(|server| server.phase == Phase::In);
        match alive().filter(|server| self.accepts(server)).count() {
            0 | 1 => {}
            _ => return Some(Violation::Two),
        }
        let refused = |server: &Server| server.is_refused(&state.lines);
        if alive().filter(|server| server.may_serve() && !refused(server)).count() > 2 {
            return Some(Violation::Crowd);
        }
        if (0..SERVERS).any(|server| self.is_resurrected(state, server)) {
            return Some(Violation::Resurrected);
        }
        // To be killed or closed is no way out.
        if steps.iter().any(|(step, _)| step % STEPS < CLOSES) {
            return None;
        }
        let waits = alive().any(|server| server.may_serve());
        let served = alive().any(|server| self.accepts(server));
        (waits && !served).then_some(Violation::Nobody)
    }

    fn hash(&self, state: &State) -> u128 {
        let mut mix = Mix::default();
        state.hash(&mut mix);
        mix.finish()
    }

    fn describe(&self, state: &State, step: u8) -> String {
        const WORDS: [&str; STEPS as usize] = [
            "seeks",
            "is ready",
            "takes in who has connected",
            "hears its predecessor",
            "hears its successor",
            "sends to its predecessor",
            "sends to its successor",
            "loses patience with its predecessor",
            "loses patience with its successor",
            "closes",
            "dies",
        ];
        let (server, kind) = (usize::from(step / STEPS), usize::from(step % STEPS));
        format!("{server} {:?} {}", state.servers[server].succession, WORDS[kind])
    }
}

impl Case {
    fn is(&self, weakening: Weakening) -> bool {
        self.weak == Some(weakening)
    }

    fn step(&self, s: &mut State, server: usize, kind: u8) -> bool {
        match kind {
            SEEKS => self.seek(s, server),
            READY => self.ready(s, server),
            TAKES_IN => self.take_in(s, server),
            HEARS_BEFORE => self.hear(s, server, Side::Before),
            HEARS_AFTER => self.hear(s, server, Side::After),
            SENDS_BEFORE => self.send(s, server, Side::Before),
            SENDS_AFTER => self.send(s, server, Side::After),
            LATE_BEFORE => self.be_late(s, server, Side::Before),
            LATE_AFTER => self.be_late(s, server, Side::After),
            CLOSES => self.close(s, server),
            DIES => self.die(s, server),
            _ => unreachable!("there are no more"),
        }
    }

    fn accepts(&self, server: &Server) -> bool {
        let late = self.is(Weakening::StopsLate)
            && server.succession.after() == Predecessor::Yielded
            && server.succession.before().accepts();
        server.succession.accepts() || late
    }

    /// A predecessor accepts again though its successor lives, and has closed in good order.
    fn is_resurrected(&self, s: &State, server: usize) -> bool {
        let this = &s.servers[server];
        let Some(follower) = this.followed_by else { return false };
        this.phase == Phase::In
            && this.succession.accepts()
            && s.servers[follower].phase == Phase::Closed
    }
}
