//! The sessions of a client: connecting, waiting for others who connect, and following servers that leave.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use shmipc_core::client::{CallError, ClientConfig, Idle, Lines, Turn, random};
use shmipc_core::error::{ConnectError, SessionError};
use shmipc_core::handle::{Parting, Session as Core, WeakSession};
use shmipc_core::mem::Home;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::Session;

#[derive(Debug)]
pub(super) struct Sessions {
    address: PathBuf,
    pub(super) config: ClientConfig,
    lines: Mutex<Lines<Core>>,
    /// Something has changed.
    pub(super) changed: Arc<Notify>,
    /// In a forked child another thread may hold the lock for ever.
    home: Home,
}

impl Sessions {
    pub(super) fn new(address: PathBuf, config: ClientConfig) -> Self {
        let lines = Mutex::new(Lines::new(&config));
        Self { address, config, lines, changed: Arc::default(), home: Home::here() }
    }

    /// Whether this process is a fork of the one whose client it is: then nothing here may be used.
    pub(super) fn is_foreign(&self) -> bool {
        self.home.is_foreign()
    }

    /// Does something under the lock, and tells who waits if it has changed something. Handles of sessions
    /// are not dropped in there.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Lines<Core>) -> R) -> R {
        let (result, changed) = {
            // Nobody panics while holding it.
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let before = lines.changes();
            let result = act(&mut lines);
            (result, lines.changes() != before)
        };
        if changed {
            self.changed.notify_waiters();
        }
        result
    }

    /// A session that takes streams, made if there is none.
    pub(super) async fn session(self: &Arc<Self>, deadline: Instant) -> Result<Session, CallError> {
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(CallError::TimedOut);
            }
            let mut changed = pin!(self.changed.notified());
            // Before the look: a report in between is not missed.
            changed.as_mut().enable();
            let until = match self.with(|lines| lines.turn(now.into_std())) {
                Turn::Use(core, number) => match core.parting() {
                    None => return Ok(Session { core }),
                    Some(why) => {
                        self.parted(number, why);
                        continue;
                    }
                },
                Turn::Connect => {
                    // By a task, since all wait for it: this future may not be polled any more.
                    let connected = tokio::spawn(Connecting::new(self).connect(deadline)).await;
                    let gone = |_| Err(CallError::Open(SessionError::RuntimeGone.into()));
                    return connected.unwrap_or_else(gone);
                }
                Turn::Follow => deadline,
                Turn::Pause(then) => deadline.min(then.into()),
                Turn::Failed(error) => return Err(error.into()),
                Turn::Closed => return Err(CallError::Closed),
            };
            let _ = timeout_at(until, changed).await;
        }
    }

    /// A session takes no more streams.
    fn parted(&self, number: u64, why: Parting) {
        let handle = self.with(|lines| lines.parted(number, why, now(), random()));
        drop(handle);
    }

    /// Fills the places of sessions that have left when it is time, unless calls do.
    async fn fill(self: &Arc<Self>) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.with(|lines| lines.idle(now())) {
                Idle::Connect => {
                    let limit = Instant::from_std(self.config.session().connect_deadline(now()));
                    // If it fails, the next call tries.
                    let _ = Connecting::new(self).connect(limit).await;
                }
                Idle::Follow => changed.await,
                Idle::Pause(then) => {
                    let _ = timeout_at(then.into(), changed).await;
                }
                Idle::Rest => return,
            }
        }
    }
}

/// Waits until a session takes no more streams, and follows its server if that leaves. Boxed, for following
/// leads to connecting, which leads here.
fn follow(
    sessions: Weak<Sessions>,
    session: WeakSession,
    number: u64,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let parting = poll_fn(|cx| match session.upgrade() {
            None => Poll::Ready(None),
            Some(session) => session.poll_parting(Some(cx.waker())).map(Some),
        });
        let Some(why) = parting.await else { return };
        let Some(sessions) = sessions.upgrade() else { return };
        sessions.parted(number, why);
        sessions.fill().await;
    })
}

/// The duty to report how connecting went, whatever happens. To be taken on before anything is waited for.
struct Connecting {
    sessions: Arc<Sessions>,
    over: bool,
    error: Option<ConnectError>,
}

impl Connecting {
    fn new(sessions: &Arc<Sessions>) -> Self {
        Self { sessions: Arc::clone(sessions), over: false, error: None }
    }

    /// Connects for all, as [`Turn::Connect`] asks.
    async fn connect(mut self, deadline: Instant) -> Result<Session, CallError> {
        let sessions = Arc::clone(&self.sessions);
        let config = sessions.config.session();
        let left = deadline.saturating_duration_since(Instant::now());
        // Between attempts the client pauses itself (K3), and knows why there is no session yet.
        let config = config.with_connect_timeout(config.connect_timeout().min(left));
        let connected =
            Session::connect_with(&sessions.address, &config.with_wait_for_server(false)).await;
        let session = connected.inspect_err(|error| self.error = Some(error.clone()))?;
        let (core, weak) = (session.core.clone(), session.core.downgrade());
        self.over = true;
        match sessions.with(|lines| lines.connected(core, now(), random())) {
            Ok(number) => {
                tokio::spawn(follow(Arc::downgrade(&sessions), weak, number));
                Ok(session)
            }
            Err(_) => Err(CallError::Closed),
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if !self.over {
            let error = self.error.take();
            self.sessions.with(|lines| lines.failed(error, now(), random()));
        }
    }
}

/// A call that goes on.
pub(super) struct Ongoing<'a> {
    sessions: &'a Sessions,
    pub(super) answered: bool,
}

impl<'a> Ongoing<'a> {
    pub(super) fn begin(sessions: &'a Sessions) -> Result<Self, CallError> {
        if sessions.is_foreign() {
            return Err(CallError::Open(SessionError::Forked.into()));
        }
        sessions.with(Lines::begin)?;
        Ok(Self { sessions, answered: false })
    }
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        self.sessions.with(|lines| lines.end(self.answered));
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
