//! `ipc-channel`: two of its channels of bytes for each ping-pong, which need no serialising.
//!
//! Payload is written in a private buffer and checked in the vector that was received.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use ::ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, bytes_channel,
};

use super::super::{Arm, Link, Offer, Transport};
use crate::args::{Bell, Trust, Wait};
use crate::payload::Payload;
use crate::transport::shm::other;

/// What the peer sends the driver for each link: its ends.
type Ends = (IpcBytesReceiver, IpcBytesSender);

#[derive(Debug)]
pub(crate) struct IpcChannel;

impl Transport for IpcChannel {
    type Ends = Vec<Channels>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Block;
        arm.trust = Trust::Untrusted;
        arm.bell = Bell::None;
        arm.batch = 1;
        arm.without_session();
        arm.descriptors(4)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Channels>>> {
        let arm = arm.clone();
        let (server, name) = IpcOneShotServer::<Ends>::new()?;
        fs::write(name_file(&arm), name)?;
        let complete = move || {
            let debug = |error| other(format!("{error:?}"));
            let (others, first) = server.accept().map_err(debug)?;
            let mut links = vec![Channels::new(&arm, first.1, first.0)];
            while links.len() < arm.streams {
                let (into, out) = others.recv().map_err(debug)?;
                links.push(Channels::new(&arm, out, into));
            }
            Ok(links)
        };
        Ok(Offer { fds: Vec::new(), complete: Box::new(complete) })
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Vec<Channels>> {
        let mut own = Vec::new();
        for arm in arm.clients() {
            let name = fs::read_to_string(name_file(&arm))?;
            let server: IpcSender<Ends> = IpcSender::connect(name)?;
            for _ in 0..arm.streams {
                let (to_driver, driver_receives) = bytes_channel()?;
                let (driver_sends, to_peer) = bytes_channel()?;
                own.push(Channels::new(&arm, to_driver, to_peer));
                let theirs = (driver_receives, driver_sends);
                server.send(theirs).map_err(|error| other(format!("{error:?}")))?;
            }
        }
        Ok(own)
    }
}

/// Where the name of the driver's server stands.
fn name_file(arm: &Arm) -> String {
    format!("{}-ipc-channel", arm.socket)
}

#[derive(Debug)]
pub(crate) struct Channels {
    out: IpcBytesSender,
    into: IpcBytesReceiver,
    payload: Payload,
    message: Vec<u8>,
}

impl Channels {
    fn new(arm: &Arm, out: IpcBytesSender, into: IpcBytesReceiver) -> Self {
        Self { out, into, payload: arm.payload(), message: vec![0; arm.size.0] }
    }
}

impl Link for Channels {
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            let message = &mut self.message[..self.payload.len(seq)];
            self.payload.fill(message, seq);
            self.out.send(message)?;
        }
        Ok(())
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let message = self.into.recv().map_err(|error| other(format!("{error:?}")))?;
        assert_eq!(message.len(), self.payload.len(seq), "message {seq} has a wrong length");
        self.payload.check(&message, seq);
        Ok(())
    }
}
