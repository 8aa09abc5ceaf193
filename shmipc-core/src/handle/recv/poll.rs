//! What applications ask of a receiving half.

use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::{RecvError, SessionError};
use crate::handle::message::Message;
use crate::mem::{Memory as _, PeerMapping};
use crate::session::{Entry, Payload};

use super::RecvHalf;
use super::part::Part;
use super::parts::Taken;
use super::record::{Found, come_back};

/// Parts taken in one turn at most: a peer that sends without end keeps nobody longer.
const TURN: usize = 16 << 10;

impl RecvHalf {
    /// Receives the next message; `None` after the peer's finish.
    ///
    /// Drives the session inline. What has arrived of a message in parts is kept for the next call,
    /// so a poll that is pending loses nothing.
    #[inline]
    pub fn poll_recv(&mut self, waker: Option<&Waker>) -> Poll<Result<Option<Message>, RecvError>> {
        if self.taken.is_empty() {
            let copy = |peer: &Arc<PeerMapping>, at, len| Some(peer.read_to_vec(at, len));
            match self.poll_next(Some(copy), waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(Some(Found::Copied(bytes)))) => {
                    return Poll::Ready(Ok(Some(Message::copied(bytes.into()))));
                }
                Poll::Ready(Ok(Some(Found::Entry(entry)))) if !entry.more => {
                    return Poll::Ready(Ok(Some(self.message_of(entry.payload))));
                }
                Poll::Ready(Ok(Some(Found::Entry(entry)))) => self.take(entry),
            }
        }
        let gathered = self.poll_gather(waker);
        let message = gathered.map_ok(|is_there| is_there.then(|| self.assemble()));
        self.note_kept();
        message
    }

    /// Tells watchers whether a message is there already.
    fn note_kept(&mut self) {
        let kept = self.taken.has_message();
        if self.kept || kept {
            self.set_kept(kept);
        }
    }

    /// Takes parts until a message is complete; false at the end of the stream.
    fn poll_gather(&mut self, waker: Option<&Waker>) -> Poll<Result<bool, RecvError>> {
        if self.owner.shared.is_foreign() {
            // What was taken may lie in memory that this process does not have.
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let max = self.owner.shared.incoming.max_message as usize;
        for _ in 0..TURN {
            self.taken.skip_read();
            if self.taken.has_message() {
                return Poll::Ready(Ok(true));
            }
            if self.taken.bytes() > max {
                return Poll::Ready(Err(RecvError::TooLarge { max }));
            }
            match self.poll_entry(waker) {
                Poll::Pending => {
                    self.heed_plea();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(self.taken.end())),
                Poll::Ready(Ok(Some(entry))) => self.take(entry),
            }
        }
        come_back(waker)
    }

    /// Receives the next message into `out` and gives its length; `None` after the peer's finish. Needs
    /// no memory of its own for a message that travels inside of its record.
    ///
    /// A message that is longer than `out` is an error and stays the next message.
    pub fn poll_recv_into(
        &mut self,
        out: &mut [u8],
        waker: Option<&Waker>,
    ) -> Poll<Result<Option<usize>, RecvError>> {
        if self.taken.is_empty() {
            let copy = |peer: &Arc<PeerMapping>, at, len| {
                peer.read(at, out.get_mut(..len)?);
                Some(len)
            };
            match self.poll_next(Some(copy), waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(Some(Found::Copied(len)))) => return Poll::Ready(Ok(Some(len))),
                Poll::Ready(Ok(Some(Found::Entry(entry)))) => match entry {
                    Entry { payload, more: false } if payload.len() <= out.len() => {
                        return Poll::Ready(Ok(Some(self.copy_to(payload, out))));
                    }
                    entry => self.take(entry),
                },
            }
        }
        let gathered = self.poll_gather(waker);
        let copied = gathered.map_ok(|is_there| is_there.then(|| self.taken.message_len()));
        let copied = copied.map(|copied| match copied {
            Ok(Some(len)) => {
                let room = out.len();
                let out = out.get_mut(..len).ok_or(RecvError::BufferTooSmall { len, room })?;
                self.assemble_into(out);
                Ok(Some(len))
            }
            none => none,
        });
        self.note_kept();
        copied
    }

    /// Copies the message of a single record to the front of `out`, and gives its memory back.
    fn copy_to(&mut self, payload: Payload, out: &mut [u8]) -> usize {
        let len = payload.len();
        match payload {
            Payload::Heap(bytes) => {
                out[..len].copy_from_slice(&bytes);
                self.spare = Some(bytes);
            }
            Payload::Lent { bytes, id, segment, .. } => {
                bytes.read(0, &mut out[..len]);
                self.owner.shared.hand_back(id, segment);
            }
        }
        len
    }

    /// Reads bytes, ignoring the bounds of messages; 0 after the peer's finish, or if `out` is empty.
    ///
    /// A poll that is pending has consumed nothing: empty messages that it has passed over are received by
    /// [`poll_recv`](Self::poll_recv) still. A watcher is not told of these.
    pub fn poll_read(
        &mut self,
        out: &mut [u8],
        waker: Option<&Waker>,
    ) -> Poll<Result<usize, RecvError>> {
        if out.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.owner.shared.is_foreign() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let polled = self.read_parts(out, waker);
        // A read that found no byte would find none again.
        let kept = polled.is_ready() && (self.taken.has_bytes() || self.taken.has_message());
        self.set_kept(kept);
        polled
    }

    fn read_parts(
        &mut self,
        out: &mut [u8],
        waker: Option<&Waker>,
    ) -> Poll<Result<usize, RecvError>> {
        for _ in 0..TURN {
            let (count, consumed) = self.taken.read(out);
            if let Some(Taken { part: Part::Heap(bytes), .. }) = consumed {
                self.spare = Some(bytes);
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            match self.poll_entry(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => {
                    self.taken.read_end();
                    return Poll::Ready(Ok(0));
                }
                Poll::Ready(Ok(Some(entry))) => self.take(entry),
            }
        }
        come_back(waker)
    }
}
