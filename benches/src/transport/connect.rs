//! `uds-connect` and `tcp-connect`: a connection for each round trip.
//!
//! ```text
//!   driver                              peer
//!   connect, write a request  ──────▶   accept, read the request
//!   read the reply, close     ◀──────   write the reply
//!                                       close, when the next has come
//! ```
//!
//! The driver closes first. Over TCP it resets, so that no port stays taken for a minute.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::{Arm, Link, Offer, Transport, byte_stream, only};
use crate::args::{Bell, Trust, Wait};
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct UdsConnect;

#[derive(Debug)]
pub(crate) struct TcpConnect;

impl Transport for UdsConnect {
    type Ends = Vec<Calls<UnixDialing>>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let path = format!("{}-{}", arm.socket, arm.transport);
        // Of a former block.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        let calls = (0..arm.streams).map(|_| Calls::new(arm, UnixDialing::Dials(path.clone())));
        Ok(Offer::ready(calls.collect(), vec![listener.into()]))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let [listener] = only(fds)?;
        let listener = UnixListener::from(listener);
        let answers = |_| Ok(Calls::new(arm, UnixDialing::Answers(listener.try_clone()?)));
        (0..arm.streams).map(answers).collect()
    }
}

impl Transport for TcpConnect {
    type Ends = Vec<Calls<TcpDialing>>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        byte_stream::loopback()?;
        settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let calls = (0..arm.streams).map(|_| Calls::new(arm, TcpDialing::Dials(address)));
        Ok(Offer::ready(calls.collect(), vec![listener.into()]))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let [listener] = only(fds)?;
        let listener = TcpListener::from(listener);
        let answers = |_| Ok(Calls::new(arm, TcpDialing::Answers(listener.try_clone()?)));
        (0..arm.streams).map(answers).collect()
    }
}

/// What holds for every transport that connects for a round trip.
pub(super) fn settle(arm: &mut Arm) -> Result<(), String> {
    arm.one_round_trip()?;
    // One for the listener and one for the connection.
    arm.descriptors(2)?;
    arm.wait = Wait::Block;
    arm.trust = Trust::Untrusted;
    arm.bell = Bell::None;
    arm.without_session();
    Ok(())
}

/// How connections come about.
pub(crate) trait Dialing: Send {
    type Stream: Read + Write + Send;

    fn dial(&self) -> io::Result<Self::Stream>;

    fn answer(&self) -> io::Result<Self::Stream>;

    /// This is the side that dials.
    fn dials(&self) -> bool;
}

#[derive(Debug)]
pub(crate) enum UnixDialing {
    Dials(String),
    Answers(UnixListener),
}

impl Dialing for UnixDialing {
    type Stream = UnixStream;

    fn dial(&self) -> io::Result<UnixStream> {
        match self {
            Self::Dials(path) => UnixStream::connect(path),
            Self::Answers(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn answer(&self) -> io::Result<UnixStream> {
        match self {
            Self::Dials(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Answers(listener) => Ok(listener.accept()?.0),
        }
    }

    fn dials(&self) -> bool {
        matches!(self, Self::Dials(_))
    }
}

#[derive(Debug)]
pub(crate) enum TcpDialing {
    Dials(SocketAddr),
    Answers(TcpListener),
}

impl Dialing for TcpDialing {
    type Stream = TcpStream;

    fn dial(&self) -> io::Result<TcpStream> {
        let Self::Dials(address) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        Ok(stream)
    }

    fn answer(&self) -> io::Result<TcpStream> {
        let Self::Answers(listener) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn dials(&self) -> bool {
        matches!(self, Self::Dials(_))
    }
}

#[derive(Debug)]
pub(crate) struct Calls<D: Dialing> {
    dialing: D,
    stream: Option<D::Stream>,
    payload: Payload,
    message: Vec<u8>,
    /// Side by side with others: what is accepted next is anybody's.
    among_others: bool,
    /// The number of the reply to what was received last.
    reply: u64,
}

impl<D: Dialing> Calls<D> {
    fn new(arm: &Arm, dialing: D) -> Self {
        Self {
            dialing,
            stream: None,
            payload: arm.payload(),
            message: vec![0; arm.size.0],
            among_others: arm.streams > 1,
            reply: 0,
        }
    }
}

impl<D: Dialing> Link for Calls<D> {
    fn send(&mut self, seq: u64, _count: u64) -> io::Result<()> {
        if self.dialing.dials() {
            self.stream = Some(self.dialing.dial()?);
        }
        let seq = if self.dialing.dials() { seq } else { self.reply };
        let message = &mut self.message[..self.payload.len(seq)];
        self.payload.fill(message, seq);
        self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?.write_all(message)
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let dials = self.dialing.dials();
        if !dials {
            self.stream = Some(self.dialing.answer()?);
        }
        let message = &mut self.message[..self.payload.len(seq)];
        self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?.read_exact(message)?;
        let seq = if !dials && self.among_others { self.payload.number(message) } else { seq };
        self.payload.check(message, seq);
        self.reply = seq.wrapping_add(1);
        if dials {
            self.stream = None;
        }
        Ok(())
    }
}
