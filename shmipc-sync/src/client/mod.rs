//! Clients: calls on sessions that are made when they are needed, and again when they are lost.

mod events;
mod sessions;

pub use events::ClientEvents;

use std::path::Path;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use shmipc_core::client::{Attempts, CallError, ClientConfig, LOOK_AGAIN, Lines};
use shmipc_core::error::{DrainError, OpenError, RecvError, SendError, SessionError};
use shmipc_core::handle::{Message, WeakSession};

use crate::Stream;
use sessions::{Ongoing, Sessions};

/// Calls a server: connects with the first call, and anew when a session is lost or the server leaves.
/// Cheap to clone; all methods may be called from any thread.
///
/// A request that the server has certainly not seen is sent again by itself, until the deadline of its
/// call, unless the configuration forbids it. One that it may have seen never is: its error says
/// [`Delivery::Unknown`](crate::Delivery::Unknown).
///
/// Nothing happens in the background: that a server leaves is noticed by the next call, or by a thread that
/// waits for [events](Self::events). When the last clone is dropped the client is closed at once; a session
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

    /// Opens a stream, connecting first if need be. **Blocks** for at most the session configuration's
    /// `connect_timeout`. The peer learns of the stream with its first record, so whether it is served
    /// shows then only ([`SendError::GoingAway`], [`RecvError::GoingAway`]).
    ///
    /// # Errors
    /// [`CallError::Connect`], [`CallError::Open`], [`CallError::TimedOut`], [`CallError::Closed`].
    pub fn open(&self) -> Result<Stream, CallError> {
        let deadline = self.sessions().config.session().connect_deadline(Instant::now());
        let _ongoing = Ongoing::begin(self.sessions())?;
        let mut attempts = Attempts::new(true);
        loop {
            match self.sessions().open(deadline) {
                Err(error) => self.failed(&mut attempts, error)?,
                opened => return opened,
            }
        }
    }

    /// Sends a request on a stream of its own and gives the first message of the reply. **Blocks** until
    /// `deadline` at most.
    ///
    /// # Errors
    /// [`CallError`], whose [`delivery`](CallError::delivery) says what is known of the request.
    pub fn call(&self, request: &[u8], deadline: Instant) -> Result<Message, CallError> {
        let repeats = self.sessions().config.repeats_unseen();
        self.call_until(request, deadline, Attempts::new(repeats))
    }

    /// As [`call`](Self::call), but whatever the configuration says the request is sent once at most.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_once(&self, request: &[u8], deadline: Instant) -> Result<Message, CallError> {
        self.call_until(request, deadline, Attempts::new(false))
    }

    fn call_until(
        &self,
        request: &[u8],
        deadline: Instant,
        mut attempts: Attempts,
    ) -> Result<Message, CallError> {
        let mut ongoing = Ongoing::begin(self.sessions())?;
        loop {
            match self.sessions().call(request, deadline) {
                Ok(reply) => {
                    ongoing.answered = true;
                    return Ok(reply);
                }
                Err(error) => self.failed(&mut attempts, error)?,
            }
        }
    }

    /// What happens to the sessions from now on.
    ///
    /// # Errors
    /// [`SessionError::Os`] without descriptors, [`SessionError::Forked`].
    pub fn events(&self) -> Result<ClientEvents, SessionError> {
        ClientEvents::new(self.sessions())
    }

    /// Closes the client: no clone begins new calls, those that have begun are waited for, and so are the
    /// streams that were [opened](Self::open), until they are dropped. **Blocks** until `deadline` at most.
    ///
    /// # Errors
    /// [`DrainError::TimedOut`] if there still were some. Their sessions are closed then all the same, and
    /// they fail.
    pub fn close(&self, deadline: Instant) -> Result<(), DrainError> {
        let sessions = self.sessions();
        if sessions.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        sessions.with(Lines::begin_closing);
        while Instant::now() < deadline {
            let (calls, seen) = sessions.with(|lines| (lines.calls(), lines.changes()));
            if calls == 0 {
                break;
            }
            sessions.wait(seen, deadline);
        }
        let (handles, open) = sessions.with(Lines::close);
        drop(handles);
        let left = still_open(open, deadline);
        if left.is_empty() {
            return Ok(());
        }
        left.iter().filter_map(WeakSession::upgrade).for_each(|session| session.close(0));
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
    fn call(&self, request: &[u8], deadline: Instant) -> Result<Message, CallError> {
        let left = || Some(deadline.saturating_duration_since(Instant::now()));
        let mut stream = self.open(deadline)?;
        stream.sender().set_timeout(left());
        stream.finish_with(request).map_err(|error| match error {
            SendError::TimedOut => CallError::TimedOut,
            error => error.into(),
        })?;
        match stream.receiver().recv_deadline(deadline) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(CallError::NoReply),
            Err(RecvError::TimedOut) => Err(CallError::NoReplyYet),
            Err(error) => Err(error.into()),
        }
    }

    /// One attempt to open a stream, on whichever session has a place for it.
    fn open(&self, deadline: Instant) -> Result<Stream, CallError> {
        loop {
            let mut session = self.session(deadline)?;
            for _ in 1..self.config.sessions() {
                match session.open() {
                    Err(OpenError::TooManyStreams { .. }) => session = self.session(deadline)?,
                    opened => return Ok(opened?),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let alone = self.config.sessions() == 1;
            match session.open_timeout(if alone { left } else { left.min(LOOK_AGAIN) }) {
                Err(OpenError::TooManyStreams { .. }) => {}
                opened => return Ok(opened?),
            }
        }
    }
}

/// Waits until nobody keeps one of these open, until the deadline; gives those that somebody does.
fn still_open(mut open: Vec<WeakSession>, deadline: Instant) -> Vec<WeakSession> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let is_open = |weak: &WeakSession| match weak.upgrade() {
        // Dropping the last handle, which this may be, ends the session and calls the waker.
        Some(session) => matches!(session.poll_closed(Some(&waker)), Poll::Pending),
        None => false,
    };
    loop {
        open.retain(is_open);
        let left = deadline.saturating_duration_since(Instant::now());
        if open.is_empty() || left.is_zero() {
            return open;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
