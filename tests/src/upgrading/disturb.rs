//! Upgrades in which somebody is killed, or stops for a while.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::plan::{Kill, OF_BOTH, OF_PREDECESSOR, OF_SUCCESSOR, UPGRADE};
use super::run::{Run, STALL, wait_for_stop};
use super::witness::{Witness, hold};
use crate::blocking::Blocking;

/// Servers that learn of a death, until they say that they serve.
const PREDECESSOR: &str = "predecessor";
const SUCCESSOR: &str = "successor";

impl Run {
    /// An upgrade in which somebody is killed at this step, or stops.
    pub(super) fn disturb(
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

    /// The next server is killed at this step, and the one before it goes on; the longest wait.
    fn kill_successor(&mut self, step: &str) -> Duration {
        // Else it might have nothing to do any more, and end.
        let held = hold::<Blocking>(&self.place, 0, self.last);
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
        let dead = Instant::now();
        if step == "serving" {
            self.server.line("resumed");
            self.learned.push((PREDECESSOR, dead.elapsed()));
        }
        let longest = self.wait_for_clients();
        drop(held);
        longest
    }

    /// The server is killed when the next one is at this step, which then goes on; the longest wait.
    fn kill_predecessor(&mut self, step: &str) -> Duration {
        let stops = OF_PREDECESSOR.contains(&step);
        let pauses = !stops && step != "starting";
        let witnesses = Witness::all(&self.place, self.number);
        let mut next = self.next(if stops { "" } else { step });
        if stops {
            wait_for_stop(&self.server);
        } else if pauses {
            next.line(step);
        }
        self.server.kill();
        let dead = Instant::now();
        if pauses {
            next.say("go on");
        }
        if step != "serving" {
            next.line("serving");
        }
        if stops {
            // It was waiting for the one that was killed.
            self.learned.push((SUCCESSOR, dead.elapsed()));
        }
        self.ask(witnesses, dead);
        self.server = next;
        self.number = self.last;
        self.wait_for_clients()
    }

    /// The next server is killed, or stops, when it is succeeded while this one is still needed.
    fn disturb_between(&mut self, kill: Kill, step: &str) -> Duration {
        // Until then this one is not drained.
        let held = hold::<Blocking>(&self.place, 0, self.number);
        let mut between = self.next(step);
        between.line("serving");
        self.server.line("handed over");
        let witnesses = (kill != Kill::Nobody).then(|| Witness::all(&self.place, self.last));
        let mut last = self.next("");
        wait_for_stop(&between);
        if kill == Kill::Nobody {
            thread::sleep(STALL);
            between.signal(Signal::SIGCONT);
        } else {
            between.kill();
        }
        let dead = Instant::now();
        last.line("serving");
        if let Some(witnesses) = witnesses {
            self.learned.push((SUCCESSOR, dead.elapsed()));
            self.ask(witnesses, dead);
        }
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

    /// When the witnesses have learned of a death.
    fn ask(&mut self, witnesses: [Witness; 2], dead: Instant) {
        for witness in witnesses {
            let (who, learned) = witness.testify();
            self.learned.push((who, learned.saturating_duration_since(dead)));
        }
    }
}
