//! The end of a session: one side leaves, and the other learns what it has not seen.

use shmipc_core::error::{AcceptError, OpenError, RecvError, SendError, SessionError};

use super::{Failure, Fault, SIZES, Talk};
use crate::deadline::patience;
use crate::flavour::{Sender as _, Session, Stream};
use crate::payload::pattern;

/// Requests that are answered before a side leaves.
const SERVED: u64 = 2;

impl<S: Session> Talk<'_, S> {
    /// Serves two streams, leaves, serves those that came before, and closes.
    pub(super) fn leave(&mut self) -> Result<(), Fault> {
        for served in 0.. {
            if served == SERVED {
                self.session.leave();
            }
            match self.session.accept() {
                Ok(stream) => self.streams.push(stream),
                Err(AcceptError::Leaving) if served >= SERVED => break,
                Err(error) => return Err(error.into()),
            }
            self.receive(Some(SIZES[0]))?;
            self.receive(None)?;
            let (_, seed) = self.begin();
            self.stream().sender().finish_with(&pattern(seed, SIZES[1]))?;
            self.ledger.sent();
            self.streams.clear();
        }
        self.session.drained_timeout(patience())?;
        self.session.close(0);
        Ok(())
    }

    /// Opens streams until the other side has left.
    pub(super) fn stay(&mut self) -> Result<(), Fault> {
        while self.request()? {}
        match self.session.closed() {
            SessionError::ClosedByPeer(0) => Ok(()),
            error => Err(Fault::new(Failure::Session(error))),
        }
    }

    /// One request on a stream of its own; false if the other side leaves, or has closed.
    fn request(&mut self) -> Result<bool, Fault> {
        const CLOSED: SessionError = SessionError::ClosedByPeer(0);
        match self.session.open() {
            Ok(stream) => self.streams.push(stream),
            Err(OpenError::GoingAway | OpenError::Session(CLOSED)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let (number, seed) = self.begin();
        let sent = self.stream().sender().finish_with(&pattern(seed, SIZES[0]));
        let replied = match sent {
            Ok(()) => self.stream().recv(),
            Err(SendError::GoingAway | SendError::Session(CLOSED)) => Err(RecvError::GoingAway),
            Err(error) => return Err(error.into()),
        };
        match replied {
            Ok(Some(reply)) => {
                // What crosses with the leaving is sent only if it is answered.
                self.ledger.sent();
                self.see(&reply, SIZES[1])?;
                self.receive(None)?;
                self.streams.clear();
                Ok(true)
            }
            Err(RecvError::GoingAway) => {
                self.ledger.take_back();
                self.not_seen = Some(number);
                self.streams.clear();
                Ok(false)
            }
            Ok(None) => Err(Fault::wrong("an end without a reply")),
            Err(error) => Err(error.into()),
        }
    }
}
