//! Clients of both flavours, as the tests call them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::tokio::runtime::Runtime;
use ::tokio::task::coop::unconstrained;
use futures_util::FutureExt;
use shmipc_core::error::{DrainError, RecvError, SendError};
use shmipc_sync::{CallError, ClientConfig, ClientEvent};

use crate::deadline::PATIENCE;
use crate::tokio::{Kind, MultiThread};

/// A client of either flavour.
pub trait Client: Clone + Send + Sync + 'static {
    /// A stream of it.
    type Stream: Conversation;
    /// Its events.
    type Events: Events;

    /// A client of the server at `path`.
    fn with(path: &Path, config: ClientConfig) -> Self;

    /// The same with the default configuration.
    fn new(path: &Path) -> Self {
        Self::with(path, ClientConfig::default())
    }

    /// Calls.
    ///
    /// # Errors
    /// The flavour's.
    fn call(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError>;

    /// Calls, and repeats nothing that was sent.
    ///
    /// # Errors
    /// The flavour's.
    fn call_once(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError>;

    /// Opens a stream.
    ///
    /// # Errors
    /// The flavour's.
    fn open(&self) -> Result<Self::Stream, CallError>;

    /// What happens from now on.
    fn events(&self) -> Self::Events;

    /// Closes it.
    ///
    /// # Errors
    /// The flavour's.
    fn close(&self, deadline: Instant) -> Result<(), DrainError>;

    /// Calls with patience for an answer, which there must be.
    #[track_caller]
    fn ask(&self, request: &str) {
        let reply = self.call(request.as_bytes(), soon());
        assert_eq!(reply.as_deref(), Ok(request.as_bytes()));
    }
}

/// A stream whose peer answers each message with the same.
pub trait Conversation: Send + 'static {
    /// Sends a message.
    ///
    /// # Errors
    /// The flavour's.
    fn put(&mut self, message: &[u8]) -> Result<(), SendError>;

    /// Receives one; nothing at the end.
    ///
    /// # Errors
    /// The flavour's.
    fn take(&mut self) -> Result<Option<Vec<u8>>, RecvError>;

    /// Sends messages of so many bytes for as long as there is room.
    fn fill(&mut self, len: usize);

    /// Ends the sending direction.
    fn finish(&mut self);

    /// Sends a text.
    ///
    /// # Errors
    /// The flavour's.
    fn send(&mut self, message: &str) -> Result<(), SendError> {
        self.put(message.as_bytes())
    }

    /// Receives a text; empty at the end.
    ///
    /// # Errors
    /// The flavour's.
    fn receive(&mut self) -> Result<String, RecvError> {
        Ok(self.take()?.map_or_else(String::new, text))
    }
}

/// Events of a client.
pub trait Events: Send + 'static {
    /// The next one that is there.
    fn try_next(&mut self) -> Option<ClientEvent>;

    /// The next one that comes soon.
    fn next_soon(&mut self) -> Option<ClientEvent>;
}

/// The end of a test's patience.
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// The blocking flavour.
#[derive(Clone, Debug)]
pub struct Blocking(pub shmipc_sync::Client);

impl Client for Blocking {
    type Stream = shmipc_sync::Stream;
    type Events = shmipc_sync::ClientEvents;

    fn with(path: &Path, config: ClientConfig) -> Self {
        Self(shmipc_sync::Client::new(path, config))
    }

    fn call(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.0.call(request, deadline).map(|reply| reply.to_vec())
    }

    fn call_once(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.0.call_once(request, deadline).map(|reply| reply.to_vec())
    }

    fn open(&self) -> Result<Self::Stream, CallError> {
        self.0.open()
    }

    fn events(&self) -> Self::Events {
        self.0.events().expect("descriptors")
    }

    fn close(&self, deadline: Instant) -> Result<(), DrainError> {
        self.0.close(deadline)
    }
}

