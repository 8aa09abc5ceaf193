//! A session in an event loop: steps V1 to V5 of [`crate::notify::wait`].

use std::hash::{Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::SessionError;
use crate::session::Effects;

use super::session::Session;
use super::shared::Shared;
use super::spin::{Spinner, show_cpu};
use super::waiting::{arm_at_drained, news_since};

/// Drives a session from an event loop, without keeping it open (H4).
///
/// ```text
/// loop {
///     driver.try_drive();                  wakers are called; look at what has none
///     if driver.is_over() { break }
///     if driver.arm() { sleep until driver.as_fd() is readable, a waker is called, or
///                       driver.next_deadline() passes }
/// }
/// ```
///
/// The wakers given to `poll_*` tell who has something; the descriptor tells only that the session has to
/// be driven. Threads may make blocking calls on the session meanwhile: as long as one of them sleeps, it
/// drives for the loop, and the loop may be woken in vain. Once the session is over the descriptor stays
/// readable.
///
/// A loop that remembers readiness (edge-triggered epoll, tokio) clears it before `try_drive`, not after:
/// what comes in between is then seen twice, not never.
///
/// A session has one place for event loops. Several loops may share it, if each that goes
/// [leaves](Self::leave) it.
#[derive(Clone, Debug)]
pub struct Driver {
    shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.has_loop.store(true, Ordering::Relaxed);
        Self { shared: Arc::clone(shared) }
    }

    /// Drives the session: takes what the descriptor has, drains what the peer has published, calls
    /// the wakers of all for whom there is something. Never blocks.
    ///
    /// To be called whenever the descriptor is readable, and again when [`arm`](Self::arm) says so.
    pub fn try_drive(&self) {
        if self.shared.is_foreign() {
            return;
        }
        // V1.
        let free = {
            let mut gate = self.shared.gate();
            let free = gate.come_back();
            self.shared.somebody_asleep.store(gate.anybody_asleep(), Ordering::Relaxed);
            free
        };
        if !free {
            return;
        }
        if !self.shared.is_over() {
            match self.shared.link.wait(Some(Duration::ZERO)) {
                Ok(woken) => self.shared.on_taken(woken),
                Err(error) => self.shared.end(SessionError::Os(error)),
            }
        }
        self.shared.drive();
        let _ = self.shared.do_chores();
    }

    /// As [`try_drive`](Self::try_drive), for a loop that has not slept since: without a system call, but
    /// for what is due once a millisecond.
    pub fn drive_awake(&self) {
        if !self.shared.is_foreign() {
            self.shared.drive();
            self.shared.glance_now_and_then();
        }
    }

    /// Prepares to sleep on the descriptor (V4). True: it becomes readable as soon as there is something
    /// to drive for. False: there is something now, call [`try_drive`](Self::try_drive). Never blocks.
    #[must_use = "who sleeps though it is false may sleep for ever"]
    pub fn arm(&self) -> bool {
        let shared = &self.shared;
        if shared.is_foreign() || shared.is_over() {
            return true;
        }
        let mut effects = Effects::default();
        shared.rx().publish_head(&mut effects);
        shared.complete(effects, Ok(()));
        shared.has_loop.store(true, Ordering::Relaxed);
        show_cpu(shared);
        shared.sleeps.fetch_add(1, Ordering::Relaxed);
        let armed = {
            let mut gate = shared.gate();
            shared.somebody_asleep.store(true, Ordering::Relaxed);
            gate.post_outside().then(|| arm_at_drained(shared))
        };
        !news_since(shared, armed)
    }

    /// For a loop that goes and shares the descriptor with others, one of which may have been meant by what
    /// this one took: if there is something to drive for, they are woken. Never blocks.
    pub fn leave(&self) {
        if !self.arm() {
            self.shared.link.kick();
        }
        self.shared.has_loop.store(false, Ordering::Relaxed);
    }

    /// Returns when to call [`try_drive`](Self::try_drive) although the descriptor is not readable: to give memory
    /// back that is not used, or to ask the kernel again for what it refused. Ask before each sleep.
    pub fn next_deadline(&self) -> Option<Instant> {
        let asleep_for_ever = self.shared.is_foreign() || self.shared.is_over();
        if asleep_for_ever { None } else { self.shared.do_chores() }
    }

    /// How long looking pays before a sleep, by the session's mode and by what it has
    /// [learned](Self::learn). Zero while a thread that is no task of the loop spins for itself
    /// ([`Session::spin_outside`]).
    pub fn spin_budget(&self) -> Duration {
        self.shared.loop_spin_budget()
    }

    /// Looks at the socket and at the peer's process, if a millisecond has passed since anybody did: for a
    /// loop that stays awake without anything to drive for.
    pub fn glance(&self) {
        if !self.shared.is_foreign() {
            self.shared.glance_now_and_then();
        }
    }

    /// Looks for news for `slice` at most; false if this process must not spin now.
    pub fn spin(&self, slice: Duration) -> bool {
        let mut spinner = Spinner::brief(&self.shared, slice);
        if !spinner.is_admitted() {
            return false;
        }
        while spinner.again() && !self.has_news() {}
        true
    }

    /// The loop slept for so long after it had looked.
    pub fn learn(&self, slept: Duration) {
        self.shared.spin.on_woken(slept);
    }

    /// Whether there is something to drive for: records that nobody has drained, or something given back
    /// that somebody waits for. Takes no lock.
    pub fn has_news(&self) -> bool {
        !self.shared.is_foreign() && self.shared.progress.has_news(&*self.shared.peer)
    }

    /// Position up to which the peer's records have been drained, by anybody: moves while others drive.
    pub fn drained(&self) -> u64 {
        self.shared.progress.drained()
    }

    /// Ends the session because its event loop has gone; nothing if it is over.
    pub fn abandon(&self) {
        if !self.shared.is_foreign() {
            self.shared.end(SessionError::RuntimeGone);
        }
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    /// Whether this process is a fork of the one whose session this is: nothing here has an effect.
    pub fn is_foreign(&self) -> bool {
        self.shared.is_foreign()
    }
}

/// Equal if they drive the same session.
impl PartialEq for Driver {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Driver {}

impl Hash for Driver {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shared).hash(state);
    }
}

/// Readable when the session is to be driven; see [`Driver`].
impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.link.as_fd()
    }
}

impl Session {
    /// What drives this session from an event loop, without keeping it open.
    pub fn driver(&self) -> Driver {
        Driver::new(&self.owner.shared)
    }

    /// As [`Driver::try_drive`], for a loop that looks at everything it serves after it, without wakers.
    pub fn try_drive(&self) {
        self.driver().try_drive();
        if !self.owner.shared.is_foreign() {
            self.owner.shared.rx().put_aside = false;
        }
    }

    /// As [`Driver::arm`], for a loop without wakers. False also if any call of this process has put
    /// something aside for a stream, or for [`poll_accept`](Self::poll_accept), since
    /// [`try_drive`](Self::try_drive): the loop looks at everything again.
    #[must_use = "who sleeps though it is false may sleep for ever"]
    pub fn arm(&self) -> bool {
        let shared = &self.owner.shared;
        let aside = !shared.is_foreign() && !shared.is_over() && shared.rx().put_aside;
        !aside && self.driver().arm()
    }
}

/// Readable when the session is to be driven; see [`Driver`].
impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.owner.shared.link.as_fd()
    }
}
