//! The server.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tower_service::Service;

use crate::codec::BytesCodec;

/// The service `Echo`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EchoServer;

/// Answers with the request.
struct Call;

/// Answers with the request, after as many milliseconds as its first byte says.
struct Slow;

/// Answers with the request, as often as its first byte says.
struct Repeat;

impl UnaryService<Bytes> for Call {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

impl UnaryService<Bytes> for Slow {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let message = request.into_inner();
        Box::pin(async move {
            let millis = message.first().copied().unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(millis.into())).await;
            Ok(Response::new(message))
        })
    }
}

impl ServerStreamingService<Bytes> for Repeat {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let message = request.into_inner();
        let Some(count) = message.first().map(|count| usize::from(*count)) else {
            return ready(Err(Status::invalid_argument("the message has no first byte")));
        };
        ready(Ok(Response::new(stream::iter(std::iter::repeat_n(Ok(message), count)).boxed())))
    }
}

impl NamedService for EchoServer {
    const NAME: &'static str = "shmipc.Echo";
}

impl Service<http::Request<Body>> for EchoServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Grpc::new(BytesCodec);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/shmipc.Echo/Call" => grpc.unary(Call, request).await,
                "/shmipc.Echo/Slow" => grpc.unary(Slow, request).await,
                "/shmipc.Echo/Repeat" => grpc.server_streaming(Repeat, request).await,
                _ => {
                    Status::unimplemented("the service has `Call`, `Slow` and `Repeat`").into_http()
                }
            })
        })
    }
}
