//! `shmipc-rs` and `shmipc-rs-eventfd`: the crate `shmipc` 0.2 of ByteDance, in its default mode and in the one
//! that its documentation recommends for small messages.
//!
//! One session whose streams are the links, in a configuration like that of its own benchmark: memfd, a large
//! queue, most buffers as large as a message. Payload is written in place, and checked where it lies.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use ::shmipc::buffer::BufferReader;
use ::shmipc::config::{Config, SizePercentPair};
use ::shmipc::consts::MemMapType;
use ::shmipc::session::{SessionManager, SessionManagerConfig};
use ::shmipc::stream::Stream;
use ::shmipc::transport::{DefaultUnixConnect, DefaultUnixListen};
use ::shmipc::{Error, Listener};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::super::{Arm, Offer, TaskLink, Transport};
use crate::args::{self, Bell, Trust, Wait};
use crate::legs::{Tasks, runtime};
use crate::payload::Payload;
use crate::transport::shm::{PATIENCE, other};

/// Bytes of the first message each way on a stream.
const GREETING: usize = 8;

/// How long closing may take.
const PARTING: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct ShmipcRs;

impl Transport for ShmipcRs {
    type Ends = Tasks<Kept>;

    fn settle(arm: &mut Arm) -> Result<(), String> {
        if arm.bench.is_one_way() {
            return Err("not supported: its operation is a round trip".to_owned());
        }
        arm.wait = Wait::Block;
        arm.trust = Trust::Trusted;
        arm.bell = match arm.transport {
            args::Transport::ShmipcRsEventfd => Bell::Eventfd,
            _ => Bell::Socket,
        };
        arm.without_session();
        Ok(())
    }

    fn offer(arm: &Arm) -> io::Result<Offer<Self::Ends>> {
        let (arm, runtime) = (arm.clone(), runtime(arm)?);
        // The former block's is in the way.
        let _ = fs::remove_file(path(&arm));
        let mut listener =
            runtime.block_on(Listener::new(DefaultUnixListen, address(&arm)?, config(&arm)))?;
        let complete = move || {
            let links = runtime.block_on(async {
                let mut links = Vec::new();
                for _ in 0..arm.streams {
                    let accepted = timeout(PATIENCE, listener.accept()).await;
                    let stream = accepted.map_err(|_| other("the peer does not connect"))??;
                    let mut link = Kept::new(&arm, stream, true);
                    link.take(GREETING, |_| ()).await?;
                    link.put(GREETING, |_| ()).await?;
                    link.flush().await;
                    links.push(link);
                }
                Ok::<_, io::Error>(links)
            });
            let mut links = links?;
            links[0].end = Some(End::Listener(listener));
            Ok(Tasks::new(links, runtime))
        };
        Ok(Offer { fds: Vec::new(), complete: Box::new(complete) })
    }

    fn join(arm: &Arm, _fds: Vec<OwnedFd>) -> io::Result<Self::Ends> {
        let runtime = runtime(arm)?;
        let links = runtime.block_on(async {
            let mut all = Vec::new();
            for arm in arm.clients() {
                all.extend(connected(&arm).await?);
            }
            Ok::<_, io::Error>(all)
        });
        Ok(Tasks::new(links?, runtime))
    }
}

/// The streams of one session.
async fn connected(arm: &Arm) -> io::Result<Vec<Kept>> {
    let settings = SessionManagerConfig::new().with_config(config(arm)).with_session_num(1);
    let session = SessionManager::new(settings, DefaultUnixConnect, address(arm)?);
    let session = session.await.map_err(other)?;
    let mut links = Vec::new();
    for _ in 0..arm.streams {
        let mut link = Kept::new(arm, session.get_stream().map_err(other)?, false);
        link.put(GREETING, |_| ()).await?;
        link.take(GREETING, |_| ()).await?;
        links.push(link);
    }
    links[0].end = Some(End::Session(session));
    Ok(links)
}

fn path(arm: &Arm) -> String {
    format!("{}-{}", arm.socket, arm.transport)
}

fn address(arm: &Arm) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(path(arm))
}

fn config(arm: &Arm) -> Config {
    let pair = |size: usize, percent| SizePercentPair { size: size as u32 + 256, percent };
    let mut config = Config {
        queue_cap: 65_536,
        connection_write_timeout: Duration::from_secs(1),
        share_memory_buffer_cap: if arm.size.0 >= 4 << 20 { 1 << 30 } else { 256 << 20 },
        buffer_slice_sizes: vec![pair(arm.size.0, 70), pair(16 << 10, 20), pair(64 << 10, 10)],
        mem_map_type: MemMapType::MemMapTypeMemFd,
        max_stream_num: arm.streams.max(4096),
        ..Config::default()
    };
    config.share_memory_path_prefix.push_str(&std::process::id().to_string());
    match arm.bell {
        Bell::Eventfd => config.with_v4_eventfd(),
        _ => config,
    }
}

/// What ends a session.
enum End {
    Listener(Listener),
    Session(SessionManager<DefaultUnixConnect>),
}

pub(crate) struct Kept {
    stream: Stream,
    payload: Payload,
    /// Of the two, the side that asks.
    asks: bool,
    /// Of the first link of a session.
    end: Option<End>,
}

impl Kept {
    fn new(arm: &Arm, stream: Stream, asks: bool) -> Self {
        Self { stream, payload: arm.payload(), asks, end: None }
    }

    async fn put(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<()> {
        fill(self.stream.reserve(len).map_err(other)?);
        loop {
            match self.stream.flush(false).await {
                // As its own benchmark does.
                Err(Error::QueueFull) => sleep(Duration::from_micros(1)).await,
                other_end => return other_end.map_err(other),
            }
        }
    }

    async fn take(&mut self, len: usize, check: impl FnOnce(&[u8])) -> io::Result<()> {
        check(&self.stream.read_exact_bytes(len).await.map_err(other)?);
        // Each side as in its own benchmark.
        if self.asks {
            self.stream.release_read_and_reuse();
        } else {
            self.stream.recv_buf().release_previous_read();
        }
        Ok(())
    }
}

impl TaskLink for Kept {
    async fn send(&mut self, seq: u64) -> io::Result<()> {
        let payload = self.payload;
        self.put(payload.len(seq), |bytes| payload.fill(bytes, seq)).await
    }

    async fn recv(&mut self, seq: u64) -> io::Result<()> {
        let payload = self.payload;
        self.take(payload.len(seq), |bytes| payload.check(bytes, seq)).await
    }

    /// In both directions, as the side that connects counts them.
    fn bells(&self) -> u64 {
        match &self.end {
            Some(End::Session(session)) => {
                let stats = session.stats_snapshot();
                stats.send_polling_event_count + stats.recv_polling_event_count
            }
            _ => 0,
        }
    }

    /// In its default mode a task of its own writes to the socket what wakes the other side.
    async fn flush(&mut self) {
        for _ in 0..2 {
            yield_now().await;
        }
    }

    async fn close(mut self) {
        // The other side may have closed first, and then there is nothing to wait for.
        let _ = timeout(PARTING, self.stream.close()).await;
        let _ = match self.end {
            Some(End::Listener(listener)) => timeout(PARTING, listener.close()).await,
            Some(End::Session(session)) => timeout(PARTING, session.close()).await,
            None => Ok(()),
        };
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
