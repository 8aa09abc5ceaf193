//! Sessions that are not kept open.

use std::sync::{Arc, Weak};

use crate::config::PeerCred;

use super::session::{Owner, Session};

/// A session that others keep open, or not (H4).
#[derive(Clone, Debug)]
pub struct WeakSession {
    owner: Weak<Owner>,
    peer: PeerCred,
    app_version: u32,
}

impl Session {
    /// The session, without keeping it open.
    pub fn downgrade(&self) -> WeakSession {
        let (peer, app_version) = (self.peer, self.app_version);
        WeakSession { owner: Arc::downgrade(&self.owner), peer, app_version }
    }
}

impl WeakSession {
    /// A handle of the session, if there still is another one.
    pub fn upgrade(&self) -> Option<Session> {
        let owner = self.owner.upgrade()?;
        Some(Session { owner, peer: self.peer, app_version: self.app_version })
    }

    /// Whether all its handles are gone, so that it was closed.
    pub fn is_gone(&self) -> bool {
        self.owner.strong_count() == 0
    }
}
