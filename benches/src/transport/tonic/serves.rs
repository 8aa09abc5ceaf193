//! The peer's part: a server on a thread of its own, so that it answers whatever the peer waits for.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle, Thread};

use bytes::Bytes;
use examples_grpc::EchoServer;
use examples_grpc::codec::BytesCodec;
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use shmipc_async::Config;
use shmipc_http::{Address, Incoming};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::{Service, service_fn};

use crate::legs::runtime;
use crate::payload::Payload;
use crate::transport::Arm;
use crate::transport::shm::other;

/// Bytes of the pipe in memory: as much as a stream's window.
const PIPE: usize = 256 << 10;

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    served: Arc<Served>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub(super) fn start(arm: &Arm, address: &Address, config: Config) -> io::Result<Self> {
        let served = Arc::new(Served::for_me());
        let service = Answers { payload: arm.payload(), served: Arc::clone(&served) };
        let runtime = runtime(arm)?;
        let incoming = runtime.block_on(Incoming::bind_with(address, config)).map_err(other)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
            runtime.spawn(serving);
            // An error says that nobody will ask for it any more.
            let _ = runtime.block_on(stopped);
        };
        Ok(Self { served, stop: Some(stop), thread: Some(thread::spawn(serve)) })
    }

    /// Waits until it has served so many calls.
    pub(super) fn until(&self, calls: u64) {
        self.served.until(calls);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("ipcbench: the server panicked");
            std::process::exit(1);
        }
    }
}

/// A channel to a server on the same runtime, whose context this needs.
pub(super) fn in_memory(arm: &Arm) -> Channel {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let service = Answers { payload: arm.payload(), served: Arc::new(Served::for_me()) };
    let incoming = futures_util::stream::iter([Ok::<_, io::Error>(theirs)]);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let mut ours = Some(TokioIo::new(ours));
    let connect = move |_| ready(ours.take().ok_or("there is one connection"));
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(connect))
}

/// How many calls have been served, and who waits for how many.
#[derive(Debug)]
struct Served {
    calls: AtomicU64,
    awaited: AtomicU64,
    waiter: Thread,
}

impl Served {
    /// It is the thread that makes this that will wait.
    fn for_me() -> Self {
        Self {
            calls: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            waiter: thread::current(),
        }
    }

    fn count(&self) {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if calls == self.awaited.load(Ordering::SeqCst) {
            self.waiter.unpark();
        }
    }

    fn until(&self, calls: u64) {
        self.awaited.store(calls, Ordering::SeqCst);
        while self.calls.load(Ordering::SeqCst) < calls {
            thread::park();
        }
    }
}

/// A service that answers each message with the next.
#[derive(Clone, Debug)]
struct Answers {
    payload: Payload,
    served: Arc<Served>,
}

impl Answers {
    fn answer(&self, request: &[u8]) -> Bytes {
        let seq = self.payload.number(request);
        self.payload.check(request, seq);
        let mut answer = vec![0; request.len()];
        self.payload.fill(&mut answer, seq.wrapping_add(1));
        self.served.count();
        answer.into()
    }
}

impl NamedService for Answers {
    const NAME: &'static str = EchoServer::NAME;
}

impl Service<http::Request<Body>> for Answers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let unary = service_fn(|request: Request<Bytes>| {
                ready(Ok::<_, Status>(Response::new(this.answer(request.get_ref()))))
            });
            Ok(Grpc::new(BytesCodec).unary(unary, request).await)
        })
    }
}
