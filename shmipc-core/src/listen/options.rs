//! How a socket is made.

/// Options of a listener's socket.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until something listens with them"]
pub struct ListenOptions {
    pub(super) mode: u32,
    pub(super) backlog: u16,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { mode: 0o600, backlog: 1024 }
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

    /// Connections that the kernel keeps for us until we accept them. Default 1,024; the kernel takes
    /// at most `net.core.somaxconn`.
    pub fn backlog(mut self, backlog: u16) -> Self {
        self.backlog = backlog;
        self
    }
}
