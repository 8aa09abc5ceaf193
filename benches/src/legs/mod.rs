//! What the two processes do on their links in a leg.

mod lanes;
mod tasks;
mod threads;

use std::io;
use std::time::Duration;

use quanta::Clock;

use crate::measure::Samples;
use crate::transport::Arm;

pub(crate) use lanes::Lanes;
pub(crate) use tasks::{Tasks, runtime};
pub(crate) use threads::sample_len;

/// The ends of all links of an arm in one process, and who uses them: threads, or tasks.
pub(crate) trait Ends {
    /// The driver's part in `ops` operations. Returns how many were timed, and how long they took.
    fn measure(
        &mut self,
        arm: &Arm,
        clock: &Clock,
        from: u64,
        ops: u64,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)>;

    /// The peer's part.
    fn answer(&mut self, arm: &Arm, from: u64, ops: u64) -> io::Result<()>;

    /// How often this side has woken the other, over all links.
    fn bells(&self) -> u64;
}
