//! The peer: it follows the driver's orders, and is the echo of a ping-pong or the sender of a
//! one-way stream.

use std::io;
use std::os::fd::OwnedFd;

use crate::control::{Answer, Control, Order};
use crate::legs::Ends;
use crate::meter::Meter;
use crate::process;
use crate::transport::{self, Arm, Transport, Visitor};

/// Runs the peer until the driver hangs up.
pub(crate) fn run(parent: i32, cpu: Option<usize>) -> io::Result<()> {
    process::die_with(parent)?;
    process::pin(cpu)?;
    let control = Control::from_stdin()?;
    control.send(&Answer::Ready, &[])?;
    while let Some((order, fds)) = control.recv()? {
        match order {
            Order::Open(arm) => {
                transport::visit(arm.transport, Serve { control: &control, arm: &arm, fds })?;
            }
            other => return Err(out_of_turn(&other)),
        }
    }
    Ok(())
}

/// Takes part in one block.
struct Serve<'a> {
    control: &'a Control,
    arm: &'a Arm,
    fds: Vec<OwnedFd>,
}

impl Visitor for Serve<'_> {
    type Output = io::Result<()>;

    fn visit<T: Transport>(self) -> io::Result<()> {
        let mut ends = T::join(self.arm, self.fds)?;
        self.control.send(&Answer::Ready, &[])?;
        loop {
            match self.control.recv()? {
                Some((Order::Leg(leg), _)) => {
                    let mut meter = Meter::new(leg.counts);
                    self.control.send(&Answer::Ready, &[])?;
                    meter.start(ends.bells())?;
                    ends.answer(self.arm, leg)?;
                    self.control.send(&Answer::Done(meter.spent(ends.bells())?), &[])?;
                }
                Some((Order::Close, _)) => break,
                Some((other, _)) => return Err(out_of_turn(&other)),
                None => return Ok(()),
            }
        }
        drop(ends);
        self.control.send(&Answer::Ready, &[])
    }
}

fn out_of_turn(order: &Order) -> io::Error {
    io::Error::other(format!("the driver said {order:?} out of turn"))
}
