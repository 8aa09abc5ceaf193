//! Requests that the server has certainly not seen, again.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

/// So many times at most a request is sent again: each time another server has gone away.
const REPEATS: usize = 8;

/// A channel that sends a request again which the server has certainly not seen, because the connection was closed in
/// good order before the request was on its way.
///
/// A server that shuts down in good order, for an upgrade or an end, says so (GOAWAY), and answers what it has
/// received. A request that the client hands to the connection in that moment fails without being sent; a plain channel
/// reports that as `Cancelled` or `Internal`, codes that say nothing certain about a request. This channel repeats such
/// a request, and no other: whatever may have reached the server fails as it does without this.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use shmipc_http::grpc;
///
/// let channel = grpc::Repeat::new(grpc::connect(&"shm:/run/app.sock".parse()?).await?);
/// // Give it to a generated client: MyClient::new(channel)
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Repeat<S> {
    inner: S,
}

impl<S> Repeat<S> {
    /// Repeats requests of this channel, such as a `tonic::transport::Channel`.
    pub fn new(channel: S) -> Self {
        Self { inner: channel }
    }
}

impl<S, R> Service<Request<Body>> for Repeat<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Error + Send + 'static,
    S::Future: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let next = self.inner.clone();
        // The one that is ready.
        let mut channel = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let kept = Arc::new(Mutex::new(Kept { body, begun: false }));
            for _ in 0..REPEATS {
                let body = Body::new(Lent(Arc::clone(&kept)));
                let error = match channel.call(Request::from_parts(parts.clone(), body)).await {
                    Err(error) if was_not_sent(&error) && !lock(&kept).begun => error,
                    outcome => return outcome,
                };
                tracing::debug!(%error, "a request that was not sent is sent again");
                poll_fn(|cx| channel.poll_ready(cx)).await?;
            }
            channel.call(Request::from_parts(parts, Body::new(Lent(kept)))).await
        })
    }
}

/// Whether a request that failed so did not leave this process, or was refused by its number: it was still in line
/// when the connection ended, or the server had said before that it takes no more.
fn was_not_sent(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let in_line = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        let gone_away = error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        });
        if in_line || gone_away {
            return true;
        }
        next = error.source();
    }
    false
}

/// The body of a request, and whether any of it has been taken.
struct Kept {
    body: Body,
    begun: bool,
}

/// The body, for one attempt.
struct Lent(Arc<Mutex<Kept>>);

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut kept = lock(&self.0);
        kept.begun = true;
        Pin::new(&mut kept.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.size_hint()
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
