//! The answer of calls that never wait.

use std::io;

/// Why a call that never waits has done nothing: what it would wait for is not there now, or the call that waits would
/// fail too. As [`std::sync::TryLockError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryError<E> {
    /// It would have to wait: nothing has come that could be received or accepted, or there is no room to send.
    #[error("it would have to wait; try again later, or use the call that waits")]
    WouldBlock,
    /// What the call that waits reports.
    #[error(transparent)]
    Failed(#[from] E),
}

impl<E> TryError<E> {
    /// Whether the call may succeed later.
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::WouldBlock)
    }
}

impl<E> From<TryError<E>> for io::Error
where
    Self: From<E>,
{
    fn from(error: TryError<E>) -> Self {
        match error {
            TryError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryError::Failed(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RecvError;
    use super::*;

    #[test]
    fn kinds_are_those_of_std() {
        let kind = |error: TryError<RecvError>| io::Error::from(error).kind();
        assert_eq!(kind(TryError::WouldBlock), io::ErrorKind::WouldBlock);
        assert_eq!(kind(RecvError::TimedOut.into()), io::ErrorKind::TimedOut);
    }
}
