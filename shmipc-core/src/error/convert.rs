//! The one table from errors to kinds of `std::io`.

use std::io::{Error, ErrorKind};

use super::{AcceptError, DrainError, OpenError, RecvError, SendError, SessionError};

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
