//! Small messages in private memory, until they are sent together.

use crate::error::SendError;

use super::send::SendHalf;

/// Messages that are collected, and then sent with as few publications as room allows. Kept for its
/// memory from batch to batch.
#[derive(Debug, Default)]
pub struct Staged {
    bytes: Vec<u8>,
    /// Where in `bytes` each message ends.
    ends: Vec<usize>,
    sent: usize,
}

impl Staged {
    /// Forgets all messages.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.sent = 0;
    }

    /// Adds a message for `half`.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] for one that does not fit inside of a record.
    #[inline]
    pub fn push(&mut self, message: &[u8], half: &SendHalf) -> Result<(), SendError> {
        let max = half.inline_max();
        if message.len() > max {
            return Err(SendError::TooLarge { len: message.len(), max });
        }
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Messages not yet sent.
    pub fn len(&self) -> usize {
        self.ends.len() - self.sent
    }

    /// True if there is no message left to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends as many as there is room for, in one section. Never blocks. If it leaves any, the caller
    /// sends [`next`](Self::next) in line with others, says so by [`sent_one`](Self::sent_one), and comes back.
    ///
    /// # Errors
    /// [`SendError`]; what remains was not sent.
    pub fn try_send(&mut self, half: &SendHalf) -> Result<(), SendError> {
        let rest = (self.sent..self.ends.len()).map(|index| self.message(index));
        self.sent += half.try_send_all(rest)?;
        Ok(())
    }

    /// The first message that is not sent.
    pub fn next(&self) -> Option<&[u8]> {
        (!self.is_empty()).then(|| self.message(self.sent))
    }

    /// The first message has been sent.
    pub fn sent_one(&mut self) {
        self.sent += 1;
    }

    fn message(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}
