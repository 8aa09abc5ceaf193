//! The accepting machine beside those of the servers before and after it (`crate::upgrade`).

use std::time::Instant;

use super::super::roll::Roll;
use super::super::upgrades::Upgrades;
use super::{Acceptor, Inner};
use crate::error::ListenError;
use crate::handle::{Session, WeakSession};

impl Acceptor {
    pub(super) fn enrol(&self, session: &Session) {
        let late = {
            let mut inner = self.lock();
            inner.sessions.iter_mut().for_each(|roll| roll.add(session));
            inner.is_followed()
        };
        if late {
            session.leave();
        }
    }

    /// Whether this listener accepts: at once if it has bound its socket itself; if it takes over from
    /// a running server, after that one has stopped, which this asks for. True as well if it has accepted, and a
    /// successor has come so soon that it serves already. Never blocks; to be called again when the descriptor becomes
    /// readable, or at the next deadline.
    ///
    /// # Errors
    /// As [`try_accept`](Self::try_accept).
    pub fn try_ready(&self, now: Instant) -> Result<bool, ListenError> {
        self.work(|inner| {
            inner.begin(now);
            self.turn(inner, now)?;
            inner.check()?;
            if !inner.ready.is_empty() {
                self.signal(inner, true)?;
            }
            Ok(inner.accepts || inner.is_followed())
        })
    }

    /// Whether a successor serves, still. False if this listener accepts (again). Never blocks; to be called
    /// again when the descriptor becomes readable.
    ///
    /// # Errors
    /// As [`try_accept`](Self::try_accept).
    pub fn try_followed(&self, now: Instant) -> Result<bool, ListenError> {
        self.work(|inner| {
            inner.check()?;
            self.turn(inner, now)?;
            Ok(inner.is_followed())
        })
    }

    /// The sessions that this listener has given and that somebody holds, if it can be handed over.
    pub fn sessions(&self) -> Vec<WeakSession> {
        if self.home.is_foreign() {
            return Vec::new();
        }
        self.lock().sessions.as_mut().map(Roll::all).unwrap_or_default()
    }

    /// 1, or one more than the server from which this one took over.
    pub fn generation(&self) -> u64 {
        if self.home.is_foreign() {
            return 1;
        }
        self.lock().generation
    }

    /// **Blocks** until this listener accepts; see [`try_ready`](Self::try_ready).
    ///
    /// # Errors
    /// As [`try_accept`](Self::try_accept).
    pub fn ready(&self) -> Result<(), ListenError> {
        self.block(None, |now| Ok(self.try_ready(now)?.then_some(()))).map(drop)
    }
}

impl Inner {
    /// The application is ready to accept.
    pub(super) fn begin(&mut self, now: Instant) {
        if let Some(upgrades) = &mut self.upgrades {
            upgrades.ready(now);
        }
    }

    /// Whether there is an upgrade that has more to do than to wait.
    pub(super) fn is_unsettled(&self) -> bool {
        self.upgrades.as_ref().is_some_and(|upgrades| {
            upgrades.accepts() != self.accepts || upgrades.has_unsent() || upgrades.has_left()
        })
    }

    /// Whether a peer of an upgrade had more for the last turn than its budget.
    pub(super) fn has_left(&self) -> bool {
        self.upgrades.as_ref().is_some_and(Upgrades::has_left)
    }

    pub(super) fn check(&self) -> Result<(), ListenError> {
        if self.closed {
            return Err(ListenError::Closed);
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.upgrades.as_ref().and_then(Upgrades::failure).map_or(Ok(()), Err)
    }

    /// A successor serves.
    pub(super) fn is_followed(&self) -> bool {
        self.retired || self.upgrades.as_ref().is_some_and(Upgrades::is_followed)
    }

    /// A successor serves, and nothing has to be handed out here.
    pub(super) fn is_handed_over(&self) -> bool {
        self.is_followed() && self.ready.is_empty() && self.handshakes.stats().in_progress == 0
    }

    /// The sessions that are to be told to leave, once.
    pub(super) fn take_leaving(&mut self) -> Vec<WeakSession> {
        let from_now = self.upgrades.as_mut().is_some_and(Upgrades::take_leaving);
        match std::mem::take(&mut self.leaving) | from_now {
            true => self.sessions.as_mut().map(Roll::all).unwrap_or_default(),
            false => Vec::new(),
        }
    }
}
