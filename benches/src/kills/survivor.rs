//! The calls that the death of the peer must end.

use shmipc_sync::{AcceptError, RecvError, SendError, Session, SessionError, Stream};

use crate::args::{Call, Size, Touch};
use crate::payload::Payload;

/// Bytes of a message of the ping-pong, and of a reservation.
const SHORT: usize = 64;
const LONG: usize = 4096;

/// Makes the call; `Err` says what came instead of the peer's death.
pub(super) fn make(call: Call, session: &Session, mut stream: Stream) -> Result<(), String> {
    match call {
        Call::Recv | Call::Next => match stream.recv() {
            Err(RecvError::Session(SessionError::PeerDied)) => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Call::Accept => match session.accept() {
            Err(AcceptError::Session(SessionError::PeerDied)) => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Call::Reserve => loop {
            match stream.reserve(LONG).and_then(|place| place.commit()) {
                Ok(()) => {}
                Err(SendError::Session(SessionError::PeerDied)) => break Ok(()),
                Err(other) => break Err(format!("{other:?}")),
            }
        },
        Call::Echo => echo(&mut stream),
    }
}

fn echo(stream: &mut Stream) -> Result<(), String> {
    let payload = Payload::new(Touch::All, Size(SHORT));
    let mut message = [0; SHORT];
    for seq in 0.. {
        payload.fill(&mut message, seq);
        match stream.send(&message) {
            Ok(()) => {}
            Err(SendError::Session(SessionError::PeerDied)) => break,
            Err(other) => return Err(format!("{other:?}")),
        }
        message.fill(0);
        match stream.recv_into(&mut message) {
            Ok(Some(SHORT)) => payload.check(&message, seq),
            Err(RecvError::Session(SessionError::PeerDied)) => break,
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(())
}
