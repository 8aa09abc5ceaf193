//! One thread that waits for very many sessions.

mod event;
mod queue;
mod sessions;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use shmipc_core::error::OsError;
use shmipc_core::handle::Watch;
use shmipc_core::listen::Acceptor;
use shmipc_core::session::Readiness;
use slab::Slab;

use crate::{Listener, RecvStream, Session};
pub use event::{Event, Interrupter, WatchError};
use queue::{Caller, Queue};
use sessions::Sessions;

/// Waits for listeners, sessions and receiving halves, any number of them, on one thread.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::collections::HashMap;
/// use shmipc_sync::{Listener, TryError, WaitSet};
///
/// let listener = Listener::bind("/run/app.sock")?;
/// let mut set = WaitSet::new()?;
/// set.add_listener(&listener, 0)?;
/// let (mut sessions, mut streams, mut next) = (HashMap::new(), HashMap::new(), 1);
/// let mut events = Vec::new();
/// loop {
///     set.wait(&mut events, None)?;
///     for event in &events {
///         if event.token == 0 {
///             while let Ok(session) = listener.try_accept() {
///                 set.add_session(&session, next)?;
///                 sessions.insert(next, session);
///                 next += 1;
///             }
///         } else if let Some(session) = sessions.get(&event.token) {
///             match session.try_accept() {
///                 Ok(mut stream) => {
///                     set.add_receiver(stream.receiver(), next)?;
///                     streams.insert(next, stream);
///                     next += 1;
///                 }
///                 Err(TryError::WouldBlock) => {}
///                 Err(TryError::Failed(_)) => {
///                     set.remove(event.token);
///                     sessions.remove(&event.token);
///                 }
///             }
///         } else if let Some(stream) = streams.get_mut(&event.token) {
///             let goes_on = match stream.try_recv() {
///                 // A client that does not read its replies is not waited for.
///                 Ok(Some(message)) => stream.try_send(&message).is_ok(),
///                 Ok(None) | Err(TryError::Failed(_)) => false,
///                 Err(TryError::WouldBlock) => true,
///             };
///             if !goes_on {
///                 set.remove(event.token);
///                 streams.remove(&event.token);
///             }
///         }
///     }
/// }
/// # }
/// ```
///
/// The caller gives each entry a *token*, any number, by which [`wait`](Self::wait) reports it. What still
/// has something is reported again (level-triggered), at a cost that depends on what is ready, not on what
/// is registered.
///
/// The set drives its sessions while a thread is in `wait`, and keeps nothing open: entries whose
/// receiving half or listener is dropped go by themselves. Sessions in the set may be used as always,
/// also with calls that block. A receiving half can be in one set at a time.
#[derive(Debug)]
pub struct WaitSet {
    queue: Arc<Queue>,
    entries: Slab<Entry>,
    tokens: HashMap<usize, usize>,
    sessions: Sessions,
    /// Numbers of listeners.
    listeners: Vec<usize>,
    /// Entries to be looked at: new ones, and those that were reported.
    due: Vec<usize>,
    /// Counts the calls of `wait`.
    round: u64,
    /// Kept for its memory.
    readable: Vec<u64>,
}

#[derive(Debug)]
struct Entry {
    token: usize,
    source: Source,
    /// The call of `wait` that reported it last.
    reported: u64,
}

#[derive(Debug)]
enum Source {
    Listener(Weak<Acceptor>),
    Watched {
        watch: Watch,
        /// Number of its session.
        session: usize,
        caller: Arc<Caller>,
        waker: Waker,
    },
}

/// Keys of the poller: a session's number, or an entry's.
const ENTRY: u64 = 1 << 62;

impl WaitSet {
    /// An empty set.
    ///
    /// # Errors
    /// [`OsError`] without descriptors or memory.
    pub fn new() -> Result<Self, OsError> {
        Ok(Self {
            queue: Arc::new(Queue::new()?),
            entries: Slab::new(),
            tokens: HashMap::new(),
            sessions: Sessions::default(),
            listeners: Vec::new(),
            due: Vec::new(),
            round: 0,
            readable: Vec::new(),
        })
    }

