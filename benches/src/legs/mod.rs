//! What the two processes do on their links in a leg.

mod lanes;
mod one_way;
mod over;
mod tasks;
mod threads;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quanta::Clock;
use serde::{Deserialize, Serialize};

use crate::control::Spent;
use crate::measure::Samples;
use crate::transport::Arm;

pub(crate) use lanes::Lanes;
pub(crate) use one_way::sample_len;
pub(crate) use over::Over;
pub(crate) use tasks::{Tasks, runtime};

/// Operations on the links of an arm.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Leg {
    /// How many have been done on each link.
    pub(crate) from: u64,
    /// How many are to be done, shared evenly by the links.
    pub(crate) ops: u64,
    /// When the first message is due, by the clock of both processes.
    pub(crate) start_ns: u64,
    /// System calls are counted; the time that it takes is not looked at.
    pub(crate) counts: bool,
}

impl Leg {
    /// When message `seq` is due at the rate of the arm.
    fn due_ns(self, arm: &Arm, seq: u64) -> u64 {
        self.start_ns + ((seq - self.from) as f64 * 1e9 / arm.rate as f64) as u64
    }
}

/// The ends of all links of an arm in one process, and who uses them: threads, or tasks.
pub(crate) trait Ends {
    /// The driver's part. Returns how many operations were timed, and how long they took.
    fn measure(
        &mut self,
        arm: &Arm,
        clock: &Clock,
        leg: Leg,
        over: &Arc<Over>,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)>;

    /// The peer's part.
    fn answer(&mut self, arm: &Arm, leg: Leg) -> io::Result<()>;

    /// How often this side has woken the other, over all links.
    fn bells(&self) -> u64;

    /// What other processes have spent on this side in the last leg, if not this one does the work.
    fn spent_elsewhere(&self) -> Option<Spent> {
        None
    }
}
