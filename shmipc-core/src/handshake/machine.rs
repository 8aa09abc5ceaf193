//! The handshake of either side: frames in, frames out.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::outbox::{self, Own, Peer};
use super::terms::{Terms, hello};
use super::{Authorization, Established, Role, refusal};
use crate::config::{Config, PeerCred};
use crate::error::{HandshakeError, PeerMisbehaved};
use crate::link::{Bell, PeerSocket};
use crate::mem::Own as OwnFiles;
use crate::wire::{self, Decoder, Frame, Hello};

/// A frame to send, with its descriptors.
#[derive(Debug)]
pub struct Transmit {
    /// The frame.
    pub bytes: Vec<u8>,
    /// What travels with it; to be closed once it is sent.
    pub fds: Vec<OwnedFd>,
}

/// One side of a handshake. It makes memory and checks the peer's, but knows no socket and no clock:
/// whoever drives it moves the frames and watches the deadline.
#[derive(Debug)]
pub struct Machine {
    role: Role,
    local: Hello,
    state: State,
    transmit: VecDeque<Transmit>,
    /// The peer is another process than this one.
    elsewhere: bool,
}

#[derive(Debug)]
enum State {
    /// The peer's Hello is next.
    Hello,
    /// The peer's Outbox is next. The client has made its own already (H3).
    Outbox { terms: Box<Terms>, own: Option<Own> },
    /// The client's Ready is next.
    Ready(Box<Agreed>),
    /// Nothing is next (H6).
    Done(Box<Agreed>),
    /// An error was returned.
    Failed,
}

#[derive(Debug)]
struct Agreed {
    terms: Terms,
    own: Own,
    peer: Peer,
}

impl Machine {
    /// Starts a handshake with a peer that was judged by its credentials.
    ///
    /// # Errors
    /// The refusal, if the judgement was one (H1).
    pub fn new(
        role: Role,
        config: &Config,
        authorization: Authorization,
    ) -> Result<Self, HandshakeError> {
        authorization.check()?;
        let local = hello(config);
        let mut transmit = VecDeque::new();
        if role == Role::Client {
            transmit.push_back(Transmit { bytes: local.encode(), fds: Vec::new() });
        }
        Ok(Self { role, local, state: State::Hello, transmit, elsewhere: false })
    }

    /// The peer is known to be another process: no segment that this one writes can be its own.
    pub fn peer_is_elsewhere(&mut self) {
        self.elsewhere = true;
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Takes the next frame of the peer.
    ///
    /// # Errors
    /// Every error is final. [`refusal_frame`](super::refusal_frame) gives what to tell the peer.
    pub fn handle_frame(&mut self, frame: Frame) -> Result<(), HandshakeError> {
        self.state = match (std::mem::replace(&mut self.state, State::Failed), frame) {
            (_, Frame::Refuse(refuse)) => {
                return Err(HandshakeError::Refused(refusal::decode(refuse, &self.local)));
            }
            (State::Hello, Frame::Hello(theirs)) => self.on_hello(&theirs)?,
            (State::Outbox { terms, own }, Frame::Outbox(theirs)) => {
                self.on_outbox(*terms, own, theirs)?
            }
            (State::Ready(agreed), Frame::Ready) => State::Done(agreed),
            _ => return Err(PeerMisbehaved::Frame.into()),
        };
        Ok(())
    }

    /// Most descriptors that may come with what is read next. Each side waits for the other's Hello before
    /// it passes any; behind a Ready the session's first segment may follow.
    pub fn max_fds(&self) -> usize {
        match self.state {
            State::Hello | State::Failed => 0,
            State::Outbox { .. } => 3,
            State::Ready(_) | State::Done(_) => 1,
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.pop_front()
    }

    /// Whether the peer cannot have come to its end yet, so that it takes a refusal for an answer.
    pub fn is_refusable(&self) -> bool {
        matches!((self.role, &self.state), (Role::Server, State::Hello | State::Outbox { .. }))
    }

    /// True once the peer's last frame was taken. Ours may still be waiting in
    /// [`poll_transmit`](Self::poll_transmit).
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Puts the session together, if the machine is done: with the socket, the decoder that read it,
    /// and the credentials that were judged.
    pub fn finish(
        self,
        socket: PeerSocket,
        mut decoder: Decoder,
        cred: PeerCred,
    ) -> Option<Established> {
        decoder.expect(self.max_fds());
        let State::Done(agreed) = self.state else { return None };
        let Agreed { terms, own, peer } = *agreed;
        let bell = match (own.eventfd, peer.eventfd) {
            (Some(ours), Some(theirs)) => Bell::Eventfd { ours, theirs },
            _ => Bell::Socket,
        };
        Some(Established {
            role: self.role,
            socket,
            decoder,
            own: own.mapping,
            own_file: own.file,
            peer: peer.mapping,
            out: terms.out,
            incoming: terms.incoming,
            bell,
            wait: own.wait,
            features: terms.features,
            peer_pidfd: peer.pidfd,
            peer_cred: cred,
            peer_wait: terms.peer_wait,
            peer_trusts: terms.peer_trusts,
            peer_app_version: terms.peer_app_version,
            peer_is_elsewhere: self.elsewhere,
            place: None,
        })
    }

    fn on_hello(&mut self, theirs: &Hello) -> Result<State, HandshakeError> {
        let terms = Terms::agree(&self.local, theirs).map_err(HandshakeError::RefusedPeer)?;
        let own = match self.role {
            Role::Client => Some(self.make_own(&terms)?),
            Role::Server => {
                self.send(self.local.encode());
                None
            }
        };
        Ok(State::Outbox { terms: Box::new(terms), own })
    }

    fn on_outbox(
        &mut self,
        terms: Terms,
        own: Option<Own>,
        theirs: wire::Outbox,
    ) -> Result<State, HandshakeError> {
        let files: Vec<_> = own.iter().map(|own| own.file).collect();
        let ours = if self.elsewhere { OwnFiles::Process } else { OwnFiles::These(&files) };
        let peer = outbox::adopt(theirs, &terms, ours)?;
        match own {
            Some(own) => {
                self.send(wire::ready());
                Ok(State::Done(Box::new(Agreed { terms, own, peer })))
            }
            None => {
                let own = self.make_own(&terms)?;
                Ok(State::Ready(Box::new(Agreed { terms, own, peer })))
            }
        }
    }

    fn make_own(&mut self, terms: &Terms) -> Result<Own, HandshakeError> {
        let (own, transmit) = outbox::make(terms)?;
        self.transmit.push_back(transmit);
        Ok(own)
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.transmit.push_back(Transmit { bytes, fds: Vec::new() });
    }
}
