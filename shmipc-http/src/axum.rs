//! axum: [`Incoming`] as the listener of `axum::serve`.

use std::io;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};

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
