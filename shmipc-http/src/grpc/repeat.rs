//! Requests that the server has certainly not seen, again.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

/// So many times at most a request is sent again: each time another server has gone away.
const REPEATS: usize = 8;

/// A request is kept for that until its answer begins, as far as it has been taken: so many bytes of it at most.
const KEPT: usize = 4 << 20;

/// A channel that sends a request again which the server has certainly not seen, because the connection was closed in
/// good order before the request was on its way.
///
/// A server that shuts down in good order, for an upgrade or an end, says so (GOAWAY), and answers what it had
/// received by then. A request that the client makes in that moment fails: it was not sent, or the server says that it did
/// not look at it and never will. A plain channel reports that as `Cancelled` or `Internal`, codes that say nothing
/// certain about a request. This channel repeats such a request, and no other: what the server may have seen fails as
/// it does without this. A request of more than 4 MiB is repeated only if none of it was taken.
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
            let kept = Arc::new(Mutex::new(Kept::new(body)));
            for repeat in 0.. {
                let body = Body::new(Kept::lend(&kept));
                let error = match channel.call(Request::from_parts(parts.clone(), body)).await {
                    Err(error) if repeat < REPEATS && was_not_seen(&error) => error,
                    outcome => {
                        lock(&kept).forget();
                        return outcome;
                    }
                };
                if !lock(&kept).is_whole() {
                    return Err(error);
                }
                tracing::debug!(%error, "a request that was not seen is sent again");
                poll_fn(|cx| channel.poll_ready(cx)).await?;
            }
            unreachable!("the last attempt is returned")
        })
    }
}

/// Whether the server has certainly not looked at a request that failed so: it was still in line in this process when
/// the connection ended, or the server had said which streams it takes, and that this is none of them. (h2 gives
/// `GOAWAY` as the error of no other stream, RFC 9113, 6.8.)
fn was_not_seen(error: &(dyn Error + 'static)) -> bool {
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

/// The body of a request, and what was taken of it.
struct Kept {
    body: Body,
    /// The frames that were taken, for the next attempt; no more are added unless it is `whole`.
    taken: Vec<Piece>,
    bytes: usize,
    /// `taken` has every frame so far, and a further attempt is possible.
    whole: bool,
    /// The number of attempts so far: only the last one goes on reading.
    attempt: usize,
}

/// A frame.
#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Kept {
    fn new(body: Body) -> Self {
        Self { body, taken: Vec::new(), bytes: 0, whole: true, attempt: 0 }
    }

    /// The body from its beginning, for the next attempt.
    fn lend(kept: &Arc<Mutex<Self>>) -> Lent {
        let attempt = {
            let mut kept = lock(kept);
            kept.attempt += 1;
            kept.attempt
        };
        Lent { kept: Arc::clone(kept), attempt, next: 0 }
    }

    fn is_whole(&self) -> bool {
        self.whole
    }

    /// There is no further attempt.
    fn forget(&mut self) {
        self.whole = false;
    }

    /// Remembers a frame that was taken.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if !self.whole {
            return;
        }
        if let Some(data) = frame.data_ref() {
            self.bytes += data.len();
            self.taken.push(Piece::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.taken.push(Piece::Trailers(trailers.clone()));
        }
        self.whole = self.bytes <= KEPT;
    }
}

/// The body, for one attempt.
struct Lent {
    kept: Arc<Mutex<Kept>>,
    attempt: usize,
    /// How many frames this attempt has taken.
    next: usize,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let mut kept = lock(&this.kept);
        if kept.attempt != this.attempt {
            return Poll::Ready(None);
        }
        if let Some(piece) = kept.taken.get(this.next) {
            this.next += 1;
            return Poll::Ready(Some(Ok(match piece.clone() {
                Piece::Data(data) => Frame::data(data),
                Piece::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if !kept.whole {
            (kept.taken, this.next) = (Vec::new(), 0);
        }
        let polled = Pin::new(&mut kept.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            kept.keep(frame);
            this.next = kept.taken.len();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let kept = lock(&self.kept);
        self.next >= kept.taken.len() && kept.body.is_end_stream()
    }

    /// Says nothing: the next attempt begins anew.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
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
