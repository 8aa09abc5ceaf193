//! The driver: it measures one block after another, with the peer that it starts.
//!
//! It is a process of its own, so that a link that hangs, or a process that dies, ends these two and no more.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::measure::{Block, Measure};
use crate::process::{self, Child, Peer, Watchdog};
use crate::transport::Arm;

/// What the driver is asked to measure.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    arm: Arm,
    duration: Duration,
    /// Also counts system calls, in a leg that is not timed.
    counts: bool,
}

/// What it says once its peer is there.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    peer: u32,
}

/// Runs the driver until nothing more is to be measured.
pub(crate) fn run(
    parent: i32,
    cpu: Option<usize>,
    peer_cpu: Option<usize>,
    patience_ms: u64,
) -> io::Result<()> {
    process::die_with(parent)?;
    process::pin(cpu)?;
    let orders = Control::from_stdin()?;
    let (control, peer_end) = Control::pair()?;
    let (peer, pid) = Peer::start("peer", peer_cpu, peer_end)?;
    control.expect_ready()?;
    let watchdog = Watchdog::start(Duration::from_millis(patience_ms))?;
    let measure = Measure::new(control, watchdog, cpu)?;
    orders.send(&Ready { peer: pid }, &[])?;
    while let Some((Order { arm, duration, counts }, _)) = orders.recv()? {
        orders.send(&measure.block(&arm, duration, counts)?, &[])?;
    }
    peer.leave();
    drop(measure);
    peer.join()
}

/// A driver with its peer, seen from the process that lets arms take turns.
#[derive(Debug)]
pub(crate) struct Driver {
    control: Control,
    child: Child,
    pub(crate) peer: u32,
}

impl Driver {
    /// Starts both, on these CPUs. They give up after `patience` without progress.
    pub(crate) fn start(
        cpu: Option<usize>,
        peer_cpu: Option<usize>,
        patience: Duration,
    ) -> io::Result<Self> {
        let (control, end) = Control::pair()?;
        let mut command = process::again("driver", cpu);
        command.args(["--patience-ms", &patience.as_millis().to_string()]);
        if let Some(cpu) = peer_cpu {
            command.args(["--peer-cpu", &cpu.to_string()]);
        }
        let child = Child::start(command, end)?;
        match control.recv::<Ready>()? {
            Some((Ready { peer }, _)) => Ok(Self { control, child, peer }),
            None => Err(io::Error::other(child.end().err().unwrap_or_default())),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Measures a block. After an error there is no driver any more.
    pub(crate) fn block(&self, arm: &Arm, duration: Duration, counts: bool) -> io::Result<Block> {
        self.child.forget();
        let sent = self.control.send(&Order { arm: arm.clone(), duration, counts }, &[]);
        match sent.and_then(|()| self.control.recv::<Block>()) {
            Ok(Some((block, _))) => Ok(block),
            _ => Err(io::Error::other("the driver is gone")),
        }
    }

    /// Waits until both have ended. What they said last, if they did not end well.
    pub(crate) fn end(self) -> Result<(), String> {
        drop(self.control);
        self.child.end()
    }
}
