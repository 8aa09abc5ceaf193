//! Clients: calls on a session that is made when it is needed, and again when it is lost.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shmipc_core::client::{CallError, Line, Turn};
use shmipc_core::config::Config;
use shmipc_core::handle::Message;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::{Session, Stream};

/// Calls a server: connects with the first call, and anew when the session is lost or the server leaves.
/// Cheap to clone; all methods may be called from any task.
///
/// A request that the server has certainly not seen is sent again by itself, until the deadline of its
/// call. One that it may have seen never is: its error says [`Delivery::Unknown`](crate::Delivery::Unknown).
///
/// A session lives on the runtime of the call that made it.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: PathBuf,
    config: Config,
    line: Mutex<Line<Session>>,
    /// Somebody has connected, or has given up.
    changed: Notify,
}

/// The duty to report how connecting went, whatever happens.
struct Connecting<'a> {
    inner: &'a Inner,
    session: Option<Session>,
}

impl Client {
    /// A client of the server at `address`, a path or `@name` for an abstract address. Does not connect
    /// yet.
    pub fn new(address: impl AsRef<Path>, config: Config) -> Self {
        let address = address.as_ref().to_owned();
        let (line, changed) = (Mutex::new(Line::new()), Notify::new());
        Self { inner: Arc::new(Inner { address, config, line, changed }) }
    }

    /// Opens a stream, connecting first if need be, within the configuration's `connect_timeout`. The peer
    /// learns of the stream with its first record, so whether it is served shows then only
    /// ([`SendError::GoingAway`](crate::SendError::GoingAway),
    /// [`RecvError::GoingAway`](crate::RecvError::GoingAway)). Cancel safe.
    ///
    /// # Errors
    /// [`CallError::Connect`], [`CallError::Open`], [`CallError::TimedOut`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn open(&self) -> Result<Stream, CallError> {
        let inner = &*self.inner;
        let deadline = Instant::now() + inner.config.connect_timeout();
        let mut last = None;
        loop {
            match inner.open(deadline).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(again(error, last)?),
            }
        }
    }

    /// Sends a request on a stream of its own and gives the first message of the reply, until `deadline`.
    /// Cancelled, the server may or may not have acted on the request.
    ///
    /// # Errors
    /// [`CallError`], whose [`delivery`](CallError::delivery) says what is known of the request.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn call(
        &self,
        request: &[u8],
        deadline: impl Into<Instant>,
    ) -> Result<Message, CallError> {
        let (inner, deadline) = (&*self.inner, deadline.into());
        let mut last = None;
        loop {
            match inner.call_once(request, deadline).await {
                Ok(reply) => {
                    inner.line().succeeded();
                    return Ok(reply);
                }
                Err(error) => last = Some(again(error, last)?),
            }
        }
    }
}

/// The error, if the attempt is to be repeated (K1 of `shmipc_core::client`); else what to report.
fn again(error: CallError, last: Option<CallError>) -> Result<CallError, CallError> {
    match error {
        error if error.is_to_be_repeated() => Ok(error),
        // Why there was no success so far says more.
        CallError::TimedOut => Err(last.unwrap_or(CallError::TimedOut)),
        error => Err(error),
    }
}

impl Inner {
    async fn call_once(&self, request: &[u8], deadline: Instant) -> Result<Message, CallError> {
        let mut stream = self.open(deadline).await?;
        let sent = timeout_at(deadline, stream.finish_with(request)).await;
        sent.map_err(|_| CallError::TimedOut)??;
        let received = timeout_at(deadline, stream.recv()).await;
        received.map_err(|_| CallError::NoReplyYet)??.ok_or(CallError::NoReply)
    }

    async fn open(&self, deadline: Instant) -> Result<Stream, CallError> {
        let session = self.session(deadline).await?;
        let opened = timeout_at(deadline, session.open_wait()).await;
        Ok(opened.map_err(|_| CallError::TimedOut)??)
    }

    /// The session, made if there is none.
    async fn session(&self, deadline: Instant) -> Result<Session, CallError> {
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(CallError::TimedOut);
            }
            let mut changed = pin!(self.changed.notified());
            // Before the look: a report in between is not missed.
            changed.as_mut().enable();
            let turn = self.line().turn(now.into_std(), is_usable);
            let until = match turn {
                Turn::Use(session) => return Ok(session),
                Turn::Connect => return self.connect(deadline).await,
                Turn::Follow => deadline,
                Turn::Pause(then) => deadline.min(then.into()),
            };
            let _ = timeout_at(until, changed).await;
        }
    }

    /// Connects for all.
    async fn connect(&self, deadline: Instant) -> Result<Session, CallError> {
        let mut connecting = Connecting { inner: self, session: None };
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = self.config.connect_timeout().min(left);
        let config = self.config.with_connect_timeout(timeout);
        let session = Session::connect_with(&self.address, &config).await?;
        connecting.session = Some(session.clone());
        Ok(session)
    }

    fn line(&self) -> MutexGuard<'_, Line<Session>> {
        // Nobody panics while holding it.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        let (now, random) = (Instant::now(), RandomState::new().build_hasher().finish());
        match self.session.take() {
            Some(session) => self.inner.line().connected(session, now.into_std(), random),
            None => self.inner.line().failed(now.into_std(), random),
        }
        self.inner.changed.notify_waiters();
    }
}

/// A session whose driver has not run yet learns of its end by a look.
fn is_usable(session: &Session) -> bool {
    session.core.glance();
    !session.is_closed() && !session.is_peer_leaving()
}
