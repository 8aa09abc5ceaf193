//! How a socket is made.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Authorizer, PeerCred};
use crate::handshake::is_own;
use crate::log;

/// Options of a listener's socket.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until something listens with them"]
pub struct ListenOptions {
    pub(super) mode: u32,
    pub(super) group: Option<u32>,
    pub(super) backlog: u16,
    pub(super) upgrade_at: Option<PathBuf>,
    pub(super) upgrade_authorizer: UpgradeAuthorizer,
}

impl Default for ListenOptions {
    fn default() -> Self {
        let upgrade_authorizer = UpgradeAuthorizer::default();
        Self { mode: 0o600, group: None, backlog: 1024, upgrade_at: None, upgrade_authorizer }
    }
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Permission bits of the socket file, such as `0o660`; who may write may connect, and is then asked
    /// for by the authorizer. Default `0o600`, whatever the umask says: our own user.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o7777;
        self
    }

    /// Sets the group of the socket file, by its id; with a `mode` such as `0o660` its members may connect, and the
    /// authorizer is asked (see [`ConfigBuilder::allow_gid`](crate::config::ConfigBuilder::allow_gid)). The process must be
    /// a member of the group, or root. Default: what the kernel gives a new file, mostly the primary group of the
    /// process.
    pub fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// Connections that the kernel keeps for us until we accept them. Default 1,024; the kernel takes
    /// at most `net.core.somaxconn`.
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog;
        self
    }

    /// Where the upgrade socket of an upgradable listener is, a path or `@name`. Default: the listener's address
    /// with `.upgrade` appended.
    pub fn upgrade_at(mut self, address: impl AsRef<Path>) -> Self {
        self.upgrade_at = Some(address.as_ref().to_owned());
        self
    }

    /// Decides which users a server hands its sockets to, and takes them over from, in place of the default: the
    /// own effective uid.
    pub fn upgrade_authorizer(mut self, authorizer: impl Authorizer + 'static) -> Self {
        self.upgrade_authorizer = UpgradeAuthorizer(Some(Arc::new(authorizer)));
        self
    }
}

/// Decides which users the two sides of an upgrade deal with (`crate::upgrade`, U9).
#[derive(Clone, Default)]
pub(super) struct UpgradeAuthorizer(Option<Arc<dyn Authorizer>>);

impl UpgradeAuthorizer {
    /// Whether an upgrade may take place with this user. An authorizer that panics has refused.
    pub(super) fn admits(&self, peer: PeerCred) -> bool {
        let Some(authorizer) = &self.0 else { return is_own(peer) };
        let judged = catch_unwind(AssertUnwindSafe(|| authorizer.authorize(peer)));
        judged.unwrap_or_else(|_| {
            log::line(move || {
                tracing::error!(
                    uid = peer.uid,
                    "the upgrade authorizer panicked: the peer is refused"
                );
            });
            false
        })
    }
}

impl fmt::Debug for UpgradeAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "custom" } else { "own uid" })
    }
}
