//! `pipe` and `uds`: what the kernel offers, a blocking byte stream each way, and as many of them as
//! there are ping-pongs side by side.
//!
//! Payload is written in a private buffer that one `write_all` sends a batch at a time, and read
//! into a private buffer. Both block in the kernel, whatever `--wait` says. The receiver of a batch
//! asks for as much as a batch has and takes its messages out of that.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::{Arm, Link, Offer, Transport, only};
use crate::args::{Bell, Trust, Wait};
use crate::control::DESCRIPTORS;
use crate::payload::Payload;

/// Two pipes of the kernel's default size.
#[derive(Debug)]
pub(crate) struct Pipe;

impl Transport for Pipe {
    type Ends = Vec<ByteStream<File>>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        settle(arm, 2)
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
        settle(arm, 1)
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

fn settle(arm: &mut Arm, fds_per_stream: usize) -> Result<(), String> {
    let most = DESCRIPTORS / fds_per_stream;
    if arm.streams > most {
        return Err(format!("not supported: at most {most} side by side"));
    }
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
        let bytes = &mut self.batch[..self.message.len() * count as usize];
        for (message, seq) in bytes.chunks_exact_mut(self.message.len()).zip(first..) {
            self.payload.fill(message, seq);
        }
        self.writes.write_all(bytes)
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        self.reads.read_exact(&mut self.message)?;
        self.payload.check(&self.message, seq);
        Ok(())
    }
}
