//! Zero-copy inter-process communication over shared memory, for tokio.
//!
//! A [`Session`] joins two processes, many [`Stream`]s run over it, and a stream carries messages or
//! bytes. The peer may use this flavour or the blocking one.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use shmipc_async::{Listener, Session};
//!
//! // One process:
//! let listener = Listener::bind("/run/app.sock")?;
//! let session = listener.accept().await?;
//! let mut stream = session.accept().await?;
//! if let Some(request) = stream.recv().await? {
//!     stream.send(&request.to_vec()).await?;
//! }
//!
//! // The other:
//! let session = Session::connect("/run/app.sock").await?;
//! let mut stream = session.open()?;
//! let mut request = stream.reserve(5).await?;
//! request.copy_from_slice(b"hello");
//! request.commit()?;
//! stream.finish()?;
//! let reply = stream.recv().await?;
//! # Ok(()) }
//! ```
//!
//! # The runtime
//!
//! Sessions and listeners are made inside of a tokio runtime with I/O and time enabled, and each session
//! has one task there, its driver. There is no task per stream and no channel: whoever polls a stream
//! drains the session's queue himself, for all. If the runtime goes, its sessions end with
//! [`SessionError::RuntimeGone`]. A current-thread runtime runs its tasks, drivers included, only while some
//! thread is in its `block_on`: streams that are polled elsewhere meanwhile, by another runtime or an executor of
//! another kind, are not woken before.
//!
//! In `block_on` of a multi-thread runtime, as in `main` under `#[tokio::main]`, the caller looks for as long as a thread
//! would, and the driver sleeps meanwhile. A worker is woken each 250 µs, so that its timers are not late for that; a task
//! costs less, so spawn what talks for long, and await it.
//!
//! A poll that finds nothing looks a little longer, for at most 20 µs inside of a task, before it is
//! pending; the configuration's [`WaitMode`] decides whether it does.
//!
//! # Time-outs
//!
//! No operation has a time-out of its own: `tokio::time::timeout` may be put around every method that is
//! called cancel safe here, which all are but the calls of a [`Client`].
//!
//! # Paused clocks
//!
//! A test may pause tokio's clock (`tokio::time::pause`, `#[tokio::test(start_paused = true)]`). What the configuration
//! limits (`connect_timeout`, `handshake_timeout`, the time until unused memory goes back) follows the system's clock all
//! the same: the peer is a process of its own and does not know of the pause. What the caller limits follows tokio's:
//! the deadline of a call of [`Client`], and `tokio::time::timeout`. A paused clock jumps to the next timer whenever
//! every task waits, for a peer too, so such a limit passes at once; set none in such a test, or resume the clock.

#![forbid(unsafe_code)]

mod client;
mod clock;
mod connect;
mod driver;
mod fd;
mod listener;
mod poll;
mod recv;
mod send;
mod session;
mod stream;
mod upgrade;

pub use client::{Client, ClientEvents};
pub use listener::{Listener, ListenerBuilder};
pub use recv::{Messages, RecvStream};
pub use send::{Batch, SendStream};
pub use session::Session;
pub use stream::Stream;
pub use upgrade::Drained;

pub use shmipc_core::client::{CallError, ClientConfig, ClientConfigBuilder, ClientEvent};
pub use shmipc_core::config::{
    Authorizer, BellKind, Commit, Config, ConfigBuilder, Limits, PeerCred, WaitMode,
};
pub use shmipc_core::error::{
    AcceptError, ConfigError, ConnectError, Delivery, DrainError, HandshakeError, ListenError,
    OpenError, OsError, PeerMisbehaved, RecvError, Refusal, SendError, SessionError, TryError,
    UpgradeRefusal,
};
pub use shmipc_core::handle::{Message, Reservation};
pub use shmipc_core::handshake::Role;
pub use shmipc_core::layout::Geometry;
pub use shmipc_core::listen::AcceptStats;
pub use shmipc_core::mem::PeerTrust;
pub use shmipc_core::session::{RecvStats, SendStats, Stats, StreamId};
