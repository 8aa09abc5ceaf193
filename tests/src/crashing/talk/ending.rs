//! Streams of which one side says a word, and the ways in which they end.

use shmipc_core::error::{RecvError, SendError};

use super::{Fault, SIZES, Talk};
use crate::crashing::Ending;
use crate::flavour::{Receiver as _, Sender as _, Session, Stream};

/// The reason that is given for a stream that does not end in good order.
const CODE: u32 = 7;

impl<S: Session> Talk<'_, S> {
    /// Opens a stream and says nothing on it until the other side has.
    pub(super) fn listen(&mut self) -> Result<(), Fault> {
        self.streams.push(self.session.open()?);
        self.receive(Some(SIZES[0]))?;
        match self.ending {
            Ending::Finish => {
                self.stream().finish()?;
                self.receive(None)?;
            }
            Ending::Reset => {
                self.stream().sender().reset(CODE);
                self.is_reset()?;
            }
            Ending::Stop => {
                self.stream().receiver().stop(CODE);
                self.stream().finish()?;
            }
        }
        self.streams.clear();
        Ok(())
    }

    /// The other side of that.
    pub(super) fn speak(&mut self) -> Result<(), Fault> {
        self.streams.push(self.session.accept()?);
        self.send(SIZES[0])?;
        match self.ending {
            Ending::Finish => {
                self.stream().finish()?;
                self.receive(None)?;
            }
            Ending::Reset => {
                self.stream().sender().reset(CODE);
                self.is_reset()?;
            }
            Ending::Stop => {
                self.receive(None)?;
                // What was said before the end is known with it.
                match self.stream().send(b"more") {
                    Err(SendError::Stopped(CODE)) => {}
                    Err(error) => return Err(error.into()),
                    Ok(()) => return Err(Fault::wrong("a word after the stop")),
                }
            }
        }
        self.streams.clear();
        Ok(())
    }

    fn is_reset(&mut self) -> Result<(), Fault> {
        match self.stream().recv() {
            Err(RecvError::Reset(CODE)) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(message) => Err(Fault::wrong(message.map(|message| message.len()))),
        }
    }
}
