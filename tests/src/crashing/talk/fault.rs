//! How a call failed, and when.

use std::time::Instant;

use shmipc_core::error::{
    AcceptError, ConnectError, DrainError, OpenError, RecvError, SendError, SessionError,
};

/// The end of a session before its time, and when it was noticed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When the call failed.
    pub at: Instant,
    /// What it said.
    pub error: Failure,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Connecting.
    Connect(ConnectError),
    /// Any call on a session.
    Session(SessionError),
    /// It gave something that is not allowed there.
    Wrong(String),
}

impl Fault {
    pub(super) fn new(error: Failure) -> Self {
        Self { at: Instant::now(), error }
    }

    pub(super) fn wrong(what: impl std::fmt::Debug) -> Self {
        Self::new(Failure::Wrong(format!("{what:?}")))
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Self::new(Failure::Connect(error))
    }
}

macro_rules! fault {
    ($($error:ident)*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                match error {
                    $error::Session(error) => Self::new(Failure::Session(error)),
                    error => Self::wrong(error),
                }
            }
        }
    )*};
}

fault!(AcceptError DrainError OpenError RecvError SendError);
