//! The receiving half of a stream.

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::{RecvError, SessionError};
use crate::mem::in_forked_child;
use crate::session::{Ask, Drained, Effects, End, Entry, Next, Payload, StreamId};

use super::message::{Lent, Message, Part, Trust, Untrusted};
use super::send::Reserving;
use super::session::Owner;

/// Receives on one stream; made by [`Session::open`](super::Session::open) and
/// [`Session::poll_accept`](super::Session::poll_accept).
///
/// Dropped before the end of the stream it asks the peer to stop sending.
pub struct RecvHalf<T: Trust = Untrusted> {
    pub(super) owner: Arc<Owner>,
    pub(super) key: usize,
    pub(super) id: StreamId,
    /// The peer may not have heard of the stream: tell it before the first wait.
    announce: Announce,
    /// The message that `recv` is in the middle of.
    message: Vec<Part>,
    /// What `read` is in the middle of, and how far.
    reading: Option<(Part, usize)>,
    trust: PhantomData<T>,
}

#[derive(Debug)]
enum Announce {
    Known,
    Unknown,
    Asking(Reserving),
}

impl<T: Trust> RecvHalf<T> {
    pub(super) fn new(owner: Arc<Owner>, key: usize, id: StreamId, announced: bool) -> Self {
        let announce = if announced { Announce::Known } else { Announce::Unknown };
        Self { owner, key, id, announce, message: Vec::new(), reading: None, trust: PhantomData }
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The same half under another marker.
    pub(super) fn retrust<U: Trust>(self) -> RecvHalf<U> {
        // A type with a destructor cannot be taken apart; the old shell is left without a stream.
        let mut old = self;
        let mut new = RecvHalf::new(Arc::clone(&old.owner), old.key, old.id, true);
        std::mem::swap(&mut new.announce, &mut old.announce);
        std::mem::swap(&mut new.message, &mut old.message);
        std::mem::swap(&mut new.reading, &mut old.reading);
        old.key = usize::MAX;
        new
    }

    /// Receives the next message; `None` after the peer's finish.
    ///
    /// Drives the session inline. What has arrived of a message in parts is kept for the next call,
    /// so a poll that is pending loses nothing.
    pub fn poll_recv(&mut self, waker: Option<&Waker>) -> Poll<Result<Option<Message<T>>, RecvError>> {
        // What `read` left of a message is a message.
        if let Some((part, at)) = self.reading.take() {
            self.message.push(rest_of(part, at));
        }
        loop {
            match self.poll_entry(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(self.last_message())),
                Poll::Ready(Ok(Some(entry))) => {
                    let more = entry.more;
                    let part = self.part(entry);
                    if !more && self.message.is_empty() {
                        return Poll::Ready(Ok(Some(Message::new(part, Vec::new(), self.promise()))));
                    }
                    self.push(part)?;
                    if !more {
                        return Poll::Ready(Ok(self.last_message()));
                    }
                }
            }
        }
    }

