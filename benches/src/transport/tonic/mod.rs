//! `tonic-shm`, `tonic-uds` and `tonic-duplex`: unary calls of gRPC by tonic, over one connection.
//!
//! The driver calls, the peer serves, and an operation is a call; calls side by side share the connection.
//! `tonic-duplex` is what gRPC costs without any transport: both ends are tasks of the driver's runtime
//! with a pipe in memory between them, and the peer has nothing to do.
//!
//! Payload is written in a private buffer, which becomes the message, and checked in the message.

mod calls;
mod serves;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use quanta::Clock;
use shmipc_http::{Address, Connector, grpc};

use super::{Arm, Offer, Transport, shm};
use crate::args::{Bell, Bench, Trust, Wait};
use crate::legs::{Ends, Leg, Over, Tasks, runtime};
use crate::measure::Samples;

use calls::Caller;
use serves::Serving;

#[derive(Debug)]
pub(crate) struct TonicShm;

#[derive(Debug)]
pub(crate) struct TonicUds;

#[derive(Debug)]
pub(crate) struct TonicDuplex;

impl Transport for TonicShm {
    type Ends = End;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        let ring = arm.ring;
        settle(arm)?;
        arm.ring = ring;
        shm::config(arm).map(drop).map_err(|error| error.to_string())?;
        arm.bell = Bell::Socket;
        Ok(())
    }

    fn offer(arm: &Arm) -> io::Result<Offer<End>> {
        let address = Address::Shm(socket(arm).into());
        connects(arm, &address, Connector::with_config(&address, shm::config(arm)?))
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<End> {
        let address = Address::Shm(socket(arm).into());
        Ok(End::Serves(Serving::start(arm, &address, shm::config(arm)?)?))
    }
}

impl Transport for TonicUds {
    type Ends = End;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Block;
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<End>> {
        let address = Address::Unix(socket(arm).into());
        connects(arm, &address, Connector::new(&address))
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<End> {
        let address = Address::Unix(socket(arm).into());
        Ok(End::Serves(Serving::start(arm, &address, shm::config(arm)?)?))
    }
}

impl Transport for TonicDuplex {
    type Ends = End;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Block;
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<End>> {
        let runtime = runtime(arm)?;
        let inside = runtime.enter();
        let channel = serves::in_memory(arm);
        drop(inside);
        Ok(Offer::ready(End::Calls(Tasks::new(Caller::all(arm, &channel), runtime)), Vec::new()))
    }

    fn join(_arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<End> {
        Ok(End::Nothing)
    }
}

/// What holds for all three.
fn settle(arm: &mut Arm) -> Result<(), String> {
    if arm.bench.is_one_way() {
        return Err("not supported: its operation is a round trip".to_owned());
    }
    if arm.mixed || arm.bench == Bench::FanIn {
        return Err("not supported: one connection and one size".to_owned());
    }
    arm.trust = Trust::Untrusted;
    arm.bell = Bell::None;
    arm.without_session();
    Ok(())
}

/// Not where another transport has left a file.
fn socket(arm: &Arm) -> String {
    format!("{}-{}", arm.socket, arm.transport)
}

/// Callers, which connect at their first call: the peer has joined by then.
fn connects(arm: &Arm, address: &Address, connector: Connector) -> io::Result<Offer<End>> {
    let runtime = runtime(arm)?;
    let inside = runtime.enter();
    let channel = grpc::endpoint(address).connect_with_connector_lazy(connector);
    drop(inside);
    Ok(Offer::ready(End::Calls(Tasks::new(Caller::all(arm, &channel), runtime)), Vec::new()))
}

/// The two processes have different parts.
#[derive(Debug)]
pub(crate) enum End {
    /// The driver.
    Calls(Tasks<Caller>),
    /// The peer.
    Serves(Serving),
    /// The peer, which is not needed.
    Nothing,
}

impl Ends for End {
    fn measure(
        &mut self,
        arm: &Arm,
        clock: &Clock,
        leg: Leg,
        over: &Arc<Over>,
        samples: &mut Samples,
    ) -> io::Result<(u64, Duration)> {
        match self {
            Self::Calls(callers) => callers.measure(arm, clock, leg, over, samples),
            Self::Serves(_) | Self::Nothing => Err(io::Error::other("the peer does not call")),
        }
    }

    fn answer(&mut self, arm: &Arm, leg: Leg) -> io::Result<()> {
        match self {
            Self::Serves(serving) => serving.until(leg.from * arm.streams as u64 + leg.ops),
            Self::Calls(_) | Self::Nothing => {}
        }
        Ok(())
    }

    /// They are not counted: adapters do not show their sessions.
    fn bells(&self) -> u64 {
        0
    }
}
