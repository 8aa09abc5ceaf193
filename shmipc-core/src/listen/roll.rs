//! The sessions of a listener that may be told to leave.

use crate::handle::{Session, WeakSession};

/// Sessions, as long as somebody holds them.
#[derive(Debug, Default)]
pub(super) struct Roll {
    sessions: Vec<WeakSession>,
    /// Those that are gone are struck off when there are so many.
    crowded: usize,
}

impl Roll {
    /// Adds one.
    pub(super) fn add(&mut self, session: &Session) {
        if self.sessions.len() >= self.crowded {
            self.sessions.retain(|session| !session.is_gone());
            self.crowded = self.sessions.len().saturating_mul(2).max(64);
        }
        self.sessions.push(session.downgrade());
    }

    /// All that are left.
    pub(super) fn all(&mut self) -> Vec<WeakSession> {
        self.sessions.retain(|session| !session.is_gone());
        self.sessions.clone()
    }
}
