//! Servers that are replaced by a new version while clients go on.

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{self, Either};
use futures_util::stream::FuturesUnordered;
use shmipc_async::{Config, Drained, ListenError, Listener};
use tokio::time::timeout;

use crate::incoming::End;
use crate::{Address, BindError, Incoming};

/// How long requests that have begun may take after a successor serves, unless set otherwise.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// A server over shared memory that a successor takes over from; made by [`Incoming::bind_upgradable`].
///
/// A server of tonic that can be replaced as often as one likes:
///
/// ```no_run
/// # #[cfg(feature = "tonic")]
/// # async fn example<S>(my_service: S) -> Result<(), Box<dyn std::error::Error>>
/// # where
/// #     S: tower_service::Service<
/// #             http::Request<tonic::body::Body>,
/// #             Response = http::Response<tonic::body::Body>,
/// #             Error = std::convert::Infallible,
/// #         > + tonic::server::NamedService + Clone + Send + Sync + 'static,
/// #     S::Future: Send,
/// # {
/// use shmipc_http::Incoming;
/// use std::future::pending;
/// use tonic::transport::Server;
///
/// let server = Incoming::bind_upgradable(&"shm:/run/app.sock".parse()?).await?;
/// let router = Server::builder().add_service(my_service);
/// server.serve(|incoming| router.clone().serve_with_incoming_shutdown(incoming, pending())).await?;
/// # Ok(()) }
/// ```
///
/// With axum: `axum::serve(incoming, app)` ends by `with_graceful_shutdown(ended)`, where `ended` is
/// [`Incoming::ended`].
#[derive(Debug)]
pub struct Upgradable {
    listener: Arc<Listener>,
    address: Address,
    drain_within: Duration,
}

/// Why [`Upgradable::serve`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError<E: Error + 'static> {
    /// The listener failed: a running server was not taken over from, or the socket is broken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server that `serve` was given failed.
    #[error("the server failed: {0}")]
    Server(#[source] E),
}

impl Incoming {
    /// Listens at `address` so that a server which does the same later takes over from this one. If such a server runs
    /// already, this one takes over from it: the listening socket is handed over here, and clients notice nothing.
    /// The running server goes on until [`Upgradable::serve`] is called. Waits for that server for 10 s at most.
    ///
    /// # Errors
    /// [`BindError::NotUpgradable`] if the address is not of shared memory; else as
    /// [`Listener::bind_upgradable`].
    ///
    /// # Cancel safety
    /// Cancelled, this one does not listen, and the running server goes on.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn bind_upgradable(address: &Address) -> Result<Upgradable, BindError> {
        Self::bind_upgradable_with(address, Config::default()).await
    }

    /// Listens at `address` as [`bind_upgradable`](Self::bind_upgradable) does, with a configuration for the sessions.
    ///
    /// # Errors
    /// [`BindError::NotUpgradable`] if the address is not of shared memory; else as
    /// [`Listener::bind_upgradable`].
    ///
    /// # Cancel safety
    /// Cancelled, this one does not listen, and the running server goes on.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn bind_upgradable_with(
        address: &Address,
        config: Config,
    ) -> Result<Upgradable, BindError> {
        let Address::Shm(path) = address else {
            return Err(BindError::NotUpgradable { address: address.clone() });
        };
        let listener = Listener::builder().config(config).bind_upgradable(path).await?;
        Ok(Upgradable::from_listener(listener, address.clone()))
    }
}

impl Upgradable {
    /// Uses an upgradable listener that was made elsewhere, with settings of its own; `address` is what
    /// [`Incoming::address`] gives.
    pub fn from_listener(listener: Listener, address: Address) -> Self {
        Self { listener: Arc::new(listener), address, drain_within: DRAIN_WITHIN }
    }

    /// Sets how long requests that have begun may take after a successor serves. Default 60 s. Connections that are
    /// idle do not count: they are closed at once.
    pub fn drain_within(mut self, time: Duration) -> Self {
        self.drain_within = time;
        self
    }

    /// Returns which server of its row this is: 1, or one more than the one it took over from.
    pub fn generation(&self) -> u64 {
        self.listener.generation()
    }

    /// Serves until a successor has taken over and every request that was begun here is answered; then the process can
    /// exit. Asks a running server to stop first.
    ///
    /// `serve` makes a server for the connections it is given. It is called once, and again each time a successor dies
    /// before the last request was answered here: then this one serves again. When a successor serves, the
    /// [`Incoming`] ends; the server then has to close its connections in good order and to return when they are closed.
    /// `serve_with_incoming_shutdown` of tonic does both (with `serve_with_incoming` idle connections would stay until
    /// [`drain_within`](Self::drain_within) is over).
    ///
    /// If the server that `serve` made returns by itself, its [`Incoming`] with it, this returns as well.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if the running server was not taken over from (it goes on), or the listener is broken;
    /// [`ServeError::Server`] with the error of `serve`.
    ///
    /// # Cancel safety
    /// Cancelled, the service ends.
    pub async fn serve<S, F, E>(self, mut serve: S) -> Result<(), ServeError<E>>
    where
        S: FnMut(Incoming) -> F,
        F: Future<Output = Result<(), E>>,
        E: Error + 'static,
    {
        self.listener.ready().await?;
        let mut servers = FuturesUnordered::new();
        loop {
            let incoming = Incoming::of_listener(Arc::clone(&self.listener), self.address.clone());
            let ended = incoming.end();
            servers.push(serve(incoming));
            match while_serving(&mut servers, ended).await? {
                End::HandedOver => {}
                End::Dropped | End::Failed(ListenError::Closed) => break,
                End::Failed(error) => return Err(error.into()),
            }
            let drained = timeout(self.drain_within, self.listener.drain());
            match while_serving(&mut servers, drained).await? {
                Ok(Ok(Drained::Resumed)) => {
                    tracing::warn!("the successor died; this server goes on")
                }
                Ok(Ok(Drained::Done)) => break,
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    let limit = self.drain_within;
                    tracing::warn!(?limit, "requests are cut off: the time for draining is over");
                    return Ok(());
                }
            }
        }
        self.listener.close();
        while let Some(served) = servers.next().await {
            served.map_err(ServeError::Server)?;
        }
        Ok(())
    }
}

/// Awaits `event` while the servers run.
async fn while_serving<F, E, T>(
    servers: &mut FuturesUnordered<F>,
    event: impl Future<Output = T>,
) -> Result<T, ServeError<E>>
where
    F: Future<Output = Result<(), E>>,
    E: Error + 'static,
{
    let mut event = pin!(event);
    loop {
        let served = if servers.is_empty() {
            return Ok(event.await);
        } else {
            match future::select(event.as_mut(), servers.next()).await {
                Either::Left((happened, _)) => return Ok(happened),
                Either::Right((served, _)) => served,
            }
        };
        served.unwrap_or(Ok(())).map_err(ServeError::Server)?;
    }
}
