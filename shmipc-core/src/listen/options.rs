//! How a socket is made.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Authorizer, PeerCred};
use crate::handshake::is_own;

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
