//! `shm-sync`: shmipc, blocking flavour, with its default limits.
//!
//! The driver listens and accepts, the peer connects. The driver opens the stream that is measured
//! and says so with an empty message. With `--parked N` it then opens N more, and on each of them a
//! thread of either process waits for a message that never comes.
//!
//! Payload that fits into a record is written in a private buffer, sent, and received into another; a
//! larger one is written in place in a reservation. Of an untrusted peer that is copied out and
//! checked in a private buffer, of a trusted one it is checked where it lies.

use std::io;
use std::os::fd::OwnedFd;
use std::process::exit;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use shmipc_sync::{
    BellKind, Config, Limits, Listener, RecvStream, SendStream, Session, Stream, Trusted, WaitMode,
};

use super::{Arm, Link, Offer, Transport};
use crate::args::{Bell, Size, Trust, Wait};
use crate::mem;
use crate::payload::Payload;

/// The peer connects at once, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct ShmSync;

impl Transport for ShmSync {
    type Link = Connected;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        let (Size(size), largest) = (arm.size, Limits::default().max_message as usize);
        if size > largest {
            return Err(format!("not supported: a message has at most {largest} bytes by default"));
        }
        if arm.trust == Trust::Untrusted {
            // The library uses an eventfd between trusted peers only.
            arm.bell = Bell::Socket;
        }
        if size > Limits::default().inline_max as usize {
            // A message in an extent is published by its commit.
            arm.batch = 1;
        }
        Ok(())
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Connected>> {
        let arm = arm.clone();
        let config = config(&arm)?;
        let listener =
            Listener::builder().config(config.clone()).bind(&arm.socket).map_err(other)?;
        let complete = move || {
            let session = listener.accept_timeout(PATIENCE).map_err(other)?;
            let session = session.ok_or_else(|| other("the peer does not connect"))?;
            let mut stream = session.open().map_err(other)?;
            stream.send(&[]).map_err(other)?;
            let greeting = stream.recv().map_err(other)?;
            greeting.ok_or_else(|| other("the peer ended the stream"))?;
            let idle = (0..arm.parked).map(|_| session.open().map_err(other));
            let idle = idle.collect::<io::Result<_>>()?;
            Connected::new(&arm, &config, session, stream, idle)
        };
        Ok(Offer { fds: Vec::new(), complete: Box::new(complete) })
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Connected> {
        let config = config(arm)?;
        let session = Session::connect_with(&arm.socket, &config).map_err(other)?;
        let mut stream = session.accept_timeout(PATIENCE).map_err(other)?;
        let greeting = stream.recv().map_err(other)?;
        greeting.ok_or_else(|| other("the driver ended the stream"))?;
        stream.send(&[]).map_err(other)?;
        let idle = (0..arm.parked).map(|_| session.accept_timeout(PATIENCE).map_err(other));
        let idle = idle.collect::<io::Result<_>>()?;
        Connected::new(arm, &config, session, stream, idle)
    }
}

fn config(arm: &Arm) -> io::Result<Config> {
    let builder = Config::builder()
        .wait(match arm.wait {
            Wait::Spin => WaitMode::Spin,
            Wait::Adaptive => WaitMode::Adaptive,
            Wait::Block => WaitMode::Block,
        })
        .bell(match arm.bell {
            Bell::Eventfd => BellKind::Eventfd,
            Bell::Socket | Bell::None => BellKind::Socket,
        });
    match arm.trust {
        Trust::Untrusted => builder,
        Trust::Trusted => builder.trust(mem::trust_the_peer()),
    }
    .build()
    .map_err(other)
}

#[derive(Debug)]
pub(crate) struct Connected {
    session: Session,
    send: SendStream,
    recv: Receiving,
    parked: Vec<JoinHandle<()>>,
    payload: Payload,
    message: Vec<u8>,
    inline_max: usize,
}

#[derive(Debug)]
enum Receiving {
    Copying(RecvStream),
    InPlace(RecvStream<Trusted>),
}

impl Connected {
    fn new(
        arm: &Arm,
        config: &Config,
        session: Session,
        stream: Stream,
        idle: Vec<Stream>,
    ) -> io::Result<Self> {
        let (send, recv) = match arm.trust {
            Trust::Untrusted => {
                let (send, recv) = stream.into_split();
                (send, Receiving::Copying(recv))
            }
            Trust::Trusted => {
                let stream = stream.into_trusted();
                let stream = stream.map_err(|_| other("the session carries no promise"))?;
                let (send, recv) = stream.into_split();
                (send, Receiving::InPlace(recv))
            }
        };
        Ok(Self {
            session,
            send,
            recv,
            parked: idle.into_iter().map(park).collect(),
            payload: arm.payload(),
            message: vec![0; arm.size.0],
            inline_max: config.limits().inline_max as usize,
        })
    }

    fn send_one(&mut self, seq: u64) -> io::Result<()> {
        if self.message.len() <= self.inline_max {
            self.payload.fill(&mut self.message, seq);
            return self.send.send(&self.message).map_err(other);
        }
        let mut place = self.send.reserve(self.message.len()).map_err(other)?;
        self.payload.fill(&mut place, seq);
        place.commit().map_err(other)
    }
}

impl Link for Connected {
    #[inline]
    fn send(&mut self, first: u64, count: u64) -> io::Result<()> {
        if count == 1 {
            return self.send_one(first);
        }
        let mut batch = self.send.batch();
        (first..first + count).try_for_each(|seq| {
            self.payload.fill(&mut self.message, seq);
            batch.push(&self.message).map_err(other)
        })?;
        batch.commit().map_err(other)
    }

    #[inline]
    fn recv(&mut self, seq: u64) -> io::Result<()> {
        match &mut self.recv {
            Receiving::Copying(stream) if self.message.len() <= self.inline_max => {
                let len = stream.recv_into(&mut self.message).map_err(other)?.ok_or_else(ended)?;
                assert_eq!(len, self.message.len(), "message {seq} has a wrong length");
                self.payload.check(&self.message, seq);
            }
            Receiving::Copying(stream) => {
                let message = stream.recv().map_err(other)?.ok_or_else(ended)?;
                assert_eq!(message.len(), self.message.len(), "message {seq} has a wrong length");
                message.copy_to_slice(&mut self.message);
                self.payload.check(&self.message, seq);
            }
            Receiving::InPlace(stream) if self.message.len() <= self.inline_max => {
                let len = stream.recv_into(&mut self.message).map_err(other)?.ok_or_else(ended)?;
                assert_eq!(len, self.message.len(), "message {seq} has a wrong length");
                self.payload.check(&self.message, seq);
            }
            Receiving::InPlace(stream) => {
                let message = stream.recv().map_err(other)?.ok_or_else(ended)?;
                assert_eq!(message.len(), self.message.len(), "message {seq} has a wrong length");
                self.payload.check(&message, seq);
            }
        }
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.session.stats().bells_rung
    }
}

impl Drop for Connected {
    /// Nothing of this link is left when the next one is measured.
    fn drop(&mut self) {
        self.session.close(0);
        for thread in self.parked.drain(..) {
            if thread.join().is_err() {
                eprintln!("ipcbench: a parked thread panicked");
                exit(1);
            }
        }
    }
}

/// A thread that waits on an idle stream until the session is over.
fn park(mut stream: Stream) -> JoinHandle<()> {
    thread::spawn(move || {
        if let Ok(message) = stream.recv() {
            eprintln!("ipcbench: an idle stream received {message:?}");
            exit(1);
        }
    })
}

fn ended() -> io::Error {
    other("the stream ended")
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}