impl Conversation for shmipc_sync::Stream {
    fn put(&mut self, message: &[u8]) -> Result<(), SendError> {
        Self::send(self, message)
    }

    fn take(&mut self) -> Result<Option<Vec<u8>>, RecvError> {
        let message = self.receiver().recv_timeout(PATIENCE)?;
        Ok(message.map(|message| message.to_vec()))
    }

    fn fill(&mut self, len: usize) {
        while let Ok(reservation) = self.sender().reserve_timeout(len, Duration::ZERO) {
            reservation.commit().expect("the peer lives");
        }
    }

    fn finish(&mut self) {
        Self::finish(self).expect("the peer reads");
    }
}

impl Events for shmipc_sync::ClientEvents {
    fn try_next(&mut self) -> Option<ClientEvent> {
        Self::try_next(self)
    }

    fn next_soon(&mut self) -> Option<ClientEvent> {
        self.next_timeout(PATIENCE)
    }
}

/// The tokio flavour, on a runtime of its own.
#[derive(Clone, Debug)]
pub struct Tokio(pub shmipc_async::Client, pub Arc<Runtime>);

/// Something of the tokio flavour, and its runtime.
#[derive(Debug)]
pub struct On<T>(T, Arc<Runtime>);

impl Client for Tokio {
    type Stream = On<shmipc_async::Stream>;
    type Events = On<shmipc_async::ClientEvents>;

    fn with(path: &Path, config: ClientConfig) -> Self {
        let runtime = MultiThread::start().expect("a runtime");
        Self(shmipc_async::Client::new(path, config), Arc::new(runtime))
    }

    fn call(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.1.block_on(self.0.call(request, deadline)).map(|reply| reply.to_vec())
    }

    fn call_once(&self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, CallError> {
        self.1.block_on(self.0.call_once(request, deadline)).map(|reply| reply.to_vec())
    }

    fn open(&self) -> Result<Self::Stream, CallError> {
        Ok(On(self.1.block_on(self.0.open())?, Arc::clone(&self.1)))
    }

    fn events(&self) -> Self::Events {
        On(self.0.events(), Arc::clone(&self.1))
    }

    fn close(&self, deadline: Instant) -> Result<(), DrainError> {
        self.1.block_on(self.0.close(deadline))
    }
}

impl Conversation for On<shmipc_async::Stream> {
    fn put(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.1.block_on(self.0.send(message))
    }

    fn take(&mut self) -> Result<Option<Vec<u8>>, RecvError> {
        let message = self.1.block_on(async {
            ::tokio::time::timeout(PATIENCE, self.0.recv())
                .await
                .unwrap_or(Err(RecvError::TimedOut))
        });
        Ok(message?.map(|message| message.to_vec()))
    }

    fn fill(&mut self, len: usize) {
        self.1.block_on(async {
            let message = vec![0; len];
            while let Some(sent) = unconstrained(self.0.send(&message)).now_or_never() {
                sent.expect("the peer lives");
            }
        });
    }

    fn finish(&mut self) {
        self.0.finish().expect("the peer reads");
    }
}

impl Events for On<shmipc_async::ClientEvents> {
    fn try_next(&mut self) -> Option<ClientEvent> {
        self.0.try_next()
    }

    fn next_soon(&mut self) -> Option<ClientEvent> {
        let next = async { ::tokio::time::timeout(PATIENCE, self.0.next()).await };
        self.1.block_on(next).ok().flatten()
    }
}

/// The time after which nobody waits any more.
pub fn within_a_moment() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("a text")
}

/// A test of each of these cases in both flavours.
#[macro_export]
macro_rules! with_both_clients {
    ($($case:ident)*) => {
        mod in_threads {
            $(#[test]
            fn $case() {
                super::$case::<tests::client::Blocking>();
            })*
        }
        mod in_tasks {
            $(#[test]
            fn $case() {
                super::$case::<tests::client::Tokio>();
            })*
        }
    };
}
