//! From reads of any size to frames.

use std::collections::VecDeque;

use super::WireError;
use super::frame::Frame;
use super::header::{HEADER, Header};
use crate::error::PeerMisbehaved;
use crate::mem::Passed;

/// Puts frames together from what arrives on a socket.
///
/// After every [`feed`](Self::feed), call [`next_frame`](Self::next_frame) until it answers `None`,
/// and only then read the socket again ([`link::receive`](crate::link::receive) sees to that). Drained
/// like that, it holds less than [`MAX_FRAME`](super::MAX_FRAME) bytes.
/// After an error it gives that error for ever.
#[derive(Debug)]
pub struct Decoder {
    /// What was fed and, from `start` on, is not yet decoded.
    buffer: Vec<u8>,
    start: usize,
    /// Descriptors that arrived and are not yet claimed by a frame.
    fds: VecDeque<Passed>,
    /// Most descriptors that the frames to come can declare.
    most: usize,
    failed: Option<WireError>,
}

impl Decoder {
    /// Most descriptors that any frame declares.
    pub const MAX_FDS: usize = 5;

    /// An empty decoder. Allocates when it is first fed.
    pub fn new() -> Self {
        let (buffer, fds) = (Vec::new(), VecDeque::new());
        Self { buffer, start: 0, fds, most: Self::MAX_FDS, failed: None }
    }

    /// Takes no more descriptors than `most` with the frames to come.
    pub fn expect(&mut self, most: usize) {
        self.most = most.min(Self::MAX_FDS);
    }

    /// Most descriptors that may come with the next read (W2): those of one frame. What is held already belongs to a
    /// frame before it, whose last bytes may come with the same read.
    pub fn may_come(&self) -> usize {
        self.most
    }

    /// Appends what one read delivered.
    ///
    /// The kernel ends a read after the piece that descriptors came with, so they belong to the last
    /// frame that starts in `bytes`.
    pub fn feed(&mut self, bytes: &[u8], fds: impl IntoIterator<Item = Passed>) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
        self.fds.extend(fds);
    }

    /// The next whole frame, if one is there.
    ///
    /// # Errors
    /// [`WireError`] names what is wrong with the bytes or descriptors; the connection is to be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let next = self.decode();
        if let Err(error) = &next {
            self.failed = Some(*error);
            self.fds.clear();
        }
        next
    }

    /// Whether [`next_frame`](Self::next_frame) has something to say without more bytes.
    pub fn has_frame(&self) -> bool {
        let pending = self.pending();
        let whole = |first| match Header::parse(first) {
            Ok(header) => pending.len() >= header.length,
            Err(_) => true,
        };
        self.failed.is_some() || pending.first_chunk::<HEADER>().is_some_and(whole)
    }

    /// True if no byte and no descriptor waits for more to come.
    pub fn is_empty(&self) -> bool {
        self.pending().is_empty() && self.fds.is_empty()
    }

    /// Bytes that wait for more to come.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.pending().len()
    }

    fn decode(&mut self) -> Result<Option<Frame>, WireError> {
        let Some(first) = self.pending().first_chunk::<HEADER>() else {
            return self.unfinished(if self.pending().is_empty() { 0 } else { self.most });
        };
        let Header { length, kind } = Header::parse(first)?;
        let end = self.start.saturating_add(length);
        let Some(frame) = self.buffer.get(self.start..end) else {
            return self.unfinished(kind.max_fds().min(self.most));
        };
        let body = frame.get(HEADER..).unwrap_or_default();
        let fds = &mut self.fds;
        let frame = Frame::parse(kind, body, || fds.pop_front())?;
        self.start = end;
        if self.pending().is_empty() && !self.fds.is_empty() {
            return Err(PeerMisbehaved::Descriptors.into());
        }
        Ok(Some(frame))
    }

    /// More bytes are needed. W2: descriptors that arrived belong to the frame that has begun, which can
    /// claim at most `claim` of them.
    fn unfinished(&self, claim: usize) -> Result<Option<Frame>, WireError> {
        if self.fds.len() > claim {
            return Err(PeerMisbehaved::Descriptors.into());
        }
        Ok(None)
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
