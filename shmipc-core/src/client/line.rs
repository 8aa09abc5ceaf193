//! What a client needs to know of a session.

use crate::config::PeerCred;
use crate::handle::{Session, WeakSession};

/// A session, as far as a client is concerned.
pub trait Line: Clone {
    /// The same, without keeping it open.
    type Weak: Clone;

    /// The session, without keeping it open.
    fn downgrade(&self) -> Self::Weak;

    /// Whether nobody keeps it open.
    fn is_gone(weak: &Self::Weak) -> bool;

    /// Who the server is.
    fn peer(&self) -> PeerCred;
}

impl Line for Session {
    type Weak = WeakSession;

    fn downgrade(&self) -> WeakSession {
        self.downgrade()
    }

    fn is_gone(weak: &WeakSession) -> bool {
        weak.is_gone()
    }

    fn peer(&self) -> PeerCred {
        self.peer()
    }
}
