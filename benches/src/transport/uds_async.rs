//! `uds-async`: Unix stream sockets of tokio, one for each ping-pong.
//!
//! As with `uds`, payload is written in a private buffer and read into one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Arm, Offer, TaskLink, Transport};
use crate::args::{Bell, Bench, Trust, Wait};
use crate::legs::{Tasks, runtime};
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct UdsAsync;

impl Transport for UdsAsync {
    type Ends = Tasks<Socket>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        if matches!(arm.bench, Bench::Throughput | Bench::Both) {
            return Err("not supported: its operation is a round trip".to_owned());
        }
        arm.descriptors(2)?;
        arm.wait = Wait::Block;
        arm.trust = Trust::Untrusted;
        arm.bell = Bell::None;
        arm.without_session();
        Ok(())
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let (mut sockets, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let (driver, peer) = StdStream::pair()?;
            sockets.push(driver);
            fds.push(peer.into());
        }
        Ok(Offer::ready(ends(arm, sockets)?, fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        ends(arm, fds.into_iter().map(StdStream::from).collect())
    }
}

fn ends(arm: &Arm, sockets: Vec<StdStream>) -> io::Result<Tasks<Socket>> {
    let runtime = runtime(arm)?;
    let inside = runtime.enter();
    let links = sockets.into_iter().map(|socket| {
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        Ok(Socket { socket, payload: arm.payload(), message: vec![0; arm.size.0] })
    });
    let links = links.collect::<io::Result<_>>()?;
    drop(inside);
    Ok(Tasks::new(links, runtime))
}

#[derive(Debug)]
pub(crate) struct Socket {
    socket: UnixStream,
    payload: Payload,
    message: Vec<u8>,
}

impl TaskLink for Socket {
    async fn send(&mut self, seq: u64) -> io::Result<()> {
        let message = &mut self.message[..self.payload.len(seq)];
        self.payload.fill(message, seq);
        self.socket.write_all(message).await
    }

    async fn recv(&mut self, seq: u64) -> io::Result<()> {
        let message = &mut self.message[..self.payload.len(seq)];
        self.socket.read_exact(message).await?;
        self.payload.check(message, seq);
        Ok(())
    }
}
