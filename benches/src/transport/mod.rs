//! What can carry messages between the two processes.
//!
//! A [`Transport`] makes the [`Ends`] of an [`Arm`]: the driver offers, the peer joins. Each end is one of
//! a [`Link`], or of a [`TaskLink`] with its runtime. A link writes and checks the payload itself, because where that happens is the difference between
//! transports: in place in shared memory, or in a private buffer that is then copied.
//!
//! [`visit`] turns the name of a transport into its type, so that the measuring loops are compiled
//! for each transport and a 20 ns message pays for no dynamic call.

mod bare_map;
mod bare_ring;
mod byte_stream;
mod cacheline;
mod connect;
mod crates;
mod eventfd;
mod futex;
mod mqueue;
mod seqpacket;
mod shm;
mod shm_async;
mod tonic;
mod uds_async;

pub(crate) use shm::wait_mode;

use std::fmt;
use std::hint;
use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::args::{self, Bell, Bench, Runtime, Size, Touch, Trust, Wait};
use crate::legs::Ends;
use crate::payload::Payload;
use crate::process;

/// One transport at one size with everything that describes how it runs.
///
/// These are the settings in effect: what the user asked for where the transport leaves a choice,
/// and what the transport does where it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arm {
    pub(crate) bench: Bench,
    pub(crate) transport: args::Transport,
    /// Of the longest message.
    pub(crate) size: Size,
    /// Messages of many sizes.
    pub(crate) mixed: bool,
    pub(crate) wait: Wait,
    pub(crate) trust: Trust,
    pub(crate) bell: Bell,
    pub(crate) touch: Touch,
    pub(crate) batch: u64,
    pub(crate) parked: usize,
    /// Further streams that are open and not used.
    pub(crate) open: usize,
    /// Links side by side.
    pub(crate) streams: usize,
    /// At a fixed rate: that in percent of what a Unix socket carries, and in messages a second.
    pub(crate) percent: u32,
    pub(crate) rate: u64,
    /// Before each round trip of `quiet`.
    pub(crate) quiet_ms: u64,
    pub(crate) runtime: Runtime,
    /// Bytes of a session's queue of records; none: what the library takes.
    pub(crate) ring: Option<Size>,
    /// Where a transport that needs a name in the file system puts its socket.
    pub(crate) socket: String,
}

impl Arm {
    pub(crate) fn payload(&self) -> Payload {
        let payload = Payload::new(self.touch, self.size);
        if self.mixed { payload.mixed() } else { payload }
    }

    /// In `fan-in` the arms of the clients; otherwise this one.
    pub(crate) fn clients(&self) -> Vec<Self> {
        if self.bench != Bench::FanIn {
            return vec![self.clone()];
        }
        let client = |number| Self {
            streams: 1,
            socket: format!("{}.{number}", self.socket),
            ..self.clone()
        };
        (0..self.streams).map(client).collect()
    }

    /// Without a session there is nothing beside the links.
    fn without_session(&mut self) {
        (self.parked, self.open, self.ring) = (0, 0, None);
    }

    /// `each` stream needs so many descriptors of one process at a time.
    fn descriptors(&self, each: usize) -> Result<(), String> {
        let most = process::descriptors_at_most().saturating_sub(BESIDE) / each;
        match self.streams <= most {
            true => Ok(()),
            false => Err(format!("not supported: at most {most} side by side (RLIMIT_NOFILE)")),
        }
    }

    /// What is made anew for each round trip. Side by side its messages have one length.
    fn one_round_trip(&self) -> Result<(), String> {
        match self.bench {
            Bench::Latency | Bench::Quiet => Ok(()),
            Bench::Parallel if !self.mixed => Ok(()),
            _ => Err("not supported: its operation is one round trip".to_owned()),
        }
    }

    /// One thread serves all links, and waits for one of them at a time.
    fn one_thread(&self) -> Result<(), String> {
        match self.bench {
            Bench::Both => Err("not supported: one thread serves both directions".to_owned()),
            _ => Ok(()),
        }
    }

    fn one_link(&self) -> Result<(), String> {
        if self.streams == 1 { Ok(()) } else { Err("not supported: it is one link".to_owned()) }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.size)?;
        if self.transport.is_ours() {
            write!(f, " {}", self.wait)?;
        }
        if self.streams > 1 {
            write!(f, ", {} side by side", self.streams)?;
        }
        if self.percent > 0 {
            write!(f, ", {} %", self.percent)?;
        } else if let Some(us) = 1_000_000_u64.checked_div(self.rate) {
            write!(f, ", every {us} us")?;
        }
        Ok(())
    }
}

/// Descriptors that a process has beside those of its links.
const BESIDE: usize = 64;

/// A way to carry messages.
pub(crate) trait Transport {
    /// The ends of all links that one process has.
    type Ends: Ends;

    /// Fixes the settings that are not the user's to choose. `Err` says why the arm cannot run.
    fn settle(arm: &mut Arm) -> Result<(), String>;

    /// The driver's part of making a link.
    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>>;

    /// The peer's part, with the descriptors of the offer. As many links as the arm has streams; in `fan-in`
    /// one for each of the clients, whose descriptors follow each other.
    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Self::Ends>;
}

