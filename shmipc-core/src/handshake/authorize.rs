//! Who may be our peer.

use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::config::{Config, PeerCred};
use crate::error::{HandshakeError, Refusal};
use crate::log;
use crate::mem;

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
                log::line(move || {
                    tracing::error!(uid = peer.uid, "the authorizer panicked: the peer is refused")
                });
                false
            })
        }
        None => is_own_or_root(peer),
    };
    if granted || config.allowed_uids.contains(&peer.uid) {
        Authorization::Granted
    } else if config.authorizer.is_none() && is_ambiguous(peer.uid) {
        Authorization::Unmapped(peer)
    } else {
        Authorization::Denied(peer)
    }
}

/// Whether the peer is our own user.
pub(crate) fn is_own(peer: PeerCred) -> bool {
    peer.uid == nix::unistd::geteuid().as_raw() && is_own_or_root(peer)
}

/// As [`authorize`], and lets in members of the groups that were allowed. The kernel is asked for the groups only if
/// the answer depends on them.
pub(crate) fn authorize_socket(
    config: &Config,
    socket: BorrowedFd<'_>,
    peer: PeerCred,
) -> Authorization {
    let judged = authorize(config, peer);
    if judged == Authorization::Granted || config.allowed_gids.is_empty() {
        return judged;
    }
    let allowed = |gid: &u32| config.allowed_gids.contains(gid) && *gid != overflow_gid();
    match allowed(&peer.gid) || mem::peer_groups(socket).iter().any(allowed) {
        true => Authorization::Granted,
        false => judged,
    }
}

/// The gid that the kernel shows for groups without one here, so it is no group in particular.
fn overflow_gid() -> u32 {
    let setting = std::fs::read_to_string("/proc/sys/kernel/overflowgid").ok();
    setting.and_then(|gid| gid.trim().parse().ok()).unwrap_or(65534)
}

/// Whether the peer is root or our own user.
fn is_own_or_root(peer: PeerCred) -> bool {
    by_default(peer.uid, nix::unistd::geteuid().as_raw(), is_ambiguous)
}

/// Lets in root and our own effective uid, unless that uid may stand for other users as well.
pub(super) fn by_default(peer: u32, own: u32, is_ambiguous: impl FnOnce(u32) -> bool) -> bool {
    peer == 0 || (peer == own && !is_ambiguous(peer))
}

/// Whether the kernel may show `uid` for users that are not the same.
///
/// The overflow uid stands for every user that our user namespace does not map. Where it maps all of them, as the
/// initial one does, the kernel has no use for the overflow uid, and it is the uid of one user, mostly `nobody`.
fn is_ambiguous(uid: u32) -> bool {
    // Read each time: the process may have changed its namespace.
    let map = || std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    uid == overflow_uid() && !maps_every_uid(&map())
}

/// Whether a `/proc/PID/uid_map` maps every uid to itself. The kernel refuses such a map below a namespace that
/// does not map every uid either.
pub(super) fn maps_every_uid(map: &str) -> bool {
    let numbers = map.split_ascii_whitespace().map(str::parse::<u32>);
    numbers.eq([Ok(0), Ok(0), Ok(u32::MAX)])
}

/// The uid that the kernel shows for users without one here.
pub fn overflow_uid() -> u32 {
    static UID: OnceLock<u32> = OnceLock::new();
    *UID.get_or_init(|| {
        let setting = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        setting.and_then(|uid| uid.trim().parse().ok()).unwrap_or(65534)
    })
}
