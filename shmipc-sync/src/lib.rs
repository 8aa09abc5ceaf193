//! Zero-copy inter-process communication over shared memory, for threads.
//!
//! A [`Session`] joins two processes, many [`Stream`]s run over it, and a stream carries messages
//! or bytes. What is sent is written into shared memory once; the kernel is entered only to wake a
//! peer that really sleeps.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use shmipc_sync::{Listener, Session};
//!
//! // One process:
//! let listener = Listener::bind("/run/app.sock")?;
//! let session = listener.accept()?;
//! let mut stream = session.accept()?;
//! if let Some(request) = stream.recv()? {
//!     stream.send(&request.to_vec())?;
//! }
//!
//! // The other:
//! let session = Session::connect("/run/app.sock")?;
//! let mut stream = session.open()?;
//! let mut request = stream.reserve(5)?;
//! request.copy_from_slice(b"hello");
//! request.commit()?;
//! stream.finish()?;
//! let reply = stream.recv()?;
//! # Ok(()) }
//! ```
//!
//! There is no background thread, except for closing what a misbehaving peer has passed: a thread that
//! waits drives the session for all its threads. While no
//! thread is inside a call, the peer may have to wait for queue space or for memory to come back, but
//! never for something this side has already done (credit of what was taken, finish, reset).
//! [`Session::spawn_driver`] starts a thread for a session that is left alone for long. [`WaitSet`] serves
//! very many sessions on one thread, and a session fits into an event loop by its descriptor, with
//! [`Session::try_drive`] and [`Session::arm`].

#![forbid(unsafe_code)]

mod block;
mod client;
mod driver;
mod leaving;
mod listener;
mod recv;
mod send;
mod session;
mod stream;
mod upgrade;
mod wait_set;

pub use client::{Client, ClientEvents};
pub use driver::Driver;
pub use listener::{Listener, ListenerBuilder};
pub use recv::{Messages, RecvStream};
pub use send::{Batch, Reservation, SendStream};
pub use session::Session;
pub use stream::Stream;
pub use upgrade::Drained;
pub use wait_set::{Event, Interrupter, WaitSet, WatchError};

pub use shmipc_core::client::{CallError, ClientConfig, ClientConfigBuilder, ClientEvent};
pub use shmipc_core::config::{
    Authorizer, BellKind, Commit, Config, ConfigBuilder, Limits, PeerCred, WaitMode,
};
pub use shmipc_core::error::{
    AcceptError, ConfigError, ConnectError, Delivery, DrainError, HandshakeError, ListenError,
    OpenError, OsError, PeerMisbehaved, RecvError, Refusal, SendError, SessionError, TryError,
    UpgradeRefusal,
};
pub use shmipc_core::handle::Message;
pub use shmipc_core::handshake::Role;
pub use shmipc_core::layout::Geometry;
pub use shmipc_core::listen::AcceptStats;
pub use shmipc_core::mem::PeerTrust;
pub use shmipc_core::session::{RecvStats, SendStats, Stats, StreamId};
