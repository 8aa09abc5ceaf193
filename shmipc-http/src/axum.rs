//! axum: [`Incoming`] as the listener of `axum::serve`, and [`with_peer`] for services that ask who calls.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::middleware::AddExtension;
use axum::serve::{IncomingStream, Listener};
use axum::{Extension, Router};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Connection, Incoming, Peer};

impl Listener for Incoming {
    type Io = Connection;
    type Addr = Peer;

    /// A listener that is finished accepts nobody any more; it does not end. Cancel safe.
    async fn accept(&mut self) -> (Connection, Peer) {
        match Self::accept(self).await {
            Ok(connection) => {
                let peer = connection.peer();
                (connection, peer)
            }
            Err(error) => {
                tracing::error!(%error, "nobody is accepted any more");
                std::future::pending().await
            }
        }
    }

    /// Not supported: ask [`Incoming::address`].
    fn local_addr(&self) -> io::Result<Peer> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "ask `Incoming::address`"))
    }
}

/// A handler finds the peer in `ConnectInfo<Peer>`.
impl Connected<IncomingStream<'_, Incoming>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Incoming>) -> Self {
        stream.io().peer()
    }
}

/// Makes a service of `router` whose requests say who calls, in both forms: a handler of axum finds it in
/// `ConnectInfo<Peer>` and `Extension<Peer>`, a tonic service inside of the router in
/// `request.extensions().get::<Peer>()`.
///
/// ```no_run
/// # async fn example(router: axum::Router, incoming: shmipc_http::Incoming) -> std::io::Result<()> {
/// axum::serve(incoming, shmipc_http::axum::with_peer(router)).await
/// # }
/// ```
pub fn with_peer(router: Router) -> WithPeer {
    WithPeer { router }
}

/// Makes a service for each connection; see [`with_peer`].
#[derive(Clone, Debug)]
pub struct WithPeer {
    router: Router,
}

impl Service<IncomingStream<'_, Incoming>> for WithPeer {
    type Response = AddExtension<AddExtension<Router, ConnectInfo<Peer>>, Peer>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, Incoming>) -> Self::Future {
        let peer = stream.io().peer();
        let service = Extension(ConnectInfo(peer)).layer(self.router.clone());
        ready(Ok(Extension(peer).layer(service)))
    }
}
