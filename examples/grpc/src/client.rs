//! The client.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::codec::BytesCodec;

/// A client of the service `Echo`. Clones share the channel.
#[derive(Clone, Debug)]
pub struct EchoClient {
    grpc: Grpc<Channel>,
}

impl EchoClient {
    /// A client over this channel.
    pub fn new(channel: Channel) -> Self {
        Self { grpc: Grpc::new(channel) }
    }

    /// Sends `message` and gives the answer.
    ///
    /// # Errors
    /// The status that the server answers, or that of the connection.
    pub async fn call(&mut self, message: Bytes) -> Result<Bytes, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/shmipc.Echo/Call");
        let answer = self.grpc.unary(Request::new(message), path, BytesCodec).await?;
        Ok(answer.into_inner())
    }

    /// Asks for `message` as often as its first byte says.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn repeat(&mut self, message: Bytes) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/shmipc.Echo/Repeat");
        let answers = self.grpc.server_streaming(Request::new(message), path, BytesCodec).await?;
        Ok(answers.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.grpc.ready().await;
        ready.map_err(|error| Status::unavailable(format!("no connection: {error}")))
    }
}
