//! `shm-connect`: a session with one stream for each round trip.
//!
//! The peer listens. It lets go of a session when the next one comes, and the driver when it has its reply.

use std::io;
use std::os::fd::OwnedFd;

use shmipc_sync::{Config, Listener, Session, Stream};

use super::super::{Arm, Link, Offer, Transport};
use super::{PATIENCE, config, ended, other, settle};
use crate::args::{Bench, Trust};
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct ShmConnect;

impl Transport for ShmConnect {
    type Ends = Vec<Connected>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        if !matches!(arm.bench, Bench::Latency | Bench::Quiet) {
            return Err("not supported: its operation is one round trip".to_owned());
        }
        arm.trust = Trust::Untrusted;
        arm.without_session();
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let role = Role::Connects { path: path(arm), config: config(arm)? };
        Ok(Offer::ready(vec![Connected::new(arm, role)], Vec::new()))
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let listener = Listener::builder().config(config(arm)?).bind(path(arm)).map_err(other)?;
        Ok(vec![Connected::new(arm, Role::Listens(listener))])
    }
}

fn path(arm: &Arm) -> String {
    format!("{}-connect", arm.socket)
}

#[derive(Debug)]
pub(crate) struct Connected {
    role: Role,
    session: Option<(Session, Stream)>,
    payload: Payload,
    message: Vec<u8>,
}

#[derive(Debug)]
enum Role {
    Connects { path: String, config: Config },
    Listens(Listener),
}

impl Connected {
    fn new(arm: &Arm, role: Role) -> Self {
        Self { role, session: None, payload: arm.payload(), message: vec![0; arm.size.0] }
    }

    fn let_go(&mut self) {
        if let Some((session, stream)) = self.session.take() {
            drop(stream);
            session.close(0);
        }
    }
}

impl Link for Connected {
    fn send(&mut self, seq: u64, _count: u64) -> io::Result<()> {
        if let Role::Connects { path, config } = &self.role {
            let session = Session::connect_with(path, config).map_err(other)?;
            let stream = session.open().map_err(other)?;
            self.session = Some((session, stream));
        }
        let (_, stream) = self.session.as_mut().ok_or_else(ended)?;
        let message = &mut self.message[..self.payload.len(seq)];
        self.payload.fill(message, seq);
        stream.send(message).map_err(other)
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        if matches!(self.role, Role::Listens(_)) {
            self.let_go();
        }
        if let Role::Listens(listener) = &self.role {
            let session = listener.accept_timeout(PATIENCE).map_err(other)?;
            let session = session.ok_or_else(|| other("the driver does not connect"))?;
            let stream = session.accept().map_err(other)?;
            self.session = Some((session, stream));
        }
        let (_, stream) = self.session.as_mut().ok_or_else(ended)?;
        let message = stream.recv().map_err(other)?.ok_or_else(ended)?;
        assert_eq!(message.len(), self.payload.len(seq), "message {seq} has a wrong length");
        self.payload.check(&message, seq);
        if matches!(self.role, Role::Connects { .. }) {
            self.let_go();
        }
        Ok(())
    }
}
