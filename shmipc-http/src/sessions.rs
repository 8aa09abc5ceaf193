//! The streams of all sessions of a listener, as one sequence.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream as _;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use shmipc_async::{AcceptError, ListenError, Listener, Session, Stream};
use tokio::task::coop::unconstrained;

use crate::Connection;

/// A listener and the sessions that it has accepted, each waiting for its next stream.
pub(crate) struct Sessions {
    accepting: BoxFuture<'static, (Listener, Result<Session, ListenError>)>,
    streams: FuturesUnordered<BoxFuture<'static, (Served, Result<Stream, AcceptError>)>>,
}

/// A session that streams are accepted from, until this is dropped.
struct Served(Session);

impl Sessions {
    pub(crate) fn new(listener: Listener) -> Self {
        Self { accepting: next_session(listener), streams: FuturesUnordered::new() }
    }

    pub(crate) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Connection, ListenError>> {
        loop {
            if let Poll::Ready((listener, accepted)) = self.accepting.poll_unpin(cx) {
                self.streams.push(next_stream(Served(accepted?)));
                self.accepting = next_session(listener);
                continue;
            }
            match Pin::new(&mut self.streams).poll_next(cx) {
                Poll::Ready(Some((served, Ok(stream)))) => {
                    let connection = Connection::new(stream, served.0.peer());
                    self.streams.push(next_stream(served));
                    return Poll::Ready(Ok(connection));
                }
                Poll::Ready(Some((_, Err(error)))) => tracing::debug!(%error, "a session is over"),
                // The next session wakes us as well.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn next_session(
    listener: Listener,
) -> BoxFuture<'static, (Listener, Result<Session, ListenError>)> {
    Box::pin(async move {
        let accepted = listener.accept().await;
        (listener, accepted)
    })
}

fn next_stream(served: Served) -> BoxFuture<'static, (Served, Result<Stream, AcceptError>)> {
    Box::pin(async move {
        let accepted = served.0.accept().await;
        (served, accepted)
    })
}

/// The client is to open its next streams elsewhere. Those that it has opened and nobody has accepted would
/// be waited for in vain: they are reset.
impl Drop for Served {
    fn drop(&mut self) {
        self.0.leave();
        while let Some(Ok(stream)) = unconstrained(self.0.accept()).now_or_never() {
            drop(stream);
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("sessions", &self.streams.len()).finish_non_exhaustive()
    }
}
