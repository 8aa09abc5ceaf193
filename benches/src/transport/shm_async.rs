//! `shm-async`: shmipc, tokio flavour, whose links are streams of one session.
//!
//! Payload is written, received and checked where `shm-sync` does it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::exit;

use shmipc_async::{Limits, Listener, RecvStream, SendStream, Session, Stream};
use tokio::time::timeout;

use super::shm::{self, PATIENCE, config, ended, other};
use super::{Arm, Offer, Side, TaskLink, Transport};
use crate::args::{Bench, Trust};
use crate::legs::{Tasks, runtime};
use crate::payload::Payload;

#[derive(Debug)]
pub(crate) struct ShmAsync;

impl Transport for ShmAsync {
    type Ends = Tasks<Kept>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        if matches!(arm.bench, Bench::Throughput | Bench::Both) {
            return Err("not supported: its operation is a round trip".to_owned());
        }
        shm::settle(arm)
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let (arm, runtime) = (arm.clone(), runtime(arm)?);
        let listener = {
            let _inside = runtime.enter();
            Listener::builder().config(config(&arm)?).bind(&arm.socket).map_err(other)?
        };
        let complete = move || {
            let links = runtime.block_on(async {
                let accepted = timeout(PATIENCE, listener.accept()).await;
                let session = accepted.map_err(|_| other("the peer does not connect"))?;
                links(&arm, session.map_err(other)?, Side::Driver).await
            });
            Ok(Tasks::new(links?, runtime))
        };
        Ok(Offer { fds: Vec::new(), complete: Box::new(complete) })
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let runtime = runtime(arm)?;
        let links = runtime.block_on(async {
            let mut all = Vec::new();
            for arm in arm.clients() {
                let session = Session::connect_with(&arm.socket, &config(&arm)?).await;
                all.extend(links(&arm, session.map_err(other)?, Side::Peer).await?);
            }
            Ok(all)
        });
        let links: io::Result<_> = links;
        Ok(Tasks::new(links?, runtime))
    }
}

/// A link for each of the arm's streams. The peer answers each greeting, so that both know.
async fn links(arm: &Arm, session: Session, side: Side) -> io::Result<Vec<Kept>> {
    let mut streams = greeted(&session, side, arm.streams).await?;
    for stream in &mut streams {
        match side {
            Side::Driver => drop(stream.recv().await.map_err(other)?.ok_or_else(ended)?),
            Side::Peer => stream.send(&[]).await.map_err(other)?,
        }
    }
    let open = greeted(&session, side, arm.open).await?;
    for stream in greeted(&session, side, arm.parked).await? {
        tokio::spawn(park(stream));
    }
    if session.is_trusted() != matches!(arm.trust, Trust::Trusted) {
        return Err(other("messages are not read as the arm says"));
    }
    let mut company = Some(Company { session, _open: open });
    streams.into_iter().map(|stream| Kept::new(arm, stream, company.take())).collect()
}

/// Streams that the driver has opened with an empty message, which the peer has received.
async fn greeted(session: &Session, side: Side, count: usize) -> io::Result<Vec<Stream>> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(match side {
            Side::Driver => {
                let mut stream = session.open().map_err(other)?;
                stream.send(&[]).await.map_err(other)?;
                stream
            }
            Side::Peer => {
                let mut stream = session.accept().await.map_err(other)?;
                stream.recv().await.map_err(other)?.ok_or_else(ended)?;
                stream
            }
        });
    }
    Ok(streams)
}

/// Waits on an idle stream until the session is over.
async fn park(mut stream: Stream) {
    if let Ok(message) = stream.recv().await {
        eprintln!("ipcbench: an idle stream received {message:?}");
        exit(1);
    }
}

/// A session and what is open beside its links; all of it ends with this.
#[derive(Debug)]
struct Company {
    session: Session,
    _open: Vec<Stream>,
}

impl Drop for Company {
    fn drop(&mut self) {
        self.session.close(0);
    }
}

#[derive(Debug)]
pub(crate) struct Kept {
    send: SendStream,
    recv: RecvStream,
    payload: Payload,
    message: Vec<u8>,
    inline_max: usize,
    /// Of the first link of a session.
    company: Option<Company>,
}

impl Kept {
    fn new(arm: &Arm, stream: Stream, company: Option<Company>) -> io::Result<Self> {
        let (send, recv) = stream.into_split();
        Ok(Self {
            send,
            recv,
            payload: arm.payload(),
            message: vec![0; arm.size.0],
            inline_max: Limits::default().inline_max as usize,
            company,
        })
    }
}

impl TaskLink for Kept {
    async fn send(&mut self, seq: u64) -> io::Result<()> {
        let message = &mut self.message[..self.payload.len(seq)];
        if message.len() <= self.inline_max {
            self.payload.fill(message, seq);
            return self.send.send(message).await.map_err(other);
        }
        let mut place = self.send.reserve(message.len()).await.map_err(other)?;
        self.payload.fill(&mut place, seq);
        place.commit().map_err(other)
    }

    async fn recv(&mut self, seq: u64) -> io::Result<()> {
        let out = &mut self.message[..self.payload.len(seq)];
        if out.len() <= self.inline_max {
            let len = self.recv.recv_into(out).await.map_err(other)?.ok_or_else(ended)?;
            assert_eq!(len, out.len(), "message {seq} has a wrong length");
            self.payload.check(out, seq);
        } else {
            let message = self.recv.recv().await.map_err(other)?.ok_or_else(ended)?;
            assert_eq!(message.len(), out.len(), "message {seq} has a wrong length");
            self.payload.check(&message, seq);
        }
        Ok(())
    }

    fn bells(&self) -> u64 {
        self.company.as_ref().map_or(0, |company| company.session.stats().bells_rung)
    }
}
