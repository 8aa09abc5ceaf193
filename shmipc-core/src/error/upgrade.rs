//! Why a server does not follow another one.

/// Why the running server goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeRefusal {
    /// The successor runs as somebody else.
    #[error(
        "it saw uid {0}; run both as the same user, or set `upgrade_authorizer` of its listener"
    )]
    Unauthorized(u32),
    /// It speaks another version of the upgrade protocol.
    #[error("it speaks version {0} of the upgrade protocol; stop it before the other one starts")]
    Version(u32),
    /// It is a server of another application.
    #[error("it serves another application; check the path, and `Config::builder().application`")]
    Application,
    /// Another successor is taking over.
    #[error("another upgrade is in progress; try again when it is over")]
    InProgress,
    /// The server before it does not let go.
    #[error(
        "the server before it still drains and does not answer; end that process, or try again later"
    )]
    Unreleased,
    /// The successor was not ready in time.
    #[error("the successor was not ready in time; raise `ListenerBuilder::ready_within`")]
    TooSlow,
    /// It could not read what the successor said.
    #[error("it could not read what the successor said; one of them is faulty")]
    Nonsense,
    /// It has no descriptor left for what the successor passed to it.
    #[error("it is out of descriptors; raise its `ulimit -n`, or try again when it has some left")]
    Shortage,
    /// A reason that this version does not know.
    #[error("for reason {0}; the running server is newer")]
    Other(u32),
}
