//! A session that is known, and not kept open.

use std::sync::{Arc, Weak};

use crate::config::PeerCred;

use super::session::{Owner, Session};

/// Leads to a session for as long as the application holds a handle of it.
#[derive(Clone, Debug)]
pub struct WeakSession {
    owner: Weak<Owner>,
    peer: PeerCred,
    app_version: u32,
}

impl WeakSession {
    /// The session, unless its last handle is gone.
    pub fn upgrade(&self) -> Option<Session> {
        let owner = self.owner.upgrade()?;
        Some(Session { owner, peer: self.peer, app_version: self.app_version })
    }

    /// Whether somebody holds the session.
    pub fn is_held(&self) -> bool {
        self.owner.strong_count() > 0
    }
}

impl Session {
    /// A handle that does not keep the session open.
    pub fn downgrade(&self) -> WeakSession {
        let owner = Arc::downgrade(&self.owner);
        WeakSession { owner, peer: self.peer, app_version: self.app_version }
    }
}
