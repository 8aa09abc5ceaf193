//! `zmq`: a pair of ZeroMQ sockets over `ipc:` for each ping-pong, with the one I/O thread of the library.
//! In `fan-in` the server has a context, and so such a thread, for each client.
//!
//! Payload is written in a private buffer, which the library copies into a message of its own, and is checked in
//! the message that arrived. The library gathers into one write what it finds waiting: a batch needs no call.

use std::io;
use std::os::fd::OwnedFd;

use ::zmq::{Context, Message, PAIR, Socket};

use super::super::{Arm, Link, Offer, Transport};
use crate::args::{Bell, Trust, Wait};
use crate::payload::Payload;
use crate::transport::shm::other;

/// Sockets of one context, which has one I/O thread: more than 1023 it refuses, and the crate cannot change that.
const SOCKETS: usize = 1000;

#[derive(Debug)]
pub(crate) struct Zeromq;

impl Transport for Zeromq {
    type Ends = Vec<Pair>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Block;
        arm.trust = Trust::Untrusted;
        arm.bell = Bell::None;
        arm.without_session();
        // A socket has a connection and a descriptor to wake its thread and the library's.
        arm.descriptors(4)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Pair>>> {
        let pairs = pairs(arm, |socket, place| socket.bind(place))?;
        Ok(Offer::ready(pairs, Vec::new()))
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Vec<Pair>> {
        let mut all = Vec::new();
        for arm in arm.clients() {
            all.extend(pairs(&arm, |socket, place| socket.connect(place))?);
        }
        Ok(all)
    }
}

fn pairs(arm: &Arm, attach: impl Fn(&Socket, &str) -> ::zmq::Result<()>) -> io::Result<Vec<Pair>> {
    let contexts: Vec<Context> =
        (0..arm.streams.div_ceil(SOCKETS)).map(|_| Context::new()).collect();
    let pair = |number: usize| {
        let socket = contexts[number / SOCKETS].socket(PAIR).map_err(other)?;
        socket.set_linger(0).map_err(other)?;
        attach(&socket, &format!("ipc://{}-zmq-{number}", arm.socket)).map_err(other)?;
        Ok(Pair { socket, payload: arm.payload(), out: vec![0; arm.size.0], into: Message::new() })
    };
    (0..arm.streams).map(pair).collect()
}

pub(crate) struct Pair {
    socket: Socket,
    payload: Payload,
    out: Vec<u8>,
    into: Message,
}

impl Link for Pair {
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            let message = &mut self.out[..self.payload.len(seq)];
            self.payload.fill(message, seq);
            self.socket.send(&*message, 0).map_err(other)?;
        }
        Ok(())
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        self.socket.recv(&mut self.into, 0).map_err(other)?;
        assert_eq!(self.into.len(), self.payload.len(seq), "message {seq} has a wrong length");
        self.payload.check(&self.into, seq);
        Ok(())
    }
}
