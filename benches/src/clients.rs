//! `fan-in`: the clients of one server, a process for each, on the driver's CPU.
//!
//! A client is to the peer what the driver is in other benchmarks, with one link. The driver passes on what it
//! offers, tells all of them when to start, and merges what they have measured:
//!
//! ```text
//!   driver                                   each client
//!   Open(its arm), the word `over` ──────▶   offers its link
//!                            ◀─────────────  Offered + descriptors
//!                 … the peer joins all links …
//!                            ◀─────────────  Ready
//!   Leg                      ─────────────▶  its share of the round trips, from the same moment on
//!                            ◀─────────────  Measured
//!   (end of file)            ─────────────▶  exits
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use quanta::Clock;
use serde::{Deserialize, Serialize};

use crate::control::{Control, Order, Spent};
use crate::legs::{Ends, Leg, Over};
use crate::measure::Samples;
use crate::meter::Meter;
use crate::process::{self, Peer};
use crate::transport::{self, Arm, Transport, Visitor};

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// Descriptors for the peer come along.
    Offered,
    /// The link is there.
    Ready,
    Measured(Measured),
}

/// What a client has measured in a leg.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    samples: Samples,
    timed_ops: u64,
    /// By the clock of all processes.
    start_ns: u64,
    end_ns: u64,
    spent: Spent,
}

/// Runs a client until the driver hangs up.
pub(crate) fn run(parent: i32, cpu: Option<usize>) -> io::Result<()> {
    process::die_with(parent)?;
    process::pin(cpu)?;
    let control = Control::from_stdin()?;
    match control.recv()? {
        Some((Order::Open(arm), fds)) => {
            let [over] = transport::only(fds)?;
            let over = Arc::new(Over::join(over)?);
            transport::visit(arm.transport, Client { control: &control, arm: &arm, over })
        }
        other => Err(out_of_turn(&other)),
    }
}

fn out_of_turn(order: &impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("the driver said {order:?} out of turn"))
}

struct Client<'a> {
    control: &'a Control,
    arm: &'a Arm,
    over: Arc<Over>,
}

impl Visitor for Client<'_> {
    type Output = io::Result<()>;

    fn visit<T: Transport>(self) -> io::Result<()> {
        let offer = T::offer(self.arm)?;
        self.control.send(&Answer::Offered, &offer.fds)?;
        drop(offer.fds);
        let mut ends = (offer.complete)()?;
        self.control.send(&Answer::Ready, &[])?;
        let clock = Clock::new();
        loop {
            match self.control.recv()? {
                Some((Order::Leg(leg), _)) => {
                    let measured = self.measured(&clock, &mut ends, leg)?;
                    self.control.send(&Answer::Measured(measured), &[])?;
                }
                None => return Ok(()),
                other => return Err(out_of_turn(&other)),
            }
        }
    }
}

impl Client<'_> {
    fn measured(&self, clock: &Clock, ends: &mut impl Ends, leg: Leg) -> io::Result<Measured> {
        let (mut samples, mut meter) = (Samples::new(), Meter::new(leg.counts));
        thread::sleep(Duration::from_nanos(leg.start_ns.saturating_sub(process::now_ns())));
        meter.start(ends.bells())?;
        let start_ns = process::now_ns();
        let (timed_ops, elapsed) = ends.measure(self.arm, clock, leg, &self.over, &mut samples)?;
        let spent = meter.spent(ends.bells())?;
        let end_ns = start_ns + elapsed.as_nanos() as u64;
        Ok(Measured { samples, timed_ops, start_ns, end_ns, spent })
    }
}

/// The clients of an arm, seen from the driver.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<(Control, Peer)>,
    /// On the last leg.
    spent: Spent,
}

impl Clients {
    /// Starts them. Gives the descriptors for the peer.
    pub(crate) fn start(
        arm: &Arm,
        cpu: Option<usize>,
        over: &Over,
    ) -> io::Result<(Self, Vec<OwnedFd>)> {
        let (mut clients, mut fds) = (Vec::new(), Vec::new());
        for its in arm.clients() {
            let (control, end) = Control::pair()?;
            let (client, _) = Peer::start("client", cpu, end)?;
            control.send(&Order::Open(its), &[over.fd()?])?;
            clients.push((control, client));
        }
        for (control, _) in &clients {
            match control.recv()? {
                Some((Answer::Offered, of_one)) => fds.extend(of_one),
                other => return Err(unexpected(other)),
            }
        }
        Ok((Self { clients, spent: Spent::default() }, fds))
    }

    /// Waits until each has its link to the peer.
    pub(crate) fn complete(self) -> io::Result<Self> {
        for (control, _) in &self.clients {
            match control.recv()? {
                Some((Answer::Ready, _)) => {}
                other => return Err(unexpected(other)),
            }
        }
        Ok(self)
    }
}

fn unexpected(answer: Option<(Answer, Vec<OwnedFd>)>) -> io::Error {
    match answer {
        Some((answer, _)) => io::Error::other(format!("a client answered {answer:?} out of turn")),
        None => io::Error::new(io::ErrorKind::UnexpectedEof, "a client process is gone"),
    }
}

impl Ends for Clients {
    fn measure(
        &mut self,
        _arm: &Arm,
        _clock: &Clock,
        leg: Leg,
        _over: &Arc<Over>,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        let share = Leg { ops: leg.ops / self.clients.len() as u64, ..leg };
        for (control, _) in &self.clients {
            control.send(&Order::Leg(share), &[])?;
        }
        let (mut timed_ops, mut first, mut last) = (0, u64::MAX, 0);
        let mut spent = Spent { syscalls: Some(0), ..Spent::default() };
        for (control, _) in &self.clients {
            let measured = match control.recv()? {
                Some((Answer::Measured(measured), _)) => measured,
                other => return Err(unexpected(other)),
            };
            samples.add(&measured.samples);
            timed_ops += measured.timed_ops;
            (first, last) = (first.min(measured.start_ns), last.max(measured.end_ns));
            spent.add(&measured.spent);
        }
        self.spent = spent;
        Ok((timed_ops, Duration::from_nanos(last.saturating_sub(first))))
    }

    fn answer(&mut self, _arm: &Arm, _leg: Leg) -> io::Result<()> {
        Err(io::Error::other("clients have no clients"))
    }

    fn bells(&self) -> u64 {
        0
    }

    fn spent_elsewhere(&self) -> Option<Spent> {
        Some(self.spent)
    }
}

impl Drop for Clients {
    /// Nothing of them is left when the next arm is measured.
    fn drop(&mut self) {
        for (control, client) in self.clients.drain(..) {
            client.leave();
            drop(control);
            if let Err(error) = client.join() {
                eprintln!("ipcbench: a client: {error}");
            }
        }
    }
}