    /// Reads bytes, ignoring the bounds of messages; 0 after the peer's finish, or if `out` is empty.
    pub fn poll_read(&mut self, out: &mut [u8], waker: Option<&Waker>) -> Poll<Result<usize, RecvError>> {
        if out.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if let Some((part, at)) = &mut self.reading {
                let count = out.len().min(part.len() - *at);
                part.read(*at, &mut out[..count]);
                *at += count;
                if *at == part.len() {
                    self.reading = None;
                }
                if count > 0 {
                    return Poll::Ready(Ok(count));
                }
                continue;
            }
            if !self.message.is_empty() {
                self.reading = Some((self.message.remove(0), 0));
                continue;
            }
            match self.poll_entry(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(Some(entry))) => {
                    let part = self.part(entry);
                    self.reading = Some((part, 0));
                }
            }
        }
    }

    /// The next record of the stream; `None` at its end.
    #[inline]
    fn poll_entry(&mut self, waker: Option<&Waker>) -> Poll<Result<Option<Entry>, RecvError>> {
        if in_forked_child() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        let mut result = Ok(());
        let next = {
            let mut rx = shared.rx();
            let mut next = rx.take(self.key, &**shared, &mut effects);
            while matches!(next, Next::Nothing) && result.is_ok() {
                match shared.drain_for(self.key, &mut rx, &mut effects) {
                    Ok(Drained::Entry(entry)) => next = Next::Entry(entry),
                    Ok(Drained::Budget) => {}
                    Ok(Drained::Empty) => {
                        next = rx.end_of(self.key);
                        break;
                    }
                    Err(misdeed) => {
                        next = rx.end_of(self.key);
                        result = Err(misdeed);
                    }
                }
            }
            match (next, rx.over) {
                (Next::Nothing, Some(error)) => Poll::Ready(Err(error.into())),
                (Next::Nothing, None) => {
                    if let Some(waker) = waker {
                        rx.wait(self.key, waker);
                        rx.publish_head(&mut effects);
                    }
                    Poll::Pending
                }
                (Next::Entry(entry), _) => Poll::Ready(Ok(Some(entry))),
                (Next::End(End::Finished), _) => Poll::Ready(Ok(None)),
                (Next::End(End::Reset(code)), _) => Poll::Ready(Err(RecvError::Reset(code))),
            }
        };
        let failed = result.is_err();
        shared.complete(effects, result);
        if next.is_pending() {
            if failed {
                // The session has just ended: say so instead of waiting.
                return self.poll_entry(waker);
            }
            if !matches!(self.announce, Announce::Known) {
                return self.poll_announce(waker);
            }
        }
        next
    }

    /// Tells the peer of the stream, if it has not heard of it. Pending in any case, or failed.
    #[cold]
    fn poll_announce(&mut self, waker: Option<&Waker>) -> Poll<Result<Option<Entry>, RecvError>> {
        let owner = &self.owner;
        if owner.shared.tx().is_announced(self.key) {
            self.announce = Announce::Known;
            return Poll::Pending;
        }
        if matches!(self.announce, Announce::Unknown) {
            self.announce = Announce::Asking(Reserving::new(owner, self.key, Ask::Open));
        }
        let Announce::Asking(asking) = &mut self.announce else { return Poll::Pending };
        match asking.poll_grant(waker) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                // Our direction may be over; the peer's may still come.
                self.announce = Announce::Known;
                Poll::Ready(Err(RecvError::Open(error)))
            }
            Poll::Ready(Ok(grant)) => {
                self.announce = Announce::Known;
                let mut effects = Effects::default();
                self.owner.shared.tx().announce(self.key, grant, &mut effects);
                self.owner.shared.complete(effects, Ok(()));
                Poll::Pending
            }
        }
    }

    /// Takes over what a record carried: memory of the peer stays there, unless too much is held.
    #[inline]
    fn part(&self, entry: Entry) -> Part {
        match entry.payload {
            Payload::Heap(bytes) => Part::Heap(bytes),
            Payload::Lent { bytes, id, segment } => {
                let shared = &self.owner.shared;
                if shared.may_hold(bytes.len()) {
                    return Part::Lent(Lent { bytes, id, segment, home: Arc::clone(shared) });
                }
                let copy = bytes.to_vec().into_boxed_slice();
                shared.hand_back(id, segment, bytes.len(), false);
                Part::Heap(copy)
            }
        }
    }

    /// One more part of the message in progress.
    fn push(&mut self, part: Part) -> Result<(), RecvError> {
        self.message.push(part);
        let max = self.owner.shared.incoming.max_message as usize;
        if self.message.iter().map(Part::len).sum::<usize>() > max {
            return Err(RecvError::TooLarge { max });
        }
        Ok(())
    }

    /// The message in progress, if there is one.
    fn last_message(&mut self) -> Option<Message<T>> {
        let mut parts = std::mem::take(&mut self.message).into_iter();
        let first = parts.next()?;
        Some(Message::new(first, parts.collect(), self.promise()))
    }

    fn promise(&self) -> Option<crate::mem::PeerTrust> {
        self.owner.shared.promise
    }

    /// Asks the peer to stop sending, with a code for its application; what is unread is dropped.
    /// Never waits.
    pub fn stop(&mut self, code: u32) {
        if in_forked_child() || self.key == usize::MAX {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            rx.drop_receiver(self.key, code, &mut tx, &mut effects);
        }
        shared.complete(effects, Ok(()));
    }
}

/// What is left of a part from `at` on.
fn rest_of(part: Part, at: usize) -> Part {
    if at == 0 {
        return part;
    }
    let mut rest = vec![0; part.len() - at];
    part.read(at, &mut rest);
    Part::Heap(rest.into_boxed_slice())
}

impl<T: Trust> Drop for RecvHalf<T> {
    fn drop(&mut self) {
        self.stop(0);
    }
}

impl<T: Trust> std::fmt::Debug for RecvHalf<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvHalf").field("id", &self.id).finish_non_exhaustive()
    }
}
