//! The connection between a server and its predecessor or successor. Nothing here blocks.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use nix::sys::epoll::{Epoll, EpollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use super::{Message, refusal};
use crate::config::PeerCred;
use crate::error::OsError;
use crate::link::{self, LinkError, PeerSocket, Receive, Sent};
use crate::wire::{self, Claim, Decoder, Frame};

/// One end of it.
#[derive(Debug)]
pub(crate) struct Line {
    socket: PeerSocket,
    decoder: Decoder,
    /// Who is on the other end, once that is known.
    process: Option<OwnedFd>,
    /// What is still to be sent. Encoded late: the descriptors of an Offer are not duplicated.
    unsent: VecDeque<Message>,
    /// Keys of the socket and of the process in the epoll that watches them.
    keys: (u64, u64),
}

/// What one look at the connection gave.
#[derive(Debug)]
pub(crate) enum Incoming {
    Frame(Frame),
    /// Nothing, for now.
    Nothing,
    /// Nothing more will come.
    End,
}

/// What became of the first message to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// There is none.
    Nothing,
    /// It was taken.
    Sent(Message),
    /// Nobody will ever take it.
    Lost(Message),
    /// Later.
    Full,
}

/// A message on its way.
pub(crate) type Packet<'a> = (Vec<u8>, Vec<BorrowedFd<'a>>);

impl Line {
    /// A connection, watched by `epoll` under the first of two keys.
    pub(crate) fn new(
        socket: PeerSocket,
        epoll: &Epoll,
        keys: (u64, u64),
    ) -> Result<Self, OsError> {
        let watched = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        socket.pass_rights(true);
        link::watch(epoll, socket.as_fd(), watched, keys.0)?;
        let unsent = VecDeque::new();
        Ok(Self { socket, decoder: Decoder::new(), process: None, unsent, keys })
    }

    /// The same connection, watched by another epoll.
    pub(crate) fn move_to(&mut self, epoll: &Epoll, keys: (u64, u64)) -> Result<(), OsError> {
        link::watch(
            epoll,
            self.socket.as_fd(),
            EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP,
            keys.0,
        )?;
        if let Some(process) = &self.process {
            link::watch(epoll, process.as_fd(), EpollFlags::EPOLLIN, keys.1)?;
        }
        self.keys = keys;
        Ok(())
    }

    /// The other side has told which process it is; its death is watched from now on (U6).
    pub(crate) fn meet(&mut self, process: Option<OwnedFd>, epoll: &Epoll) -> Result<(), OsError> {
        if let Some(process) = &process {
            link::watch(epoll, process.as_fd(), EpollFlags::EPOLLIN, self.keys.1)?;
        }
        self.process = process;
        Ok(())
    }

    /// The user on the other end.
    pub(crate) fn cred(&self) -> Result<PeerCred, OsError> {
        link::peer_cred(self.socket.as_fd())
    }

    /// The next thing the other side has said.
    pub(crate) fn receive(&mut self) -> Result<Incoming, LinkError> {
        // Before the look at the socket: what the dead has said is read first.
        let dead = self.process.as_ref().is_some_and(|process| {
            link::wait_ready(process.as_fd(), true, false, Some(Duration::ZERO)).unwrap_or(false)
        });
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => return Ok(Incoming::Frame(frame)),
                Ok(None) => {}
                Err(error) => return Err(LinkError::Misbehaved(error.into())),
            }
            match link::receive(self.socket.as_fd(), &mut self.decoder)? {
                Receive::Bytes => {}
                Receive::Empty if dead => return Ok(Incoming::End),
                Receive::Empty => return Ok(Incoming::Nothing),
                Receive::End => return Ok(Incoming::End),
            }
        }
    }

    /// Something is to be sent after what waits already.
    pub(crate) fn post(&mut self, message: Message) {
        self.unsent.push_back(message);
    }

    /// Sends the first message that waits, as `encode` puts it.
    pub(crate) fn send_next<'a>(
        &mut self,
        encode: impl FnOnce(Message) -> Packet<'a>,
    ) -> Result<Outgoing, OsError> {
        let Some(&message) = self.unsent.front() else { return Ok(Outgoing::Nothing) };
        let (bytes, fds) = encode(message);
        let outgoing = match link::send(self.socket.as_fd(), &bytes, &fds) {
            Ok(Sent::Whole) => Outgoing::Sent(message),
            Ok(Sent::Gone) => Outgoing::Lost(message),
            Ok(Sent::Full | Sent::Later) => return Ok(Outgoing::Full),
            // The other side has its kernel refuse descriptors, which is no fault of this server.
            Err(OsError { code: libc::EPERM, .. }) => Outgoing::Lost(message),
            Err(error) => return Err(error),
        };
        self.unsent.pop_front();
        Ok(outgoing)
    }

    /// Nothing that waits is sent any more.
    pub(crate) fn forget(&mut self) {
        self.unsent.clear();
    }

    /// Whether everything has been sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.unsent.is_empty()
    }

    /// From now on the other side can put nothing on the connection; what it has put there can still be
    /// read (U5).
    pub(crate) fn cut(&self) {
        let _ = shutdown(self.socket.as_fd().as_raw_fd(), Shutdown::Read);
    }

    /// Ends the connection, for forked children too.
    pub(crate) fn hang_up(self, epoll: &Epoll) {
        let _ = epoll.delete(self.socket.as_fd());
        if let Some(process) = &self.process {
            let _ = epoll.delete(process.as_fd());
        }
        link::shutdown(self.socket.as_fd());
    }
}

/// The frame of a message that carries nothing of its own; Claim and Offer have more to say.
pub(crate) fn plain_frame(message: Message) -> Vec<u8> {
    match message {
        Message::Ready => wire::ready(),
        Message::Yield => wire::yield_(),
        Message::Serving => wire::serving(),
        Message::Release => wire::release(),
        Message::Refuse(reason) => refusal::frame(reason),
        Message::Claim(_) | Message::Offer => Vec::new(),
    }
}

/// The message of a frame; `None` for one that has no place here. `judge` looks at a Claim.
pub(crate) fn message_of(
    frame: &Frame,
    judge: impl FnOnce(&Claim) -> Result<(), super::Reason>,
) -> Option<Message> {
    Some(match frame {
        Frame::Claim(claim) => Message::Claim(judge(claim)),
        Frame::Offer(_) => Message::Offer,
        Frame::Ready => Message::Ready,
        Frame::Yield => Message::Yield,
        Frame::Serving => Message::Serving,
        Frame::Release => Message::Release,
        Frame::Refuse(refuse) => Message::Refuse(refusal::decode(refuse)),
        _ => return None,
    })
}
