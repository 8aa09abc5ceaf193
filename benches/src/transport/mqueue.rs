//! `mqueue`: POSIX message queues, two for each ping-pong.
//!
//! As with `uds`, payload is written in a private buffer and read into one. The kernel limits messages and
//! queues (`mq_overview(7)`): what it does not grant is told as it is planned.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use super::seqpacket::restarted;
use super::{Arm, Link, Offer, Transport, only};
use crate::args::{Bell, Trust, Wait};
use crate::mem;
use crate::payload::Payload;

/// Messages in a queue: what the kernel allows everybody unless told otherwise.
const DEPTH: i64 = 10;

#[derive(Debug)]
pub(crate) struct Mqueue;

impl Transport for Mqueue {
    type Ends = Vec<Queues>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        arm.wait = Wait::Block;
        arm.trust = Trust::Untrusted;
        arm.bell = Bell::None;
        arm.batch = 1;
        arm.without_session();
        let all = (0..2 * arm.streams).map(|_| queue(arm)).collect::<io::Result<Vec<_>>>();
        let limit = fs::read_to_string("/proc/sys/fs/mqueue/msgsize_max").unwrap_or_default();
        all.map(drop).map_err(|error| {
            format!(
                "not supported: no {} queues of {DEPTH} such messages ({error}; fs.mqueue.msgsize_max is {}, \
                 the rest is RLIMIT_MSGQUEUE)",
                2 * arm.streams,
                limit.trim(),
            )
        })
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Vec<Queues>>> {
        let (mut links, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..arm.streams {
            let (to_peer, to_driver) = (queue(arm)?, queue(arm)?);
            fds.extend([to_driver.try_clone()?, to_peer.try_clone()?]);
            links.push(Queues::new(arm, to_peer, to_driver));
        }
        Ok(Offer::ready(links, fds))
    }

    fn join(arm: &Arm, fds: Vec<OwnedFd>) -> io::Result<Vec<Queues>> {
        let mut fds = fds.into_iter();
        let mut links = Vec::new();
        while let Some(out) = fds.next() {
            let [into] = only(fds.next().into_iter().collect())?;
            links.push(Queues::new(arm, out, into));
        }
        Ok(links)
    }
}

/// A new queue, of which only its descriptor is left: it goes with the last one.
fn queue(arm: &Arm) -> io::Result<OwnedFd> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("/ipcbench-{}-{number}", std::process::id());
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC;
    let shape = MqAttr::new(0, DEPTH, arm.size.0 as i64, 0);
    let queue = mq_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&shape))?;
    mq_unlink(name.as_str())?;
    let fd = queue.as_fd().try_clone_to_owned();
    mq_close(queue)?;
    fd
}

#[derive(Debug)]
pub(crate) struct Queues {
    out: Queue,
    into: Queue,
    payload: Payload,
    message: Vec<u8>,
}

#[derive(Debug)]
struct Queue {
    queue: MqdT,
    /// What keeps it open.
    _fd: OwnedFd,
}

impl Queue {
    fn new(fd: OwnedFd) -> Self {
        Self { queue: mem::queue_of(&fd), _fd: fd }
    }
}

impl Queues {
    fn new(arm: &Arm, out: OwnedFd, into: OwnedFd) -> Self {
        Self {
            out: Queue::new(out),
            into: Queue::new(into),
            payload: arm.payload(),
            message: vec![0; arm.size.0],
        }
    }
}

impl Link for Queues {
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        for seq in first..first + count {
            let message = &mut self.message[..self.payload.len(seq)];
            self.payload.fill(message, seq);
            restarted(|| mq_send(&self.out.queue, message, 0))?;
        }
        Ok(())
    }

    fn recv(&mut self, seq: u64) -> io::Result<()> {
        // A place for the longest message has to be there, however short the next one is.
        let len = restarted(|| mq_receive(&self.into.queue, &mut self.message, &mut 0))?;
        assert_eq!(len, self.payload.len(seq), "message {seq} has a wrong length");
        self.payload.check(&self.message[..len], seq);
        Ok(())
    }
}
