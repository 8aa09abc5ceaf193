//! Making a call until it succeeds or is not to be repeated.

use super::CallError;

/// The attempts of one call.
#[derive(Debug)]
pub struct Attempts {
    repeats: bool,
    last: Option<CallError>,
}

impl Attempts {
    /// No attempt yet. `repeats`: whether a request that was certainly not seen is sent again (K1).
    pub fn new(repeats: bool) -> Self {
        Self { repeats, last: None }
    }

    /// An attempt has failed. `Ok` if another one is to be made.
    ///
    /// # Errors
    /// What to report, if not.
    pub fn failed(&mut self, error: CallError) -> Result<(), CallError> {
        let asked = self.repeats || error.is_before_sending();
        if asked && error.is_to_be_repeated() {
            self.last = Some(error);
            return Ok(());
        }
        match (error, self.last.take()) {
            // Why there was no success so far says more.
            (CallError::TimedOut, Some(last)) => Err(last),
            (error, _) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{OpenError, RecvError, SendError};

    #[test]
    fn who_does_not_repeat_connects_and_opens_again_all_the_same() {
        let mut once = Attempts::new(false);
        assert_eq!(once.failed(OpenError::GoingAway.into()), Ok(()));
        for sent in [CallError::Send(SendError::GoingAway), CallError::Recv(RecvError::GoingAway)] {
            assert_eq!(once.failed(sent.clone()), Err(sent.clone()));
            assert_eq!(Attempts::new(true).failed(sent), Ok(()));
        }
    }

    #[test]
    fn a_time_out_gives_the_reason_for_it() {
        let mut attempts = Attempts::new(true);
        let away = CallError::Open(OpenError::GoingAway);
        assert_eq!(attempts.failed(away.clone()), Ok(()));
        assert_eq!(attempts.failed(CallError::TimedOut), Err(away));
        assert_eq!(attempts.failed(CallError::TimedOut), Err(CallError::TimedOut));
        assert_eq!(attempts.failed(CallError::NoReplyYet), Err(CallError::NoReplyYet));
    }
}
