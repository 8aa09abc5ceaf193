//! shmipc, blocking flavour: `shm-sync`, whose links are streams of one session, and `shm-streams`,
//! which opens, uses once and closes a stream for each round trip.
//!
//! The driver listens and accepts, the peer connects. The driver opens the streams. Limits are the
//! defaults; more streams than these allow get the ring that they need.

mod company;
mod connected;
mod kept;
mod once;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use shmipc_sync::{BellKind, Config, Limits, Listener, Session, WaitMode};

use super::{Arm, Link, Offer, Side, Transport};
use crate::args::{Bell, Size, Trust, Wait};
use crate::mem;

pub(crate) use connected::ShmConnect;
use kept::Kept;
use once::Once;

/// The peer connects at once, or something is wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct ShmSync;

impl Transport for ShmSync {
    type Ends = Vec<Kept>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        settle(arm)?;
        if arm.size.0 > Limits::default().inline_max as usize {
            // A message in an extent is published by its commit.
            arm.batch = 1;
        }
        Ok(())
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Kept>>> {
        offer(arm, Kept::links)
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Vec<Kept>> {
        join(arm, Kept::links)
    }
}

#[derive(Debug)]
pub(crate) struct ShmStreams;

impl Transport for ShmStreams {
    type Ends = Vec<Once>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.one_round_trip()?;
        arm.trust = Trust::Untrusted;
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Once>>> {
        offer(arm, Once::links)
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Vec<Once>> {
        join(arm, Once::links)
    }
}

pub(super) fn settle(arm: &mut Arm) -> Result<(), String> {
    if arm.trust == Trust::Untrusted {
        // The library uses an eventfd between trusted peers only.
        arm.bell = Bell::Socket;
    }
    config(arm).map(drop).map_err(|error| error.to_string())
}

/// How a session with its further streams becomes links.
type Links<L> = fn(&Arm, Session, Side) -> io::Result<Vec<L>>;

fn offer<L: Link + 'static>(arm: &Arm, links: Links<L>) -> io::Result<Offer<Vec<L>>> {
    let arm = arm.clone();
    let listener = Listener::builder().config(config(&arm)?).bind(&arm.socket).map_err(other)?;
    let complete = move || {
        let session = listener.accept_timeout(PATIENCE).map_err(other)?;
        let session = session.ok_or_else(|| other("the peer does not connect"))?;
        links(&arm, session, Side::Driver)
    };
    Ok(Offer { fds: Vec::new(), complete: Box::new(complete) })
}

fn join<L>(arm: &Arm, links: Links<L>) -> io::Result<Vec<L>> {
    let mut all = Vec::new();
    for arm in arm.clients() {
        let session = Session::connect_with(&arm.socket, &config(&arm)?).map_err(other)?;
        all.extend(links(&arm, session, Side::Peer)?);
    }
    Ok(all)
}

pub(super) fn config(arm: &Arm) -> io::Result<Config> {
    let builder = Config::builder().wait(wait_mode(arm.wait)).bell(match arm.bell {
        Bell::Eventfd => BellKind::Eventfd,
        Bell::Socket | Bell::None => BellKind::Socket,
    });
    let builder = match arm.trust {
        Trust::Untrusted => builder,
        Trust::Trusted => builder.trust(mem::trust_the_peer()),
    };
    // What is larger than the library takes by default gets as much room, and no more.
    let builder = match arm.size.0 > Limits::default().max_message as usize {
        true => {
            let size = u32::try_from(arm.size.0).unwrap_or(u32::MAX);
            builder.max_message(size).arena_max(size.next_power_of_two().saturating_mul(8))
        }
        false => builder,
    };
    let streams = arm.streams + arm.parked + arm.open;
    let builder = match streams > Limits::default().max_streams as usize {
        true => builder.max_streams(streams as u32).ring_bytes(ring_for(streams)),
        false => builder,
    };
    let builder = match arm.ring {
        Some(Size(bytes)) => builder.ring_bytes(u32::try_from(bytes).unwrap_or(u32::MAX)),
        None => builder,
    };
    builder.build().map_err(other)
}

pub(crate) fn wait_mode(wait: Wait) -> WaitMode {
    match wait {
        Wait::Spin => WaitMode::Spin,
        Wait::Adaptive => WaitMode::Adaptive,
        Wait::Block => WaitMode::Block,
    }
}

/// The smallest ring whose control reserve has room for so many streams.
fn ring_for(streams: usize) -> u32 {
    let least = (streams * 128 + 256) * 8 / 3;
    u32::try_from(least.next_power_of_two()).unwrap_or(u32::MAX)
}

pub(super) fn ended() -> io::Error {
    other("the stream ended")
}

pub(super) fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}
