//! Ends that answer.

use std::thread;

use shmipc_core::error::{AcceptError, SessionError};

use crate::flavour::{Session, Stream};

/// The next stream, or `None` once the peer has closed the session in good order.
pub(super) fn accept<S: Session>(session: &S) -> Option<S::Stream> {
    match session.accept() {
        Ok(stream) => Some(stream),
        Err(AcceptError::Session(SessionError::ClosedByPeer(0))) => None,
        Err(error) => panic!("accepting a stream: {error}"),
    }
}

/// Sends every message back, then finishes.
pub(super) fn echo_stream(mut stream: impl Stream) {
    while let Some(message) = stream.recv().expect("a message or the end") {
        stream.send(&message.to_vec()).expect("the peer reads its echo");
    }
    stream.finish().expect("not finished yet");
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
