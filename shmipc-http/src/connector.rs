//! The client's side.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use shmipc_async::{Config, OpenError, Session, Stream};
use tokio::sync::Mutex;
use tower_service::Service;

use crate::{Address, ConnectError, Connection, socket};

/// Makes connections to one address, for tonic's `Endpoint` and hyper's clients.
///
/// Over shared memory it keeps a session, and every connection is a stream of it. A session that is over, or
/// whose server leaves, is replaced at the next connection. Clones share the session; it
/// closes when they and all connections are gone.
///
/// The URI that it is called with says what to ask for, not whom: it is ignored.
#[derive(Clone, Debug)]
pub struct Connector {
    address: Arc<Address>,
    shm: Arc<Shm>,
}

#[derive(Debug, Default)]
struct Shm {
    config: Config,
    session: Mutex<Option<Session>>,
}

impl Connector {
    /// Connects to `address`, over shared memory with the default configuration.
    pub fn new(address: &Address) -> Self {
        Self::with_config(address, Config::default())
    }

    /// Connects to `address`, over shared memory with this configuration. A server that does not answer
    /// is waited for during its `connect_timeout`.
    pub fn with_config(address: &Address, config: Config) -> Self {
        let shm = Shm { config, session: Mutex::default() };
        Self { address: Arc::new(address.clone()), shm: Arc::new(shm) }
    }

    /// Where it connects to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A new connection. Over shared memory it waits while as many streams are open as the server allows.
    /// Cancel safe: cancelled, there is none; a server on a socket may see one that ends at once.
    ///
    /// # Errors
    /// [`ConnectError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let socket = |error: io::Error| ConnectError::Socket {
            address: Address::clone(&self.address),
            kind: error.kind(),
            reason: error.to_string(),
        };
        match &*self.address {
            Address::Shm(path) => self.shm.connect(path).await,
            Address::Unix(path) => {
                socket::connect_unix(path).await.and_then(Connection::unix).map_err(socket)
            }
            Address::Http(authority) => {
                socket::connect_tcp(authority).await.and_then(Connection::tcp).map_err(socket)
            }
        }
    }
}

impl Shm {
    async fn connect(&self, path: &Path) -> Result<Connection, ConnectError> {
        let (session, stream) = match self.open(path).await {
            // It ended after we had looked; the next one is new.
            Err(ConnectError::Stream(OpenError::GoingAway | OpenError::Session(_))) => {
                self.open(path).await?
            }
            opened => opened?,
        };
        Ok(Connection::new(stream, session.peer()))
    }

    async fn open(&self, path: &Path) -> Result<(Session, Stream), ConnectError> {
        let session = self.session(path).await?;
        let stream = session.open_wait().await?;
        Ok((session, stream))
    }

    /// The session that is kept, or a new one. Who comes while it is made waits for it.
    async fn session(&self, path: &Path) -> Result<Session, shmipc_async::ConnectError> {
        let mut kept = self.session.lock().await;
        if let Some(session) = &*kept {
            if !session.is_closed() && !session.is_peer_leaving() {
                return Ok(session.clone());
            }
        }
        *kept = None;
        Ok(kept.insert(Session::connect_with(path, &self.config).await?).clone())
    }
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
