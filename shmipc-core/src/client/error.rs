//! Why a call failed.

use crate::error::{
    ConnectError, Delivery, HandshakeError, OpenError, RecvError, Refusal, SendError,
};

/// Why a call of a client failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is no stream for the request.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The request could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The reply could not be received.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// The server ended the stream without a reply.
    #[error("the server has seen the request and gave no reply")]
    NoReply,
    /// The client was closed.
    #[error("the client was closed by this process; the request was not sent")]
    Closed,
    /// The deadline passed before the request was sent.
    #[error("timed out before the request was sent; the server is away or has too much to do")]
    TimedOut,
    /// The deadline passed before the reply came.
    #[error("timed out waiting for the reply; the server may or may not have acted on the request")]
    NoReplyYet,
}

impl CallError {
    /// What is known of the request.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Connect(ConnectError::Handshake(error)) if is_refusal(error) => Delivery::Refused,
            Self::Connect(_) | Self::Open(_) | Self::Closed | Self::TimedOut => Delivery::NotSent,
            Self::Send(error) => error.delivery(),
            Self::Recv(error) => error.delivery(),
            Self::NoReply | Self::NoReplyYet => Delivery::Unknown,
        }
    }

    /// Whether the same call may succeed on another session, soon.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect(error) => is_passing(error),
            Self::Open(OpenError::Session(_) | OpenError::GoingAway) => true,
            Self::Send(SendError::Session(_) | SendError::GoingAway) => true,
            Self::Recv(RecvError::GoingAway) => true,
            Self::Recv(RecvError::Open(SendError::Session(_) | SendError::GoingAway)) => true,
            _ => false,
        }
    }

    /// Whether the attempt failed before anything of the request was tried to be sent.
    pub(crate) fn is_before_sending(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Open(_))
    }

    /// Whether the call is to be made again, if the caller allows it (K1).
    pub(crate) fn is_to_be_repeated(&self) -> bool {
        self.delivery() == Delivery::NotSent && self.is_passing()
    }
}

/// One side does not want the other: the next attempt ends the same way.
fn is_refusal(error: &HandshakeError) -> bool {
    match error {
        HandshakeError::Refused(refusal) => *refusal != Refusal::Busy,
        HandshakeError::RefusedPeer(_) | HandshakeError::Dialect(_) => true,
        _ => false,
    }
}

/// A server that is not there yet, has just gone, or has too much to do.
pub(super) fn is_passing(error: &ConnectError) -> bool {
    use HandshakeError::{NotAccepted, Refused, TimedOut};
    let busy =
        matches!(error, ConnectError::Handshake(TimedOut | NotAccepted | Refused(Refusal::Busy)));
    busy || error.is_server_away()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SessionError;

    #[test]
    fn only_what_was_not_seen_is_repeated() {
        let died = SessionError::PeerDied;
        for repeated in [
            CallError::Open(died.into()),
            CallError::Send(died.into()),
            CallError::Send(SendError::GoingAway),
            CallError::Recv(RecvError::GoingAway),
        ] {
            assert!(repeated.is_to_be_repeated(), "{repeated:?}");
        }
        for reported in [
            CallError::Recv(died.into()),
            CallError::Recv(RecvError::Reset(1)),
            CallError::Send(SendError::Stopped(1)),
            CallError::Send(SendError::TooLarge { len: 2, max: 1 }),
            CallError::NoReply,
            CallError::NoReplyYet,
            CallError::TimedOut,
            CallError::Closed,
        ] {
            assert!(!reported.is_to_be_repeated(), "{reported:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_match_refuses() {
        let failed = |error: HandshakeError| CallError::Connect(error.into());
        for refusal in [
            HandshakeError::Refused(Refusal::Limits),
            HandshakeError::RefusedPeer(Refusal::Version { theirs: 17, ours: 16 }),
            HandshakeError::Dialect(3),
        ] {
            let error = failed(refusal);
            assert_eq!(error.delivery(), Delivery::Refused, "{error:?}");
            assert!(!error.is_to_be_repeated(), "{error:?}");
        }
        let busy = failed(HandshakeError::Refused(Refusal::Busy));
        assert_eq!(busy.delivery(), Delivery::NotSent);
        assert!(busy.is_to_be_repeated());
    }
}
