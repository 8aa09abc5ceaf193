//! `seqpacket`: a pair of Unix sockets that keep the bounds of messages, one for each ping-pong.
//!
//! As with `uds`, payload is written in a private buffer and read into one. A message is one packet, which the
//! kernel takes only if the sending buffer has room for all of it; so that is made as large as the kernel allows.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, getsockopt, recv, send, setsockopt, socketpair,
    sockopt,
};

use super::{Arm, Link, Offer, Transport};
use crate::args::{Bell, Trust, Wait};
use crate::payload::Payload;

/// What the kernel keeps of the buffer for itself.
const OVERHEAD: usize = 32;

/// A larger buffer than any message needs; the kernel takes what it allows.
const AMPLE: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct Seqpacket;

impl Transport for Seqpacket {
    type Ends = Vec<Packets>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        let most = pair().and_then(|(end, _)| room(&end)).map_err(|error| error.to_string())?;
        if arm.size.0 > most {
            return Err(format!(
                "not supported: a packet has at most {most} bytes (net.core.wmem_max)"
            ));
        }
        arm.wait = Wait::Block;
        arm.trust = Trust::Untrusted;
        arm.bell = Bell::None;
        arm.batch = 1;
        arm.without_session();
        arm.descriptors(2)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Packets>>> {
        let (mut links, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let (driver, peer) = pair()?;
            links.push(Packets::new(arm, driver));
            fds.push(peer);
        }
        Ok(Offer::ready(links, fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Vec<Packets>> {
        Ok(fds.into_iter().map(|fd| Packets::new(arm, fd)).collect())
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    for end in [&a, &b] {
        setsockopt(end, sockopt::SndBuf, &AMPLE)?;
    }
    Ok((a, b))
}

/// The longest packet that this end can send.
fn room(end: &OwnedFd) -> io::Result<usize> {
    Ok(getsockopt(end, sockopt::SndBuf)?.saturating_sub(OVERHEAD))
}

#[derive(Debug)]
pub(crate) struct Packets {
    socket: OwnedFd,
    payload: Payload,
    message: Vec<u8>,
}

impl Packets {
    fn new(arm: &Arm, socket: OwnedFd) -> Self {
        Self { socket, payload: arm.payload(), message: vec![0; arm.size.0] }
    }
}

impl Link for Packets {
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            let message = &mut self.message[..self.payload.len(seq)];
            self.payload.fill(message, seq);
            restarted(|| send(self.socket.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL))?;
        }
        Ok(())
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        let message = &mut self.message[..self.payload.len(seq)];
        let len = restarted(|| recv(self.socket.as_raw_fd(), message, MsgFlags::MSG_TRUNC))?;
        assert_eq!(len, message.len(), "message {seq} has a wrong length");
        self.payload.check(message, seq);
        Ok(())
    }
}

/// `call` again for as long as signals interrupt it.
pub(super) fn restarted<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}
