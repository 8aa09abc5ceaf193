//! A handshake on a socket, without ever blocking.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Established, Machine, Role, Transmit, authorize_socket, refusal_frame};
use crate::config::{Config, PeerCred};
use crate::error::{HandshakeError, Refusal};
use crate::link::{self, PeerSocket, Receive, Sent};
use crate::mem;
use crate::steps::{self, Step};
use crate::wire::Decoder;

/// One handshake in progress. `AsFd` is the socket: call [`progress`](Self::progress) whenever it is
/// readable, or writable if that was asked for.
#[derive(Debug)]
pub struct Exchange {
    socket: PeerSocket,
    cred: PeerCred,
    decoder: Decoder,
    machine: Machine,
    /// A frame that the socket would not take yet.
    unsent: Option<Transmit>,
    /// The peer has closed its end; what it said before is still to be read.
    gone: bool,
    /// Frames taken from the peer.
    heard: u8,
}

/// Where a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a handshake that is not done needs to be waited for"]
pub enum Progress {
    /// Call again when one of these things has happened.
    Pending(Until),
    /// It has succeeded: [`Exchange::finish`] gives the result.
    Done,
}

/// What a handshake waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// The socket is readable.
    pub readable: bool,
    /// The socket is writable.
    pub writable: bool,
    /// A few milliseconds have passed.
    pub paused: bool,
}

impl Exchange {
    /// Takes over a connected socket that never blocks, asks the authorizer, and starts. If the peer
    /// is refused, it is told.
    ///
    /// # Errors
    /// [`HandshakeError`]: the peer was refused, or the socket failed, or this kernel does not keep memory
    /// from peers that are not trusted.
    pub fn new(
        role: Role,
        socket: impl Into<PeerSocket>,
        config: &Config,
    ) -> Result<Self, HandshakeError> {
        let socket = socket.into();
        let cred = link::peer_cred(socket.as_fd())?;
        // Of a listener, the process that made it is told, which may be another one.
        let is_elsewhere = role == Role::Server && !cred.is_this_process();
        Self::with(role, socket, cred, is_elsewhere, config)
    }

    /// The same, where it is known whether the peer is another process.
    pub(super) fn with(
        role: Role,
        socket: PeerSocket,
        cred: PeerCred,
        is_elsewhere: bool,
        config: &Config,
    ) -> Result<Self, HandshakeError> {
        if !config.is_trusted() && mem::is_sealed_memory_writable() {
            return Err(HandshakeError::SealBroken);
        }
        steps::reach(Step::Connected);
        match Machine::new(role, config, authorize_socket(config, socket.as_fd(), cred)) {
            Ok(mut machine) => {
                if is_elsewhere {
                    machine.peer_is_elsewhere();
                }
                socket.pass_rights(true);
                let decoder = Decoder::new();
                Ok(Self { socket, cred, decoder, machine, unsent: None, gone: false, heard: 0 })
            }
            Err(error) => {
                tell(socket.as_fd(), &error);
                Err(error)
            }
        }
    }

    /// Does everything that can be done now. After an error it is to be dropped.
    ///
    /// # Errors
    /// Every [`HandshakeError`] except [`TimedOut`](HandshakeError::TimedOut) is decided here, and the
    /// peer has been told if there is something to tell.
    pub fn progress(&mut self) -> Result<Progress, HandshakeError> {
        let progress = self.advance();
        if let Err(error) = &progress {
            tell(self.socket.as_fd(), error);
        }
        progress
    }

    /// Tells the peer to try again, which leads it to another server, unless it may have come to its end
    /// already (false). Then it is to be dropped.
    #[must_use = "who was told is to be dropped"]
    pub fn turn_away(&self) -> bool {
        let turned = self.is_refusable();
        if turned {
            tell(self.socket.as_fd(), &HandshakeError::RefusedPeer(Refusal::Busy));
        }
        turned
    }

    /// Whether the peer cannot have come to its end yet, so that it takes a refusal for an answer.
    pub(crate) fn is_refusable(&self) -> bool {
        self.machine.is_refusable()
    }

    /// Returns how many frames of the peer were taken, which is at most three.
    pub(crate) fn heard(&self) -> u8 {
        self.heard
    }

    /// Returns the error of a handshake that did not end in time.
    pub fn timed_out(&self) -> HandshakeError {
        match self.cred.is_this_process() && !self.machine.is_elsewhere() {
            true => HandshakeError::NotAccepted,
            false => HandshakeError::TimedOut,
        }
    }

    /// The result, once [`progress`](Self::progress) has answered [`Progress::Done`].
    pub fn finish(self) -> Option<Established> {
        self.machine.finish(self.socket, self.decoder, self.cred)
    }

    /// Who is on the other end.
    pub fn cred(&self) -> PeerCred {
        self.cred
    }

    fn advance(&mut self) -> Result<Progress, HandshakeError> {
        loop {
            // H6.
            while !self.machine.is_done() {
                let Some(frame) = self.decoder.next_frame()? else { break };
                self.heard = self.heard.saturating_add(1);
                self.machine.handle_frame(frame)?;
            }
            let until = self.transmit()?;
            if self.machine.is_done() {
                return match until {
                    None => Ok(Progress::Done),
                    Some(_) if self.gone => Err(HandshakeError::Closed),
                    // What the peer sends now is the session's: it is not read here (H6).
                    Some(until) => Ok(Progress::Pending(until)),
                };
            }
            self.decoder.expect(self.machine.max_fds());
            match link::receive(self.socket.as_fd(), &mut self.decoder)? {
                Receive::Bytes => {}
                Receive::Empty => {
                    let until = until.unwrap_or_default();
                    return Ok(Progress::Pending(Until { readable: true, ..until }));
                }
                Receive::End => return Err(HandshakeError::Closed),
            }
        }
    }

    /// Sends what there is to send. `Some`: not all of it could be sent, wait for this.
    fn transmit(&mut self) -> Result<Option<Until>, HandshakeError> {
        while let Some(next) = self.unsent.take().or_else(|| self.machine.poll_transmit()) {
            let fds: Vec<_> = next.fds.iter().map(AsFd::as_fd).collect();
            let sent = match self.gone {
                true => Sent::Gone,
                false => link::send(self.socket.as_fd(), &next.bytes, &fds)?,
            };
            let until = match sent {
                Sent::Whole => continue,
                Sent::Full => Until { writable: true, ..Until::default() },
                Sent::Later => Until { paused: true, ..Until::default() },
                // A refusal may still wait to be read; the end follows it.
                Sent::Gone => Until::default(),
            };
            self.gone = sent == Sent::Gone;
            self.unsent = Some(next);
            return Ok(Some(until));
        }
        Ok(None)
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Tells the peer why, if it listens.
pub(crate) fn tell(socket: BorrowedFd<'_>, error: &HandshakeError) {
    if let Some(frame) = refusal_frame(error) {
        let _ = link::send(socket, &frame, &[]);
    }
}
