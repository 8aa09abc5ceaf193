//! The control channel: what two of the processes say to each other beside the link under test.
//!
//! A `SOCK_SEQPACKET` socket pair. A message is JSON, in as many packets as it needs, with the descriptors that
//! belong to it. A process finds its end on standard input. Between two messages of the driver a
//! peer is asleep in the kernel, so nothing here disturbs a measurement:
//!
//! ```text
//!   driver                                   peer
//!   Open(arm) + descriptors  ─────────────▶  joins the link
//!                            ◀─────────────  Ready
//!   Leg { from, ops, … }     ─────────────▶
//!                            ◀─────────────  Ready
//!                … ops operations on the link …
//!                            ◀─────────────  Done { cpu_ns, bells, … }
//!   Close                    ─────────────▶  drops the link
//!                            ◀─────────────  Ready
//!   (end of file)            ─────────────▶  exits
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::legs::Leg;
use crate::mem;
use crate::transport::Arm;

/// The most text in one packet.
const PACKET: usize = 32 << 10;

/// The most descriptors in one packet: what the kernel allows.
const DESCRIPTORS: usize = 253;

/// The first byte of a packet: more of the message follows, or nothing.
const MORE: u8 = b'+';
const LAST: u8 = b'.';

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Join the link of this arm; its descriptors come along.
    Open(Arm),
    /// Take part in these operations.
    Leg(Leg),
    /// Drop the link.
    Close,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready,
    /// The leg is over on this side.
    Done(Spent),
}

/// What one process spent on a leg.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Spent {
    pub(crate) cpu_ns: u64,
    pub(crate) bells: u64,
    pub(crate) switches: u64,
    /// In a leg that counts them, where the kernel allows it.
    pub(crate) syscalls: Option<u64>,
    /// How long it took on this side.
    pub(crate) elapsed_ns: u64,
}

impl Spent {
    /// Together with what another process has spent. Calls are known if both have counted them.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu_ns += other.cpu_ns;
        self.bells += other.bells;
        self.switches += other.switches;
        self.syscalls = self.syscalls.zip(other.syscalls).map(|(one, two)| one + two);
    }
}

#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
}

impl Control {
    /// The driver's channel, and the end that becomes the peer's standard input.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, peer) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self { socket }, peer))
    }

    /// The peer's channel.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        Ok(Self { socket: io::stdin().as_fd().try_clone_to_owned()? })
    }

    pub(crate) fn send(&self, message: &impl Serialize, fds: &[OwnedFd]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let (mut text, mut fds) = (&text[..], &raw[..]);
        while text.len() > PACKET || fds.len() > DESCRIPTORS {
            let (now, later) = text.split_at(text.len().min(PACKET));
            let (ahead, others) = fds.split_at(fds.len().min(DESCRIPTORS));
            self.send_packet(MORE, now, ahead)?;
            (text, fds) = (later, others);
        }
        self.send_packet(LAST, text, fds)
    }

    fn send_packet(&self, mark: u8, text: &[u8], fds: &[RawFd]) -> io::Result<()> {
        let rights = [ControlMessage::ScmRights(fds)];
        let rights = if fds.is_empty() { &[] } else { &rights[..] };
        let (mark, flags) = ([mark], MsgFlags::MSG_NOSIGNAL);
        let parts = [IoSlice::new(&mark), IoSlice::new(text)];
        while let Err(error) = sendmsg::<()>(self.socket.as_raw_fd(), &parts, rights, flags, None) {
            if error != Errno::EINTR {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// The next message and its descriptors; `None` when the other process is gone.
    pub(crate) fn recv<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let (mut text, mut fds) = (Vec::new(), Vec::new());
        let mut packet = vec![0; 1 + PACKET];
        loop {
            let len = self.recv_packet(&mut packet, &mut fds)?;
            let Some((mark, part)) = packet[..len].split_first() else { return Ok(None) };
            text.extend_from_slice(part);
            if *mark == LAST {
                return Ok(Some((serde_json::from_slice(&text)?, fds)));
            }
        }
    }

    /// The length of the next packet, whose descriptors come after those that are there.
    fn recv_packet(&self, text: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS]);
        let mut parts = [IoSliceMut::new(text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let packet = loop {
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(0),
                other => break other?,
            }
        };
        for message in packet.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                fds.extend(mem::own_received(&raw));
            }
        }
        Ok(packet.bytes)
    }

    /// Waits until the peer is ready.
    pub(crate) fn expect_ready(&self) -> io::Result<()> {
        match self.answer()? {
            Answer::Ready => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until the peer has finished its leg.
    pub(crate) fn expect_done(&self) -> io::Result<Spent> {
        match self.answer()? {
            Answer::Done(spent) => Ok(spent),
            other => Err(unexpected(&other)),
        }
    }

    fn answer(&self) -> io::Result<Answer> {
        match self.recv()? {
            Some((answer, _)) => Ok(answer),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer process is gone")),
        }
    }
}

fn unexpected(answer: &Answer) -> io::Error {
    io::Error::other(format!("the peer process answered {answer:?} out of turn"))
}

#[cfg(test)]
mod tests {
    use std::io::{Write, stderr};

    use nix::sys::resource::{Resource, getrlimit};

    use super::*;

    #[test]
    fn messages_keep_their_descriptors_and_end_with_the_other_side() {
        let (driver, peer) = Control::pair().unwrap();
        let peer = Control { socket: peer };
        let (fd, _) = Control::pair().unwrap();
        let leg = Leg { from: 0, ops: 5, start_ns: 0, counts: false };
        driver.send(&Order::Leg(leg), &[fd.socket]).unwrap();
        driver.send(&Order::Close, &[]).unwrap();
        let (first, fds) = peer.recv::<Order>().unwrap().unwrap();
        assert!(matches!(first, Order::Leg(Leg { ops: 5, .. })));
        assert_eq!(fds.len(), 1);
        let (second, fds) = peer.recv::<Order>().unwrap().unwrap();
        assert!(matches!(second, Order::Close) && fds.is_empty());
        drop(driver);
        assert!(peer.recv::<Order>().unwrap().is_none());
    }

    #[test]
    fn a_message_may_be_longer_than_a_packet() {
        let (driver, peer) = Control::pair().unwrap();
        let peer = Control { socket: peer };
        for len in [PACKET - 2, PACKET - 1, 3 * PACKET] {
            driver.send(&"x".repeat(len), &[]).unwrap();
            let (text, _) = peer.recv::<String>().unwrap().unwrap();
            assert_eq!(text.len(), len);
        }
    }

    #[test]
    fn more_descriptors_than_a_packet_takes_arrive_with_their_message() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        if hard < 4 * DESCRIPTORS as u64 + 256 {
            // Past the harness, which shows what a test prints only if it fails.
            let _ = writeln!(stderr(), "not tried: long messages: `ulimit -Hn` is {hard}");
            return;
        }
        let (driver, peer) = Control::pair().unwrap();
        let peer = Control { socket: peer };
        let (fd, _) = Control::pair().unwrap();
        for count in [DESCRIPTORS, DESCRIPTORS + 1, 2 * DESCRIPTORS + 3] {
            let fds = (0..count).map(|_| fd.socket.try_clone().unwrap()).collect::<Vec<_>>();
            driver.send(&Order::Close, &fds).unwrap();
            let (_, arrived) = peer.recv::<Order>().unwrap().unwrap();
            assert_eq!(arrived.len(), count);
        }
    }
}
