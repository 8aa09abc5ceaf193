//! Who may be our peer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::config::{Config, PeerCred};
use crate::error::{HandshakeError, Refusal};

/// The answer to "may this user talk to us?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Yes.
    Granted,
    /// No.
    Denied(PeerCred),
    /// No, and the uid says nothing: the user has no name in our user namespace.
    Unmapped(PeerCred),
}

impl Authorization {
    /// # Errors
    /// The refusal, if it is one.
    pub fn check(self) -> Result<(), HandshakeError> {
        match self {
            Self::Granted => Ok(()),
            Self::Denied(peer) => {
                Err(HandshakeError::RefusedPeer(Refusal::Unauthorized { uid: peer.uid }))
            }
            Self::Unmapped(peer) => Err(HandshakeError::Unmapped(peer)),
        }
    }
}

/// Asks the configured authorizer, or else lets in root and our own effective uid; uids that were
/// allowed one by one are let in either way. An authorizer that panics has refused.
pub fn authorize(config: &Config, peer: PeerCred) -> Authorization {
    let granted = match &config.authorizer {
        Some(authorizer) => {
            let judged = catch_unwind(AssertUnwindSafe(|| authorizer.authorize(peer)));
            judged.unwrap_or_else(|_| {
                tracing::error!(uid = peer.uid, "the authorizer panicked: the peer is refused");
                false
            })
        }
        None => is_own_or_root(peer),
    };
    if granted || config.allowed_uids.contains(&peer.uid) {
        Authorization::Granted
    } else if config.authorizer.is_none() && peer.uid == overflow_uid() {
        Authorization::Unmapped(peer)
    } else {
        Authorization::Denied(peer)
    }
}

/// Whether the peer is our own user.
pub(crate) fn is_own(peer: PeerCred) -> bool {
    peer.uid == nix::unistd::geteuid().as_raw() && is_own_or_root(peer)
}

/// Whether the peer is root or our own user.
fn is_own_or_root(peer: PeerCred) -> bool {
    by_default(peer.uid, nix::unistd::geteuid().as_raw(), overflow_uid())
}

/// Root and our own effective uid. The overflow uid stands for every user that our user namespace does
/// not know, so it equals nobody, not even ourselves.
pub(super) fn by_default(peer: u32, own: u32, overflow: u32) -> bool {
    peer == 0 || (peer == own && peer != overflow)
}

/// The uid that the kernel shows for users without one here.
pub fn overflow_uid() -> u32 {
    static UID: OnceLock<u32> = OnceLock::new();
    *UID.get_or_init(|| {
        let setting = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        setting.and_then(|uid| uid.trim().parse().ok()).unwrap_or(65534)
    })
}