/// Links that the peer has yet to join.
pub(crate) struct Offer<E> {
    pub(crate) fds: Vec<OwnedFd>,
    /// Completes the driver's ends while the peer joins: as many as the arm has streams.
    pub(crate) complete: Box<dyn FnOnce() -> io::Result<E>>,
}

impl<E: 'static> Offer<E> {
    fn ready(ends: E, fds: Vec<OwnedFd>) -> Self {
        Self { fds, complete: Box::new(|| Ok(ends)) }
    }
}

/// One end of a connection, in both directions, used by a thread that waits.
pub(crate) trait Link {
    /// Writes the messages `first..first + count` and publishes them once.
    fn send(&mut self, first: u64, count: u64) -> io::Result<()>;

    /// Waits for message `seq` and checks it.
    fn recv(&mut self, seq: u64) -> io::Result<()>;

    /// How often this side has woken the other through a bell of its own. What links have in common
    /// is counted by one of them.
    fn bells(&self) -> u64 {
        0
    }
}

/// The same, used by a task of a tokio runtime.
pub(crate) trait TaskLink: Send + Sized + 'static {
    /// Writes message `seq` and publishes it.
    fn send(&mut self, seq: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits for message `seq` and checks it.
    fn recv(&mut self, seq: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// As [`Link::bells`].
    fn bells(&self) -> u64 {
        0
    }

    /// Lets the last message leave before nobody drives the runtime for a while.
    fn flush(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Ends what has to be ended by a call.
    fn close(self) -> impl Future<Output = ()> + Send {
        async { drop(self) }
    }
}

/// Code that is compiled for each transport.
pub(crate) trait Visitor {
    type Output;

    fn visit<T: Transport>(self) -> Self::Output;
}

/// Calls `visitor` with the type that `transport` names.
pub(crate) fn visit<V: Visitor>(transport: args::Transport, visitor: V) -> V::Output {
    match transport {
        args::Transport::Cacheline => visitor.visit::<cacheline::Cacheline>(),
        args::Transport::BareMap => visitor.visit::<bare_map::BareMap>(),
        args::Transport::BareRing => visitor.visit::<bare_ring::BareRing>(),
        args::Transport::Eventfd => visitor.visit::<eventfd::Eventfd>(),
        args::Transport::Pipe => visitor.visit::<byte_stream::Pipe>(),
        args::Transport::Futex => visitor.visit::<futex::Futex>(),
        args::Transport::Uds => visitor.visit::<byte_stream::Uds>(),
        args::Transport::Seqpacket => visitor.visit::<seqpacket::Seqpacket>(),
        args::Transport::Tcp => visitor.visit::<byte_stream::Tcp>(),
        args::Transport::UdsConnect => visitor.visit::<connect::UdsConnect>(),
        args::Transport::TcpConnect => visitor.visit::<connect::TcpConnect>(),
        args::Transport::ShmConnect => visitor.visit::<shm::ShmConnect>(),
        args::Transport::Mqueue => visitor.visit::<mqueue::Mqueue>(),
        args::Transport::ShmSync => visitor.visit::<shm::ShmSync>(),
        args::Transport::ShmStreams => visitor.visit::<shm::ShmStreams>(),
        args::Transport::UdsAsync => visitor.visit::<uds_async::UdsAsync>(),
        args::Transport::ShmAsync => visitor.visit::<shm_async::ShmAsync>(),
        args::Transport::TonicShm => visitor.visit::<tonic::TonicShm>(),
        args::Transport::TonicUds => visitor.visit::<tonic::TonicUds>(),
        args::Transport::TonicDuplex => visitor.visit::<tonic::TonicDuplex>(),
        args::Transport::ShmipcRs
        | args::Transport::ShmipcRsEventfd
        | args::Transport::Iceoryx2PubSub
        | args::Transport::Iceoryx2PubSubEvent
        | args::Transport::Iceoryx2ReqRes
        | args::Transport::Iceoryx2ReqResEvent
        | args::Transport::Zmq
        | args::Transport::IpcChannel => crates::visit(transport, visitor),
    }
}

/// Whose end of a link this is; the two directions are laid out the same for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Driver,
    Peer,
}

impl Side {
    /// Puts what belongs to (driver to peer, peer to driver) in the order (outgoing, incoming).
    fn orient<D>(self, to_peer: D, to_driver: D) -> (D, D) {
        match self {
            Self::Driver => (to_peer, to_driver),
            Self::Peer => (to_driver, to_peer),
        }
    }
}

/// Waits until `ready` gives something, spinning.
#[inline]
fn spin<R>(mut ready: impl FnMut() -> Option<R>) -> R {
    loop {
        if let Some(result) = ready() {
            return result;
        }
        hint::spin_loop();
    }
}

/// The one descriptor of an offer that has one.
pub(crate) fn only<const N: usize>(fds: Vec<OwnedFd>) -> io::Result<[OwnedFd; N]> {
    fds.try_into().map_err(|fds: Vec<_>| {
        io::Error::other(format!("{N} descriptors were expected, not {}", fds.len()))
    })
}
