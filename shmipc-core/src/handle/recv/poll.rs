//! What applications ask of a receiving half.

use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::{RecvError, SessionError};
use crate::handle::message::{Message, Part, Trust};
use crate::mem::{Memory as _, PeerMapping};
use crate::session::{Entry, Payload};

use super::RecvHalf;
use super::parts::Taken;
use super::record::{Found, come_back};

/// Parts taken in one turn at most: a peer that sends without end keeps nobody longer.
const TURN: usize = 16 << 10;

impl<T: Trust> RecvHalf<T> {
    /// Receives the next message; `None` after the peer's finish.
    ///
    /// Drives the session inline. What has arrived of a message in parts is kept for the next call,
    /// so a poll that is pending loses nothing.
    #[inline]
    pub fn poll_recv(
        &mut self,
        waker: Option<&Waker>,
    ) -> Poll<Result<Option<Message<T>>, RecvError>> {
        if self.taken.is_empty() {
            let copy = |peer: &Arc<PeerMapping>, at, len| Some(peer.read_to_vec(at, len));
            match self.poll_next(Some(copy), waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(Some(Found::Copied(bytes)))) => {
                    return Poll::Ready(Ok(Some(self.message(bytes.into_boxed_slice()))));
                }
                Poll::Ready(Ok(Some(Found::Entry(entry)))) if !entry.more => {
                    let part = self.part(entry);
                    return Poll::Ready(Ok(Some(Message::new(part, Vec::new(), self.promise()))));
                }
                Poll::Ready(Ok(Some(Found::Entry(entry)))) => self.take(entry),
            }
        }
        let polled = self.poll_parts(waker);
        let kept = self.taken.has_message();
        if self.kept || kept {
            self.set_kept(kept);
        }
        polled
    }

    fn message(&self, bytes: Box<[u8]>) -> Message<T> {
        Message::new(Part::Heap(bytes), Vec::new(), self.promise())
    }

    /// Takes parts until a message is complete.
    fn poll_parts(&mut self, waker: Option<&Waker>) -> Poll<Result<Option<Message<T>>, RecvError>> {
        if self.owner.shared.is_foreign() {
            // What was taken may lie in memory that this process does not have.
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let max = self.owner.shared.incoming.max_message as usize;
        for _ in 0..TURN {
            if self.taken.pop_passed() {
                return Poll::Ready(Ok(Some(self.message(Box::default()))));
            }
            if self.taken.has_message() {
                match self.assemble() {
                    None => continue,
                    message => return Poll::Ready(Ok(message)),
                }
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
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(self.assemble())),
                Poll::Ready(Ok(Some(entry))) if self.taken.is_empty() && !entry.more => {
                    let part = self.part(entry);
                    return Poll::Ready(Ok(Some(Message::new(part, Vec::new(), self.promise()))));
                }
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
                    Entry { payload: Payload::Heap(bytes), more: false }
                        if bytes.len() <= out.len() =>
                    {
                        let len = bytes.len();
                        out[..len].copy_from_slice(&bytes);
                        self.spare = Some(bytes);
                        return Poll::Ready(Ok(Some(len)));
                    }
                    entry => self.take(entry),
                },
            }
        }
        match self.poll_recv(waker) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(Some(message))) => {
                let (len, room) = (message.len(), out.len());
                let Some(out) = out.get_mut(..len) else {
                    self.put_back(message);
                    return Poll::Ready(Err(RecvError::BufferTooSmall { len, room }));
                };
                message.copy_to_slice(out);
                Poll::Ready(Ok(Some(message.len())))
            }
        }
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
