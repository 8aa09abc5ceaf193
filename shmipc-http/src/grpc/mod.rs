//! tonic: channels to an [`Address`]. The server needs no more than an [`Incoming`](crate::Incoming) in its
//! `serve_with_incoming`.

mod repeat;

pub use repeat::Repeat;

use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Error};

use crate::{Address, Connection, Connector, Peer};

/// A channel to `address`, connected. It connects anew, at the next call, when the connection is lost. For a server
/// that is upgraded while calls go on, put it into a [`Repeat`]. Cancel safe:
/// cancelled, there is no connection.
///
/// # Errors
/// With [`ConnectError`](crate::ConnectError) as its source.
///
/// # Panics
/// Outside of a tokio runtime with I/O and time enabled.
pub async fn connect(address: &Address) -> Result<Channel, Error> {
    endpoint(address).connect_with_connector(Connector::new(address)).await
}

/// A channel to `address` that connects at its first call.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect_lazy(address: &Address) -> Channel {
    endpoint(address).connect_with_connector_lazy(Connector::new(address))
}

/// An endpoint with the origin of `address`, for time-outs, limits and the like; to be connected with a
/// [`Connector`].
pub fn endpoint(address: &Address) -> Endpoint {
    Endpoint::from(address.origin())
}

/// The service finds a [`Peer`] in the extensions of each request.
impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer()
    }
}
