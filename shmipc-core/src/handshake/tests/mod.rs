//! Handshakes over socket pairs, both ends in this thread: nothing blocks, so nothing needs a clock.

mod authorizers;
mod connecting;
mod hostile;
mod memory;
mod pairs;
mod puppet;

use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::{Established, Exchange, Progress, Role};
use crate::config::{BellKind, Config, ConfigBuilder};
use crate::error::HandshakeError;
use crate::mem::PeerTrust;

type Outcome = Result<Established, HandshakeError>;

/// Two connected sockets that never block.
fn sockets() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::Stream, None, flags).unwrap()
}

fn config(build: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Config {
    build(Config::builder().application("test", 1)).build().unwrap()
}

#[allow(unsafe_code)]
fn trust() -> PeerTrust {
    // SAFETY: both ends are this thread, which never writes to what it has lent.
    unsafe { PeerTrust::promise() }
}

/// A side that wants the eventfd bell and trusts its peer.
fn eventfd_config() -> Config {
    config(|b| b.bell(BellKind::Eventfd).trust(trust()))
}

/// Runs both ends until both have an outcome.
fn handshake(client: &Config, server: &Config) -> (Outcome, Outcome) {
    let (a, b) = sockets();
    let mut ends = [
        (Exchange::new(Role::Client, a, client).map(Some), None),
        (Exchange::new(Role::Server, b, server).map(Some), None),
    ];
    for _ in 0..20 {
        for (exchange, outcome) in &mut ends {
            if outcome.is_none() {
                *outcome = step(exchange);
            }
        }
    }
    let [(_, client), (_, server)] = ends;
    (client.expect("the client ends"), server.expect("the server ends"))
}

/// One step of one end; its outcome, once there is one. The socket closes with the failure.
fn step(exchange: &mut Result<Option<Exchange>, HandshakeError>) -> Option<Outcome> {
    let progress = match exchange {
        Err(error) => return Some(Err(error.clone())),
        Ok(running) => running.as_mut()?.progress(),
    };
    match progress {
        Ok(Progress::Pending(_)) => None,
        Ok(Progress::Done) => {
            let done = std::mem::replace(exchange, Ok(None)).unwrap().unwrap();
            Some(Ok(done.finish().unwrap()))
        }
        Err(error) => {
            *exchange = Ok(None);
            Some(Err(error))
        }
    }
}
