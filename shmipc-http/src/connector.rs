//! The client's side.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, WeakShared};
use http::Uri;
use hyper_util::rt::TokioIo;
use shmipc_async::{Config, OpenError, Session, Stream};
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;

use crate::{Address, ConnectError, Connection, socket};

/// The first pause between attempts to connect a socket, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// After a failure an attempt has one part in so many of the `connect_timeout`.
const SHORTER: u32 = 10;

/// Makes connections to one address, for tonic's `Endpoint` and hyper's clients.
///
/// Over shared memory it keeps a session, and every connection is a stream of it. A session that is over, or
/// whose server leaves, is replaced at the next connection. Clones share the session; it
/// closes when they and all connections are gone.
///
/// The URI that it is called with says what to ask for, not whom: it is ignored.
///
/// # Waiting for the server
///
/// A server that is away (its socket file does not exist or is stale, its port is closed, or it ends during the
/// handshake) is waited for until the `connect_timeout` of the configuration, 5 s by default: a restart fails no
/// connection. This holds for every kind of address. With
/// [`wait_for_server(false)`](shmipc_async::ConfigBuilder::wait_for_server) such a server is reported at once.
///
/// A server that was away for the whole time is not waited for again: until a connection succeeds, each attempt looks
/// once, and a server that is there and silent has a tenth of the `connect_timeout`. So the requests that a channel
/// of tonic makes one after another do not each spend the whole time on a server that is dead.
///
/// Connections that are asked for at the same time share one attempt to make a session, and its error.
#[derive(Clone, Debug)]
pub struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: Address,
    config: Config,
    state: Mutex<State>,
}

type Connected = Result<Session, shmipc_async::ConnectError>;

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    /// The attempt to make a session that is under way, if a connection still waits for it.
    attempt: Option<WeakShared<BoxFuture<'static, Connected>>>,
    /// The last attempt has failed.
    failed: bool,
}

impl Connector {
    /// Connects to `address`, over shared memory with the default configuration.
    pub fn new(address: &Address) -> Self {
        Self::with_config(address, Config::default())
    }

    /// Connects to `address`, over shared memory with this configuration. A server that is away is waited for until
    /// its `connect_timeout`, unless its `wait_for_server` is `false`.
    pub fn with_config(address: &Address, config: Config) -> Self {
        let state = Mutex::default();
        Self { shared: Arc::new(Shared { address: address.clone(), config, state }) }
    }

    /// Where it connects to.
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Makes a connection, within the `connect_timeout`. Over shared memory it waits longer while as many streams are
    /// open as the server allows.
    ///
    /// # Errors
    /// [`ConnectError::Session`] and [`ConnectError::Socket`]: the server was away until the time was over, or
    /// refused. [`ConnectError::Stream`]: the session ended meanwhile, twice.
    ///
    /// # Cancel safety
    /// Cancelled, there is no connection; a server on a socket may see one that ends at once.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let shared = &self.shared;
        match &shared.address {
            Address::Shm(path) => shared.stream(path).await,
            Address::Unix(_) | Address::Http(_) => shared.socket().await,
        }
    }
}

impl Shared {
    async fn stream(self: &Arc<Self>, path: &Path) -> Result<Connection, ConnectError> {
        let (session, stream) = match self.open(path).await {
            // It ended after we had looked; the next one is new.
            Err(ConnectError::Stream(OpenError::GoingAway | OpenError::Session(_))) => {
                self.open(path).await?
            }
            opened => opened?,
        };
        Ok(Connection::new(stream, session.peer()))
    }

    async fn open(self: &Arc<Self>, path: &Path) -> Result<(Session, Stream), ConnectError> {
        let session = self.session(path).await?;
        let stream = session.open_wait().await?;
        Ok((session, stream))
    }

    /// The session that is kept, or the result of the attempt to make one, which all share.
    async fn session(self: &Arc<Self>, path: &Path) -> Connected {
        let (attempt, old) = {
            let mut state = self.state();
            match &state.session {
                Some(kept) if !kept.is_closed() && !kept.is_peer_leaving() => {
                    return Ok(kept.clone());
                }
                _ => {}
            }
            let under_way = state.attempt.as_ref().and_then(WeakShared::upgrade);
            let attempt = under_way.unwrap_or_else(|| {
                let attempt = Arc::clone(self).attempt(path.to_owned()).boxed().shared();
                state.attempt = attempt.downgrade();
                attempt
            });
            (attempt, state.session.take())
        };
        // Its last handle closes it, which calls foreign wakers.
        drop(old);
        attempt.await
    }

    async fn attempt(self: Arc<Self>, path: std::path::PathBuf) -> Connected {
        let connected = Session::connect_with(path, &self.patience()).await;
        let mut state = self.state();
        state.attempt = None;
        state.failed = connected.is_err();
        state.session = connected.as_ref().ok().cloned();
        connected
    }

    /// Connects a socket, by as many attempts as the time allows.
    async fn socket(&self) -> Result<Connection, ConnectError> {
        let config = self.patience();
        let deadline = Instant::from_std(config.connect_deadline(Instant::now().into_std()));
        let mut pause = FIRST_PAUSE;
        let connected = loop {
            let connected = timeout_at(deadline, socket::connect(&self.address)).await;
            let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let over = Instant::now() + pause >= deadline;
            match connected {
                Err(error) if is_away(&error) && config.waits_for_server() && !over => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                connected => break connected,
            }
        };
        self.state().failed = connected.is_err();
        connected.map_err(|error| ConnectError::Socket {
            address: self.address.clone(),
            kind: error.kind(),
            reason: error.to_string(),
        })
    }

    /// The configuration for the next attempt.
    fn patience(&self) -> Config {
        match self.state().failed {
            false => self.config.clone(),
            true => {
                let shorter = self.config.connect_timeout() / SHORTER;
                self.config.with_connect_timeout(shorter).with_wait_for_server(false)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the server may be on its way, as `shmipc_async::ConnectError::is_server_away` says of a session.
fn is_away(error: &io::Error) -> bool {
    // The last one is a full backlog.
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound, WouldBlock};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | NotFound | WouldBlock)
}

/// Its futures are cancel safe, as [`Connector::connect`] is.
impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = ConnectError;
    type Future =
        Pin<Box<dyn Future<Output = Result<TokioIo<Connection>, ConnectError>> + Send + 'static>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}
