//! The one table from errors to kinds of `std::io`.

use std::io::{Error, ErrorKind};

use super::{
    AcceptError, ConfigError, ConnectError, DrainError, HandshakeError, ListenError, OpenError,
    OsError, RecvError, Refusal, SendError, SessionError,
};
use crate::client::CallError;

fn session_kind(error: SessionError) -> ErrorKind {
    match error {
        SessionError::PeerDied | SessionError::ClosedByPeer(_) => ErrorKind::ConnectionReset,
        SessionError::Closed => ErrorKind::NotConnected,
        SessionError::Misbehaved(_) => ErrorKind::InvalidData,
        SessionError::Os(os) => os.kind(),
        SessionError::RuntimeGone | SessionError::Forked => ErrorKind::NotConnected,
    }
}

fn send_kind(error: SendError) -> ErrorKind {
    match error {
        SendError::Session(error) => session_kind(error),
        SendError::Stopped(_) | SendError::Ended => ErrorKind::BrokenPipe,
        SendError::TooLarge { .. } => ErrorKind::InvalidInput,
        SendError::NoMemory(_) => ErrorKind::OutOfMemory,
        SendError::GoingAway => ErrorKind::ConnectionAborted,
        SendError::TimedOut => ErrorKind::TimedOut,
    }
}

fn handshake_kind(error: &HandshakeError) -> ErrorKind {
    match error {
        HandshakeError::Refused(Refusal::Busy) => ErrorKind::WouldBlock,
        HandshakeError::Refused(_) | HandshakeError::RefusedPeer(_) => ErrorKind::ConnectionRefused,
        HandshakeError::Misbehaved(_) => ErrorKind::InvalidData,
        HandshakeError::Closed => ErrorKind::ConnectionReset,
        HandshakeError::TimedOut | HandshakeError::NotAccepted => ErrorKind::TimedOut,
        HandshakeError::NoMemory { .. } | HandshakeError::NotCommitted { .. } => {
            ErrorKind::OutOfMemory
        }
        HandshakeError::Unmapped(_) => ErrorKind::PermissionDenied,
        HandshakeError::Dialect(_)
        | HandshakeError::SealUnsupported
        | HandshakeError::SealBroken => ErrorKind::Unsupported,
        HandshakeError::FileSize(_) => ErrorKind::FileTooLarge,
        HandshakeError::Os(os) | HandshakeError::NoSharedMemory(os) => os.kind(),
    }
}

fn connect_kind(error: &ConnectError) -> ErrorKind {
    match error {
        ConnectError::Unreachable { error, .. } => error.kind(),
        ConnectError::BadAddress { .. } => ErrorKind::InvalidInput,
        ConnectError::Handshake(error) => handshake_kind(error),
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorKind::InvalidInput, error)
    }
}

impl From<OsError> for Error {
    fn from(error: OsError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<HandshakeError> for Error {
    fn from(error: HandshakeError) -> Self {
        Self::new(handshake_kind(&error), error)
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::new(connect_kind(&error), error)
    }
}

impl From<ListenError> for Error {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::InUse { .. }
            | ListenError::Occupied { .. }
            | ListenError::Replaced { .. } => ErrorKind::AddrInUse,
            ListenError::BadPath { .. } | ListenError::OtherPath { .. } => ErrorKind::InvalidInput,
            ListenError::Path { error, .. }
            | ListenError::Group { error, .. }
            | ListenError::Os(error) => error.kind(),
            ListenError::NoSharedMemory(error) => error.kind(),
            ListenError::SealUnsupported | ListenError::SealBroken => ErrorKind::Unsupported,
            ListenError::Closed | ListenError::HandedOver | ListenError::Forked => {
                ErrorKind::NotConnected
            }
            ListenError::UpgradeRefused(_) => ErrorKind::ConnectionRefused,
            ListenError::UpgradeTimedOut => ErrorKind::TimedOut,
            ListenError::ForeignServer { .. }
            | ListenError::ForeignLock { .. }
            | ListenError::TooOpen { .. } => ErrorKind::PermissionDenied,
        };
        Self::new(kind, error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Connect(error) => error.into(),
            CallError::Open(error) => error.into(),
            CallError::Send(error) => error.into(),
            CallError::Recv(error) => error.into(),
            CallError::NoReply => Self::new(ErrorKind::UnexpectedEof, error),
            CallError::Closed => Self::new(ErrorKind::NotConnected, error),
            CallError::TimedOut | CallError::NoReplyYet => Self::new(ErrorKind::TimedOut, error),
        }
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        Self::new(session_kind(error), error)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        Self::new(send_kind(error), error)
    }
}

impl From<RecvError> for Error {
    fn from(error: RecvError) -> Self {
        let kind = match error {
            RecvError::Session(error) => session_kind(error),
            RecvError::Reset(_) => ErrorKind::ConnectionReset,
            RecvError::TooLarge { .. } => ErrorKind::InvalidData,
            RecvError::BufferTooSmall { .. } => ErrorKind::InvalidInput,
            RecvError::Open(error) => send_kind(error),
            RecvError::GoingAway => ErrorKind::ConnectionAborted,
            RecvError::TimedOut => ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        let kind = match error {
            OpenError::Session(error) => session_kind(error),
            OpenError::TooManyStreams { .. } => ErrorKind::QuotaExceeded,
            OpenError::GoingAway => ErrorKind::ConnectionAborted,
            OpenError::Leaving => ErrorKind::NotConnected,
        };
        Self::new(kind, error)
    }
}

impl From<AcceptError> for Error {
    fn from(error: AcceptError) -> Self {
        let kind = match error {
            AcceptError::Session(error) => session_kind(error),
            AcceptError::Leaving => ErrorKind::NotConnected,
            AcceptError::TimedOut => ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}

impl From<DrainError> for Error {
    fn from(error: DrainError) -> Self {
        let kind = match error {
            DrainError::Session(error) => session_kind(error),
            DrainError::TimedOut => ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}
