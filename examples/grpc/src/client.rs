//! The client.

use std::error::Error;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body::Body as HttpBody;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::codec::BytesCodec;

/// A client of the service `Echo` over a channel, or what is put around one. Clones share the channel.
#[derive(Clone, Debug)]
pub struct EchoClient<C = Channel> {
    grpc: Grpc<C>,
}

impl<C> EchoClient<C>
where
    C: GrpcService<Body>,
    C::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <C::ResponseBody as HttpBody>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    /// A client over this channel.
    pub fn new(channel: C) -> Self {
        Self { grpc: Grpc::new(channel) }
    }

    /// Sends `message` and gives the answer.
    ///
    /// # Errors
    /// The status that the server answers, or that of the connection.
    pub async fn call(&mut self, message: Bytes) -> Result<Bytes, Status> {
        self.unary("/shmipc.Echo/Call", message).await
    }

    /// Sends `message` and gives the answer, which takes as many milliseconds as its first byte says.
    ///
    /// # Errors
    /// The status that the server answers, or that of the connection.
    pub async fn slow(&mut self, message: Bytes) -> Result<Bytes, Status> {
        self.unary("/shmipc.Echo/Slow", message).await
    }

    /// Asks for `message` as often as its first byte says.
    ///
    /// # Errors
    /// The status that the server answers, or that of the connection.
    pub async fn repeat(&mut self, message: Bytes) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/shmipc.Echo/Repeat");
        let answers = self.grpc.server_streaming(Request::new(message), path, BytesCodec).await?;
        Ok(answers.into_inner())
    }

    async fn unary(&mut self, path: &'static str, message: Bytes) -> Result<Bytes, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let answer = self.grpc.unary(Request::new(message), path, BytesCodec).await?;
        Ok(answer.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.grpc.ready().await.map_err(Into::into);
        ready.map_err(|error| Status::unavailable(format!("no connection: {error}")))
    }
}
