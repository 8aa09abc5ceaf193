//! `pipe`, `uds` and `tcp`: what the kernel offers, a blocking byte stream each way, and as many of them as
//! there are ping-pongs side by side.
//!
//! Payload is written in a private buffer that one `write_all` sends a batch at a time, and read
//! into a private buffer. Both block in the kernel, whatever `--wait` says. The receiver of a batch
//! asks for as much as a batch has and takes its messages out of that.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::{Arm, Link, Offer, Transport, only};
use crate::args::{Bell, Trust, Wait};
use crate::payload::Payload;

/// Two pipes of the kernel's default size.
#[derive(Debug)]
pub(crate) struct Pipe;

impl Transport for Pipe {
    type Ends = Vec<ByteStream<File>>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        settle(arm, 4)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let (mut links, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let (peer_reads, driver_writes) = pipe2(OFlag::O_CLOEXEC)?;
            let (driver_reads, peer_writes) = pipe2(OFlag::O_CLOEXEC)?;
            links.push(ByteStream::new(arm, driver_reads.into(), driver_writes.into()));
            fds.extend([peer_reads, peer_writes]);
        }
        Ok(Offer::ready(links, fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let mut fds = fds.into_iter();
        let mut links = Vec::new();
        while let Some(reads) = fds.next() {
            let [writes] = only(fds.next().into_iter().collect())?;
            links.push(ByteStream::new(arm, reads.into(), writes.into()));
        }
        Ok(links)
    }
}

/// A pair of Unix stream sockets.
#[derive(Debug)]
pub(crate) struct Uds;

impl Transport for Uds {
    type Ends = Vec<ByteStream<UnixStream>>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        settle(arm, 3)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let (mut links, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let (driver, peer) = UnixStream::pair()?;
            links.push(ByteStream::new(arm, driver.try_clone()?, driver));
            fds.push(peer.into());
        }
        Ok(Offer::ready(links, fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let sockets = fds.into_iter().map(UnixStream::from);
        sockets.map(|socket| Ok(ByteStream::new(arm, socket.try_clone()?, socket))).collect()
    }
}

/// Connections of TCP over the loopback, which send at once.
#[derive(Debug)]
pub(crate) struct Tcp;

impl Transport for Tcp {
    type Ends = Vec<ByteStream<TcpStream>>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        loopback()?;
        settle(arm, 3)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (mut links, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let driver = TcpStream::connect(listener.local_addr()?)?;
            let (peer, _) = listener.accept()?;
            driver.set_nodelay(true)?;
            peer.set_nodelay(true)?;
            links.push(ByteStream::new(arm, driver.try_clone()?, driver));
            fds.push(peer.into());
        }
        Ok(Offer::ready(links, fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let sockets = fds.into_iter().map(TcpStream::from);
        sockets.map(|socket| Ok(ByteStream::new(arm, socket.try_clone()?, socket))).collect()
    }
}

/// Checks that there is a way to 127.0.0.1, which a new network namespace has not set up.
pub(super) fn loopback() -> Result<(), String> {
    let connected = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.connect((Ipv4Addr::LOCALHOST, 1)));
    connected.map(drop).map_err(|error| {
        format!("not supported: no TCP to 127.0.0.1 ({error}); is the loopback interface up?")
    })
}

fn settle(arm: &mut Arm, fds_per_stream: usize) -> Result<(), String> {
    arm.descriptors(fds_per_stream)?;
    arm.wait = Wait::Block;
    arm.trust = Trust::Untrusted;
    arm.bell = Bell::None;
    arm.without_session();
    Ok(())
}

#[derive(Debug)]
pub(crate) struct ByteStream<S: Read> {
    reads: BufReader<S>,
    writes: S,
    payload: Payload,
    batch: Vec<u8>,
    message: Vec<u8>,
}

impl<S: Read> ByteStream<S> {
    fn new(arm: &Arm, reads: S, writes: S) -> Self {
        let size = arm.size.0;
        let batch = size * arm.batch as usize;
        Self {
            // A reader as large as one message passes reads of a message straight to the kernel.
            reads: BufReader::with_capacity(batch.min(1 << 20), reads),
            writes,
            payload: arm.payload(),
            batch: vec![0; batch],
            message: vec![0; size],
        }
    }
}

impl<S: Read + Write + Send> Link for ByteStream<S> {
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        let mut end = 0;
        for seq in first..first + count {
            let start = end;
            end += self.payload.len(seq);
            self.payload.fill(&mut self.batch[start..end], seq);
        }
        self.writes.write_all(&self.batch[..end])
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let message = &mut self.message[..self.payload.len(seq)];
        self.reads.read_exact(message)?;
        self.payload.check(message, seq);
        Ok(())
    }
}
