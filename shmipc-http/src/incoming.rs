//! The server's side.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shmipc_async::{Config, ListenError, Listener};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::sessions::Sessions;
use crate::socket::UnixSocket;
use crate::{Address, BindError, Connection, socket};

/// How long a listener that has no descriptors left waits for some.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections that clients make to one address, as a `Stream` for `serve_with_incoming`, a listener for
/// `axum::serve`, or one by one.
///
/// Over shared memory these are the streams of all sessions. Nothing that one client does ends it. A server that is
/// to be replaced while clients go on is made by [`Incoming::bind_upgradable`].
#[derive(Debug)]
pub struct Incoming {
    source: Source,
    address: Address,
    /// Ends it when it is ready.
    until: Option<Until>,
    /// How it has ended; closed when it is dropped.
    end: watch::Sender<Option<End>>,
}

/// A signal.
struct Until(BoxFuture<'static, ()>);

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until").finish_non_exhaustive()
    }
}

/// How an [`Incoming`] has ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// A successor serves.
    HandedOver,
    /// The listener is finished.
    Failed(ListenError),
    /// It was dropped before.
    Dropped,
}

#[derive(Debug)]
enum Source {
    Shm(Sessions),
    Unix(UnixSocket, Option<Pin<Box<Sleep>>>),
    Tcp(TcpListener, Option<Pin<Box<Sleep>>>),
    /// It has failed.
    Over,
}

impl Incoming {
    /// Listens at `address`, over shared memory with the default configuration.
    ///
    /// A socket file that a dead server has left is replaced; a file that is no socket, or belongs to a living
    /// server, never is. The file has mode 0600, and is removed when this is dropped. Cancel safe: cancelled, it
    /// listens no longer.
    ///
    /// # Errors
    /// [`BindError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn bind(address: &Address) -> Result<Self, BindError> {
        Self::bind_with(address, Config::default()).await
    }

    /// Listens at `address`, over shared memory with this configuration. Cancel safe, as [`bind`](Self::bind) is.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Panics
    /// As [`bind`](Self::bind).
    pub async fn bind_with(address: &Address, config: Config) -> Result<Self, BindError> {
        let failed = |error: io::Error| BindError::socket(address, &error);
        let mut bound = address.clone();
        let source = match address {
            Address::Shm(path) => {
                let listener = Listener::builder().config(config).bind(path)?;
                Source::Shm(Sessions::new(Arc::new(listener)))
            }
            Address::Unix(path) => Source::Unix(socket::bind_unix(address, path)?, None),
            Address::Http(authority) => {
                let listener = socket::bind_tcp(authority).await.map_err(failed)?;
                let local = listener.local_addr().map_err(failed)?;
                // Also of port 0, which is any.
                let local = local.to_string().parse().expect("a socket address is an authority");
                bound = Address::Http(local);
                Source::Tcp(listener, None)
            }
        };
        Ok(Self::of(source, bound))
    }

    /// The streams of the sessions of a listener that was made elsewhere; `address` is what
    /// [`address`](Self::address) gives.
    pub fn from_listener(listener: Listener, address: Address) -> Self {
        Self::of_listener(Arc::new(listener), address)
    }

    pub(crate) fn of_listener(listener: Arc<Listener>, address: Address) -> Self {
        Self::of(Source::Shm(Sessions::new(listener)), address)
    }

    fn of(source: Source, address: Address) -> Self {
        Self { source, address, until: None, end: watch::Sender::new(None) }
    }

    /// Where it listens; the port that was found for port 0.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Ends in good order when `signal` is ready, so that a restart loses no request: it listens no longer, tells clients
    /// to open their next connections elsewhere, still gives those that were opened before, and then ends. For
    /// tonic: `serve_with_incoming_shutdown(incoming.until(signal), pending())`. A signal that tonic itself gets ends the
    /// server while clients still open connections here, which are reset.
    pub fn until(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Some(Until(Box::pin(signal)));
        self
    }

    /// Returns a future that is ready once this gives no more connections: it has failed, a successor serves, or it was
    /// dropped. For a server that does not end with it by itself: `axum::serve(incoming, app)` with
    /// `with_graceful_shutdown(ended)`.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let end = self.end();
        async { drop(end.await) }
    }

    pub(crate) fn end(&self) -> impl Future<Output = End> + Send + use<> {
        let mut end = self.end.subscribe();
        async move {
            match end.wait_for(Option::is_some).await {
                Ok(end) => end.clone().unwrap_or(End::Dropped),
                Err(_) => End::Dropped,
            }
        }
    }

    /// The next connection. Cancel safe: none is lost.
    ///
    /// After a successor has taken over the listener, it first gives the connections that clients had opened before.
    ///
    /// # Errors
    /// [`ListenError`]: the listener is finished; [`ListenError::HandedOver`]: a successor serves. Never because of one
    /// client.
    pub async fn accept(&mut self) -> Result<Connection, ListenError> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`accept`](Self::accept).
    ///
    /// # Errors
    /// As there.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Connection, ListenError>> {
        if self.until.as_mut().is_some_and(|signal| signal.0.poll_unpin(cx).is_ready()) {
            self.until = None;
            match &mut self.source {
                Source::Shm(sessions) => sessions.leave(),
                _ => {
                    self.source = Source::Over;
                    self.end.send_replace(Some(End::Failed(ListenError::Closed)));
                }
            }
        }
        let accepted = match &mut self.source {
            Source::Shm(sessions) => ready!(sessions.poll_accept(cx)),
            Source::Unix(socket, pause) => match socket.poll_look(cx) {
                Err(error) => Err(error),
                Ok(()) => {
                    let listener = &socket.listener;
                    Ok(ready!(poll_socket(cx, pause, |cx| {
                        listener.poll_accept(cx).map_ok(|(socket, _)| Connection::unix(socket))
                    })))
                }
            },
            Source::Tcp(listener, pause) => Ok(ready!(poll_socket(cx, pause, |cx| {
                listener.poll_accept(cx).map_ok(|(socket, _)| Connection::tcp(socket))
            }))),
            Source::Over => return Poll::Ready(Err(ListenError::Closed)),
        };
        if let Err(error) = &accepted {
            self.source = Source::Over;
            self.end.send_replace(Some(match error {
                ListenError::HandedOver => End::HandedOver,
                error => End::Failed(error.clone()),
            }));
        }
        Poll::Ready(accepted)
    }
}

/// The next connection of a socket. One that has failed already is passed over; a lack of descriptors is
/// waited out.
fn poll_socket(
    cx: &mut Context<'_>,
    pause: &mut Option<Pin<Box<Sleep>>>,
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<io::Result<Connection>>>,
) -> Poll<Connection> {
    loop {
        if let Some(sleeping) = pause {
            ready!(sleeping.as_mut().poll(cx));
            *pause = None;
        }
        match ready!(accept(cx)) {
            Ok(Ok(connection)) => return Poll::Ready(connection),
            Ok(Err(error)) => tracing::debug!(%error, "a client is gone before it was accepted"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                *pause = Some(Box::pin(sleep(PAUSE)));
            }
        }
    }
}

/// Ends after an error. Cancel safe, as [`Incoming::accept`] is.
impl Stream for Incoming {
    type Item = Result<Connection, ListenError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match this.source {
            Source::Over => Poll::Ready(None),
            _ => this.poll_accept(cx).map(Some),
        }
    }
}