    /// Reports when [`Listener::try_accept`] has something to do, which is not always a session.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn add_listener(&mut self, listener: &Listener, token: usize) -> Result<(), WatchError> {
        self.check(token)?;
        let source = Source::Listener(Arc::downgrade(&listener.acceptor));
        let entry = self.entries.insert(Entry { token, source, reported: 0 });
        if let Err(error) = self.queue.poller.add(listener.as_fd(), ENTRY | entry as u64) {
            self.entries.remove(entry);
            return Err(error.into());
        }
        self.tokens.insert(token, entry);
        self.listeners.push(entry);
        Ok(())
    }

    /// Reports when [`Session::try_accept`] gives something: a stream, or that no further one comes,
    /// because the session is over or because we leave.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn add_session(&mut self, session: &Session, token: usize) -> Result<(), WatchError> {
        self.add(session.watch(), token)
    }

    /// Reports when [`RecvStream::try_recv`] gives something: a message or a part of one, the end of the
    /// stream, or that of the session.
    ///
    /// # Errors
    /// [`WatchError`].
    pub fn add_receiver(&mut self, stream: &RecvStream, token: usize) -> Result<(), WatchError> {
        self.add(stream.watch(), token)
    }

    fn add(&mut self, watch: Watch, token: usize) -> Result<(), WatchError> {
        self.check(token)?;
        let session =
            self.sessions.add(watch.driver(), &self.queue.poller, |number| number as u64)?;
        let vacant = self.entries.vacant_entry();
        let entry = vacant.key();
        let caller = Arc::new(Caller::new(&self.queue, entry));
        let waker = Waker::from(Arc::clone(&caller));
        let source = Source::Watched { watch, session, caller, waker };
        vacant.insert(Entry { token, source, reported: 0 });
        self.tokens.insert(token, entry);
        self.due.push(entry);
        Ok(())
    }

    fn check(&self, token: usize) -> Result<(), WatchError> {
        match self.tokens.contains_key(&token) {
            true => Err(WatchError::TokenTaken(token)),
            false => Ok(()),
        }
    }

    /// Removes an entry. False if there is none of this token (any more).
    pub fn remove(&mut self, token: usize) -> bool {
        let entry = self.tokens.get(&token).copied();
        entry.inspect(|&entry| self.remove_entry(entry)).is_some()
    }

    fn remove_entry(&mut self, number: usize) {
        let entry = self.entries.remove(number);
        self.tokens.remove(&entry.token);
        match entry.source {
            Source::Listener(acceptor) => {
                self.listeners.retain(|&other| other != number);
                // One that was dropped has gone from the poller by itself.
                if let Some(acceptor) = acceptor.upgrade() {
                    self.queue.poller.remove(acceptor.as_fd());
                }
            }
            Source::Watched { session, .. } => self.sessions.remove(session, &self.queue.poller),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Something that ends the wait from other threads.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(&self.queue)
    }

    /// **Blocks** until something is ready, somebody interrupts it, or `timeout` is over (`None`: never).
    /// Puts one event for each entry that is ready into `events`, which is cleared before; none after a
    /// time-out or an interruption.
    ///
    /// A session that gives no further stream is reported until it is removed. An event may turn out to be for nothing.
    ///
    /// # Errors
    /// [`OsError`] if the kernel refuses to wait; `EPERM` in a forked child.
    pub fn wait(
        &mut self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> Result<(), OsError> {
        events.clear();
        self.queue.poller.check_home()?;
        self.round += 1;
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut due = std::mem::take(&mut self.due);
        loop {
            let all_armed = self.sessions.arm();
            loop {
                due.drain(..).for_each(|entry| self.look(entry, events));
                self.queue.take(&mut due);
                if due.is_empty() {
                    break;
                }
            }
            // Also with something to report already, lest the others wait for ever.
            let may_sleep = all_armed && events.is_empty() && self.queue.fall_asleep();
            let left = if may_sleep { self.time_left(end) } else { Some(Duration::ZERO) };
            let waited = self.queue.poller.wait(&mut self.readable, left);
            self.queue.wake_up();
            waited?;
            self.act(events);
            self.queue.take(&mut due);
            due.drain(..).for_each(|entry| self.look(entry, events));
            // The clock is read after the look: what came in time is reported.
            let over = end.is_some_and(|end| Instant::now() >= end);
            if !events.is_empty() || self.queue.take_interrupt() || over {
                return Ok(());
            }
        }
    }

    /// How long to sleep at most.
    fn time_left(&mut self, end: Option<Instant>) -> Option<Duration> {
        let listeners = self.listeners.iter().filter_map(|&entry| self.deadline_of(entry));
        let next = listeners.chain(end).chain(self.sessions.next_deadline()).min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// When a listener has to be looked at though it is not readable.
    fn deadline_of(&self, entry: usize) -> Option<Instant> {
        match &self.entries.get(entry)?.source {
            Source::Listener(acceptor) => acceptor.upgrade()?.next_deadline(),
            Source::Watched { .. } => None,
        }
    }

    /// What the poller reported, and what is due by the clock.
    fn act(&mut self, events: &mut Vec<Event>) {
        let mut readable = std::mem::take(&mut self.readable);
        for key in readable.drain(..) {
            match key & ENTRY {
                0 => self.sessions.drive(key as usize, &self.queue.poller),
                _ => self.report((key & !ENTRY) as usize, false, events),
            }
        }
        self.readable = readable;
        self.sessions.drive_due(&self.queue.poller);
        for index in 0..self.listeners.len() {
            let entry = self.listeners[index];
            if self.deadline_of(entry).is_some_and(|deadline| deadline <= Instant::now()) {
                self.report(entry, false, events);
            }
        }
    }

    /// Looks whether an entry has something, if there still is such an entry.
    fn look(&mut self, number: usize, events: &mut Vec<Event>) {
        let Some(entry) = self.entries.get(number) else { return };
        let Source::Watched { watch, session, caller, waker } = &entry.source else { return };
        caller.heard();
        match watch.poll(waker) {
            Readiness::Ready => {
                let over = self.sessions.is_over(*session);
                self.report(number, over, events);
            }
            Readiness::Pending => {}
            Readiness::Gone => self.remove_entry(number),
        }
    }

    fn report(&mut self, number: usize, session_over: bool, events: &mut Vec<Event>) {
        let Some(entry) = self.entries.get_mut(number) else { return };
        if std::mem::replace(&mut entry.reported, self.round) == self.round {
            return;
        }
        events.push(Event { token: entry.token, session_over });
        if matches!(entry.source, Source::Watched { .. }) {
            self.due.push(number);
        }
    }
}
