//! Clients: calls on sessions that are made when they are needed, and again when they are lost.

mod events;
mod sessions;

pub use events::ClientEvents;

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use shmipc_core::client::{Attempts, CallError, ClientConfig, LOOK_AGAIN, Lines};
use shmipc_core::error::{DrainError, OpenError, SessionError};
use shmipc_core::handle::{Message, WeakSession};
use tokio::time::{Instant, timeout_at};

use crate::Stream;
use sessions::{Ongoing, Sessions};

/// Calls a server: connects with the first call, and anew when a session is lost or the server leaves.
/// Cheap to clone; all methods may be called from any task.
///
/// A request that the server has certainly not seen is sent again by itself, until the deadline of its
/// call, unless the configuration forbids it. One that it may have seen never is: its error says
/// [`Delivery::Unknown`](crate::Delivery::Unknown).
///
/// A session lives on the runtime of the call that made it, with a task that follows its server when that
/// leaves, if no call does so first. When the last clone is dropped the client is closed at once; a session
/// whose stream is still held goes on until that is dropped too.
#[derive(Clone, Debug)]
pub struct Client {
    owner: Arc<Owner>,
}

/// Closes the client when its last clone goes.
#[derive(Debug)]
struct Owner {
    sessions: Arc<Sessions>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.sessions.is_foreign() {
            drop(self.sessions.with(Lines::close));
        }
    }
}

impl Client {
    /// A client of the server at `address`, a path or `@name` for an abstract address, with a
    /// [`Config`](crate::Config) for its sessions or a whole [`ClientConfig`]. Does not connect yet.
    pub fn new(address: impl AsRef<Path>, config: impl Into<ClientConfig>) -> Self {
        let sessions = Arc::new(Sessions::new(address.as_ref().to_owned(), config.into()));
        Self { owner: Arc::new(Owner { sessions }) }
    }

    /// Opens a stream, connecting first if need be, within the session configuration's `connect_timeout`.
    /// The peer learns of the stream with its first record, so whether it is served shows then only
    /// ([`SendError::GoingAway`](crate::SendError::GoingAway),
    /// [`RecvError::GoingAway`](crate::RecvError::GoingAway)). Cancel safe.
    ///
    /// # Errors
    /// [`CallError::Connect`], [`CallError::Open`], [`CallError::TimedOut`], [`CallError::Closed`].
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn open(&self) -> Result<Stream, CallError> {
        let now = Instant::now().into_std();
        let deadline = Instant::from_std(self.sessions().config.session().connect_deadline(now));
        let _ongoing = Ongoing::begin(self.sessions())?;
        let mut attempts = Attempts::new(true);
        loop {
            match self.sessions().open(deadline).await {
                Err(error) => self.failed(&mut attempts, error)?,
                opened => return opened,
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
        let repeats = self.sessions().config.repeats_unseen();
        self.call_until(request, deadline.into(), Attempts::new(repeats)).await
    }

    /// As [`call`](Self::call), but whatever the configuration says the request is sent once at most. Cancelled, the
    /// server may or may not have acted on the request.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Panics
    /// As [`call`](Self::call).
    pub async fn call_once(
        &self,
        request: &[u8],
        deadline: impl Into<Instant>,
    ) -> Result<Message, CallError> {
        self.call_until(request, deadline.into(), Attempts::new(false)).await
    }

    async fn call_until(
        &self,
        request: &[u8],
        deadline: Instant,
        mut attempts: Attempts,
    ) -> Result<Message, CallError> {
        let mut ongoing = Ongoing::begin(self.sessions())?;
        loop {
            match self.sessions().call(request, deadline).await {
                Ok(reply) => {
                    ongoing.answered = true;
                    return Ok(reply);
                }
                Err(error) => self.failed(&mut attempts, error)?,
            }
        }
    }

    /// What happens to the sessions from now on.
    pub fn events(&self) -> ClientEvents {
        ClientEvents::new(self.sessions())
    }

    /// Closes the client: no clone begins new calls, those that have begun are waited for, and so are the
    /// streams that were [opened](Self::open), until they are dropped; all that until `deadline` at most.
    /// Cancel safe: no new calls are begun after it, and it can be called again.
    ///
    /// # Errors
    /// [`DrainError::TimedOut`] if there still were some. Their sessions are closed then all the same, and
    /// they fail.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled.
    pub async fn close(&self, deadline: impl Into<Instant>) -> Result<(), DrainError> {
        let (sessions, deadline) = (self.sessions(), deadline.into());
        if sessions.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        sessions.with(Lines::begin_closing);
        let _ = timeout_at(deadline, sessions.calls_over()).await;
        let (handles, mut open) = sessions.with(Lines::close);
        drop(handles);
        let over = poll_fn(|cx| poll_over(&mut open, cx));
        if timeout_at(deadline, over).await.is_ok() {
            return Ok(());
        }
        open.iter().filter_map(WeakSession::upgrade).for_each(|session| session.close(0));
        Err(DrainError::TimedOut)
    }

    /// An attempt has failed. `Ok` if another one is to be made.
    fn failed(&self, attempts: &mut Attempts, error: CallError) -> Result<(), CallError> {
        let failed = attempts.failed(error);
        failed.map_err(|error| self.sessions().with(|lines| lines.explain(error)))
    }

    fn sessions(&self) -> &Arc<Sessions> {
        &self.owner.sessions
    }
}

impl Sessions {
    /// One attempt to call.
    async fn call(
        self: &Arc<Self>,
        request: &[u8],
        deadline: Instant,
    ) -> Result<Message, CallError> {
        let mut stream = self.open(deadline).await?;
        let sent = timeout_at(deadline, stream.finish_with(request)).await;
        sent.map_err(|_| CallError::TimedOut)??;
        let received = timeout_at(deadline, stream.recv()).await;
        received.map_err(|_| CallError::NoReplyYet)??.ok_or(CallError::NoReply)
    }

    /// One attempt to open a stream, on whichever session has a place for it.
    async fn open(self: &Arc<Self>, deadline: Instant) -> Result<Stream, CallError> {
        loop {
            let mut session = self.session(deadline).await?;
            for _ in 1..self.config.sessions() {
                match session.open() {
                    Err(OpenError::TooManyStreams { .. }) => {
                        session = self.session(deadline).await?
                    }
                    opened => return Ok(opened?),
                }
            }
            let alone = self.config.sessions() == 1;
            let until = if alone { deadline } else { deadline.min(Instant::now() + LOOK_AGAIN) };
            if let Ok(opened) = timeout_at(until, session.open_wait()).await {
                return Ok(opened?);
            }
        }
    }

    /// Waits until no call goes on.
    async fn calls_over(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look: a report in between is not missed.
            changed.as_mut().enable();
            if self.with(|lines| lines.calls()) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Ready when nobody keeps one of these open. The others are left in there.
fn poll_over(open: &mut Vec<WeakSession>, cx: &Context<'_>) -> Poll<()> {
    open.retain(|weak| match weak.upgrade() {
        // Dropping the last handle, which this may be, ends the session and calls the waker.
        Some(session) => session.poll_closed(Some(cx.waker())).is_pending(),
        None => false,
    });
    if open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
}
