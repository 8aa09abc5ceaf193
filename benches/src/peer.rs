//! The peer: it follows the driver's orders, and is the echo of a ping-pong or the sender of a
//! one-way stream.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use crate::args::Bench;
use crate::control::{Answer, Control, Order, Spent};
use crate::process;
use crate::transport::{self, Arm, Link, Transport, Visitor};

/// Runs the peer until the driver hangs up.
pub(crate) fn run(driver: i32, cpu: Option<usize>) -> io::Result<()> {
    process::die_with(driver)?;
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
        let mut links = T::join(self.arm, self.fds)?;
        self.control.send(&Answer::Ready, &[])?;
        let mut done = 0;
        loop {
            match self.control.recv()? {
                Some((Order::Leg { ops }, _)) => {
                    self.control.send(&Answer::Ready, &[])?;
                    let spent = leg(self.arm, &mut links, done, ops)?;
                    done += ops / self.arm.streams as u64;
                    self.control.send(&Answer::Done(spent), &[])?;
                }
                Some((Order::Close, _)) => break,
                Some((other, _)) => return Err(out_of_turn(&other)),
                None => return Ok(()),
            }
        }
        drop(links);
        self.control.send(&Answer::Ready, &[])
    }
}

fn leg<L: Link>(arm: &Arm, links: &mut [L], from: u64, ops: u64) -> io::Result<Spent> {
    let (cpu_ns, bells) = (process::cpu_ns(), transport::bells(links));
    match arm.bench {
        Bench::Latency => links.iter_mut().try_for_each(|link| echo(link, from, ops))?,
        Bench::Throughput => links.iter_mut().try_for_each(|link| flood(arm, link, from, ops))?,
        Bench::Parallel => {
            let share = ops / arm.streams as u64;
            thread::scope(|scope| {
                let threads: Vec<_> = links
                    .iter_mut()
                    .map(|link| scope.spawn(move || echo(link, from, share)))
                    .collect();
                threads.into_iter().try_for_each(process::joined)
            })?;
        }
    }
    Ok(Spent { cpu_ns: process::cpu_ns() - cpu_ns, bells: transport::bells(links) - bells })
}

fn echo<L: Link>(link: &mut L, from: u64, ops: u64) -> io::Result<()> {
    (from..from + ops).try_for_each(|seq| {
        link.recv(2 * seq)?;
        link.send(2 * seq + 1, 1)
    })
}

fn flood<L: Link>(arm: &Arm, link: &mut L, from: u64, ops: u64) -> io::Result<()> {
    let mut seq = from;
    while seq < from + ops {
        let count = arm.batch.min(from + ops - seq);
        link.send(seq, count)?;
        seq += count;
    }
    Ok(())
}

fn out_of_turn(order: &Order) -> io::Error {
    io::Error::other(format!("the driver said {order:?} out of turn"))
}
