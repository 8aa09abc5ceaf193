//! The promise that makes zero-copy reading sound.

/// Proof that the application has promised to trust its peer. See [`PeerTrust::promise`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PeerTrust(());

impl PeerTrust {
    /// Promises that the peer does not write to memory while it is lent to us.
    ///
    /// With it in the configuration, a message can be read where it lies in the peer's memory, as a
    /// `&[u8]`. Without it every read copies.
    ///
    /// # Safety
    /// For every session whose configuration carries the token, the peer's process must leave the
    /// bytes of a message alone from publishing it until this process has dropped the message. A peer
    /// that runs this library does; a compromised or faulty one may not, and writing to bytes
    /// behind a `&[u8]` is undefined behaviour in this process.
    #[allow(unsafe_code)]
    pub const unsafe fn promise() -> Self {
        Self(())
    }
}

impl std::fmt::Debug for PeerTrust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerTrust")
    }
}
