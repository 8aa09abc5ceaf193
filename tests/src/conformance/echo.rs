//! Ends that answer.

use std::thread;

use shmipc_core::error::{AcceptError, RecvError, SendError, SessionError};

use crate::flavour::{Session, Stream};

/// The next stream, or `None` once the peer has closed the session in good order.
pub(super) fn accept<S: Session>(session: &S) -> Option<S::Stream> {
    match session.accept() {
        Ok(stream) => Some(stream),
        Err(AcceptError::Session(SessionError::ClosedByPeer(0))) => None,
        Err(error) => panic!("accepting a stream: {error}"),
    }
}

/// Sends every message back, then finishes. A peer that has seen enough may drop the stream, or the
/// session.
pub(super) fn echo_stream(mut stream: impl Stream) {
    const CLOSED: SessionError = SessionError::ClosedByPeer(0);
    loop {
        let message = match stream.recv() {
            Ok(Some(message)) => message.to_vec(),
            Ok(None) => break,
            Err(RecvError::Reset(0) | RecvError::Session(CLOSED)) => return,
            Err(error) => panic!("receiving: {error}"),
        };
        match stream.send(&message) {
            Ok(()) => {}
            Err(SendError::Stopped(0) | SendError::Session(CLOSED)) => return,
            Err(error) => panic!("sending: {error}"),
        }
    }
    assert!(matches!(
        stream.finish(),
        Ok(()) | Err(SendError::Stopped(0) | SendError::Session(CLOSED))
    ));
}

/// Answers one stream after the other until the session ends.
pub(super) fn echo_in_turn(session: &impl Session) {
    while let Some(stream) = accept(session) {
        echo_stream(stream);
    }
}

/// Answers every stream on a thread of its own until the session ends.
pub(super) fn echo_at_once(session: &impl Session) {
    thread::scope(|scope| {
        while let Some(stream) = accept(session) {
            scope.spawn(|| echo_stream(stream));
        }
    });
}
