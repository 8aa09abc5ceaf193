//! The streams of all sessions of a listener, as one sequence.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream as _;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use shmipc_async::{AcceptError, ListenError, Listener, Session, Stream};
use tokio::sync::watch;

use crate::Connection;

type NextSession = BoxFuture<'static, (Arc<Listener>, Result<Session, ListenError>)>;
type NextStream = BoxFuture<'static, (Served, Result<Stream, AcceptError>)>;

/// A listener and the sessions that it has accepted, each waiting for its next stream.
pub(crate) struct Sessions {
    /// `None` once the listener was handed over: then the streams that were opened before are left.
    accepting: Option<NextSession>,
    streams: FuturesUnordered<NextStream>,
    /// The next look begins with new sessions, not with streams: neither is preferred.
    sessions_first: bool,
    listener: Arc<Listener>,
    /// Tells the sessions to leave.
    leaving: watch::Sender<bool>,
    /// What is reported after the last stream.
    end: ListenError,
}

/// A session that streams are accepted from, until this is dropped.
struct Served(Session);

impl Sessions {
    pub(crate) fn new(listener: Arc<Listener>) -> Self {
        Self {
            accepting: Some(next_session(Arc::clone(&listener))),
            streams: FuturesUnordered::new(),
            sessions_first: true,
            listener,
            leaving: watch::Sender::new(false),
            end: ListenError::HandedOver,
        }
    }

    /// Ends the listener and leaves the sessions. What clients have opened is accepted still, and then
    /// [`ListenError::Closed`] is reported.
    pub(crate) fn leave(&mut self) {
        self.listener.close();
        self.accepting = None;
        self.end = ListenError::Closed;
        self.leaving.send_replace(true);
    }

    /// Accepts the next connection. Of one call each source gets one turn: a client that makes sessions in a loop does
    /// not keep the streams of others waiting, nor the task (both sources take from its budget).
    ///
    /// After [`ListenError::HandedOver`] it gives what clients had opened before, and then that error.
    pub(crate) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Connection, ListenError>> {
        let mut accepted_session = false;
        if self.sessions_first {
            accepted_session = self.poll_session(cx)?;
        }
        self.sessions_first = !self.sessions_first;
        if let Poll::Ready(connection) = self.poll_stream(cx) {
            return Poll::Ready(Ok(connection));
        }
        if self.sessions_first {
            accepted_session = self.poll_session(cx)?;
        }
        if accepted_session {
            // Its first stream has not been looked for.
            cx.waker().wake_by_ref();
        } else if self.accepting.is_none() && self.streams.is_empty() {
            return Poll::Ready(Err(self.end.clone()));
        }
        Poll::Pending
    }

    /// Takes one new session; true if there was one.
    fn poll_session(&mut self, cx: &mut Context<'_>) -> Result<bool, ListenError> {
        let Some(accepting) = &mut self.accepting else { return Ok(false) };
        let Poll::Ready((listener, accepted)) = accepting.poll_unpin(cx) else { return Ok(false) };
        self.accepting = None;
        match accepted {
            Ok(session) => {
                self.streams.push(next_stream(Served(session), self.leaving.subscribe()));
                self.accepting = Some(next_session(listener));
                Ok(true)
            }
            // The sessions have been told to leave, and give what was opened before.
            Err(ListenError::HandedOver) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        while let Poll::Ready(Some((served, accepted))) = Pin::new(&mut self.streams).poll_next(cx)
        {
            match accepted {
                Ok(stream) => {
                    let connection = Connection::new(stream, served.0.peer());
                    self.streams.push(next_stream(served, self.leaving.subscribe()));
                    return Poll::Ready(connection);
                }
                Err(error) => tracing::debug!(%error, "a session gives no more connections"),
            }
        }
        Poll::Pending
    }
}

fn next_session(listener: Arc<Listener>) -> NextSession {
    Box::pin(async move {
        let accepted = listener.accept().await;
        (listener, accepted)
    })
}

fn next_stream(served: Served, mut leaving: watch::Receiver<bool>) -> NextStream {
    Box::pin(async move {
        let accepted = {
            let accept = pin!(served.0.accept());
            let leave = pin!(async { drop(leaving.wait_for(|leaving| *leaving).await) });
            match select(accept, leave).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right((_, accept)) => {
                    served.0.leave();
                    accept.await
                }
            }
        };
        (served, accepted)
    })
}

/// The client is to open its next streams elsewhere. Those that it has opened and nobody has accepted would
/// be waited for in vain: they are reset.
impl Drop for Served {
    fn drop(&mut self) {
        self.0.leave();
        while let Ok(stream) = self.0.try_accept() {
            drop(stream);
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("sessions", &self.streams.len()).finish_non_exhaustive()
    }
}
