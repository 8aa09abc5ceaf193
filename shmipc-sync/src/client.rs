//! Clients: calls on a session that is made when it is needed, and again when it is lost.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use shmipc_core::client::{CallError, Line, Turn};
use shmipc_core::config::Config;
use shmipc_core::error::{OpenError, RecvError, SendError};
use shmipc_core::handle::Message;

use crate::{Session, Stream};

/// Calls a server: connects with the first call, and anew when the session is lost or the server leaves.
/// Cheap to clone; all methods may be called from any thread.
///
/// A request that the server has certainly not seen is sent again by itself, until the deadline of its
/// call. One that it may have seen never is: its error says [`Delivery::Unknown`](crate::Delivery::Unknown).
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
    changed: Condvar,
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
        let (line, changed) = (Mutex::new(Line::new()), Condvar::new());
        Self { inner: Arc::new(Inner { address, config, line, changed }) }
    }

    /// Opens a stream, connecting first if need be. **Blocks** for at most the configuration's
    /// `connect_timeout`. The peer learns of the stream with its first record, so whether it is served shows
    /// then only ([`SendError::GoingAway`], [`RecvError::GoingAway`]).
    ///
    /// # Errors
    /// [`CallError::Connect`], [`CallError::Open`], [`CallError::TimedOut`].
    pub fn open(&self) -> Result<Stream, CallError> {
        let deadline = Instant::now() + self.inner.config.connect_timeout();
        self.inner.repeat(|| self.inner.open(deadline))
    }

    /// Sends a request on a stream of its own and gives the first message of the reply. **Blocks** until
    /// `deadline` at most.
    ///
    /// # Errors
    /// [`CallError`], whose [`delivery`](CallError::delivery) says what is known of the request.
    pub fn call(&self, request: &[u8], deadline: Instant) -> Result<Message, CallError> {
        let inner = &*self.inner;
        let reply = inner.repeat(|| inner.call_once(request, deadline))?;
        inner.line().succeeded();
        Ok(reply)
    }
}

impl Inner {
    /// Makes attempts until one is not to be repeated (K1 of `shmipc_core::client`).
    fn repeat<T>(&self, attempt: impl Fn() -> Result<T, CallError>) -> Result<T, CallError> {
        let mut last = None;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if error.is_to_be_repeated() => last = Some(error),
                // Why there was no success so far says more.
                Err(CallError::TimedOut) => return Err(last.unwrap_or(CallError::TimedOut)),
                Err(error) => return Err(error),
            }
        }
    }

    fn call_once(&self, request: &[u8], deadline: Instant) -> Result<Message, CallError> {
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

    fn open(&self, deadline: Instant) -> Result<Stream, CallError> {
        let session = self.session(deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        session.open_timeout(left).map_err(|error| match error {
            OpenError::TooManyStreams { .. } => CallError::TimedOut,
            error => error.into(),
        })
    }

    /// The session, made if there is none.
    fn session(&self, deadline: Instant) -> Result<Session, CallError> {
        let mut line = self.line();
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(CallError::TimedOut);
            }
            let until = match line.turn(now, is_usable) {
                Turn::Use(session) => return Ok(session),
                Turn::Connect => {
                    drop(line);
                    return self.connect(deadline);
                }
                Turn::Follow => deadline,
                Turn::Pause(then) => then.min(deadline),
            };
            let waited = self.changed.wait_timeout(line, until.saturating_duration_since(now));
            line = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Connects for all.
    fn connect(&self, deadline: Instant) -> Result<Session, CallError> {
        let mut connecting = Connecting { inner: self, session: None };
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = self.config.connect_timeout().min(left);
        let config = self.config.with_connect_timeout(timeout);
        let session = Session::connect_with(&self.address, &config)?;
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
            Some(session) => self.inner.line().connected(session, now, random),
            None => self.inner.line().failed(now, random),
        }
        self.inner.changed.notify_all();
    }
}

/// A session that nobody is inside of learns of its end by a look.
fn is_usable(session: &Session) -> bool {
    session.core.glance();
    !session.is_closed() && !session.is_peer_leaving()
}
