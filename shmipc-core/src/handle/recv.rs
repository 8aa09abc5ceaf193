//! The receiving half of a stream.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::{RecvError, SendError, SessionError};
use crate::mem::{Memory as _, PeerMapping};
use crate::session::{Ask, Drained, Effects, End, Entry, Next, Payload, RecvStats, StreamId};

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
    /// Taken out of the inbox and not yet handed to the application: parts of a message that `recv`
    /// or `read` is in the middle of.
    taken: VecDeque<Taken>,
    /// How many they were when they were joined last.
    joined: usize,
    /// What was taken would answer the next call: watchers have been told.
    kept: bool,
    trust: PhantomData<T>,
}

/// Parts taken in one turn at most: a peer that sends without end keeps nobody longer.
const TURN: usize = 16 << 10;

/// So many more parts than before are joined, those on the heap into pieces of at least that many bytes:
/// a part of a byte costs a hundred.
const PARTS: usize = 1024;
const PIECE: usize = 64 << 10;

/// A part of a message.
struct Taken {
    part: Part,
    /// Bytes of it that `read` has consumed.
    from: usize,
    /// The message goes on in the next part.
    more: bool,
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
        let (taken, joined, kept) = (VecDeque::new(), 0, false);
        Self { owner, key, id, announce, taken, joined, kept, trust: PhantomData }
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Whether somebody waits for another stream of the session, or for one to accept: who looks for records
    /// may have to look for them all.
    pub fn others_wait(&self) -> bool {
        let shared = &self.owner.shared;
        !shared.is_foreign() && shared.rx().others_wait(Some(self.key))
    }

    /// Counters of what was received.
    pub fn stats(&self) -> RecvStats {
        match self.owner.shared.is_foreign() {
            true => RecvStats::default(),
            false => self.owner.shared.rx().stats_of(self.key),
        }
    }

    /// The same half under another marker.
    pub(super) fn retrust<U: Trust>(self) -> RecvHalf<U> {
        // A type with a destructor cannot be taken apart; the old shell is left without a stream.
        let mut old = self;
        let mut new = RecvHalf::new(Arc::clone(&old.owner), old.key, old.id, true);
        std::mem::swap(&mut new.announce, &mut old.announce);
        std::mem::swap(&mut new.taken, &mut old.taken);
        new.kept = old.kept;
        old.key = usize::MAX;
        new
    }

    /// Receives the next message; `None` after the peer's finish.
    ///
    /// Drives the session inline. What has arrived of a message in parts is kept for the next call,
    /// so a poll that is pending loses nothing.
    #[inline]
    pub fn poll_recv(
        &mut self,
        waker: Option<&Waker>,
    ) -> Poll<Result<Option<Message<T>>, RecvError>> {
        if self.taken.is_empty() && !self.owner.shared.is_foreign() {
            let copy = |peer: &Arc<PeerMapping>, at, len| Some(peer.read_to_vec(at, len));
            if let Some(bytes) = self.owner.shared.take_inline(self.key, copy) {
                let part = Part::Heap(bytes.into_boxed_slice());
                return Poll::Ready(Ok(Some(Message::new(part, Vec::new(), self.promise()))));
            }
        }
        let polled = self.poll_parts(waker);
        if self.kept {
            let whole = self.taken.iter().any(|taken| !taken.more);
            self.set_kept(whole);
        }
        polled
    }

    /// Takes parts until a message is complete.
    fn poll_parts(&mut self, waker: Option<&Waker>) -> Poll<Result<Option<Message<T>>, RecvError>> {
        if self.owner.shared.is_foreign() {
            // What was taken may lie in memory that this process does not have.
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let max = self.owner.shared.incoming.max_message as usize;
        for _ in 0..TURN {
            if let Some(last) = self.taken.iter().position(|taken| !taken.more) {
                match self.assemble(last + 1) {
                    None => continue,
                    message => return Poll::Ready(Ok(message)),
                }
            }
            if self.taken.iter().map(Taken::len).sum::<usize>() > max {
                return Poll::Ready(Err(RecvError::TooLarge { max }));
            }
            match self.poll_entry(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(self.assemble(self.taken.len()))),
                Poll::Ready(Ok(Some(entry))) if self.taken.is_empty() && !entry.more => {
                    let part = self.part(entry);
                    return Poll::Ready(Ok(Some(Message::new(part, Vec::new(), self.promise()))));
                }
                Poll::Ready(Ok(Some(entry))) => self.take(entry),
            }
        }
        come_back(waker)
    }

    /// Makes a message of the first parts taken; `None` of one whose bytes `read` has consumed.
    fn assemble(&mut self, parts: usize) -> Option<Message<T>> {
        let read = self.taken.front().is_some_and(Taken::is_read);
        let parts = self.taken.drain(..parts).filter(|taken| !(read && taken.len() == 0));
        let mut parts = parts.map(Taken::rest);
        let first = parts.next()?;
        let rest = parts.collect();
        Some(Message::new(first, rest, self.owner.shared.promise))
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
        if self.taken.is_empty() && !self.owner.shared.is_foreign() {
            let copy = |peer: &Arc<PeerMapping>, at, len| {
                peer.read(at, out.get_mut(..len)?);
                Some(len)
            };
            if let Some(len) = self.owner.shared.take_inline(self.key, copy) {
                return Poll::Ready(Ok(Some(len)));
            }
            match self.poll_entry(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(Some(entry))) => {
                    match (&entry.payload, out.get_mut(..entry.payload.len())) {
                        (Payload::Heap(bytes), Some(out)) if !entry.more => {
                            out.copy_from_slice(bytes);
                            return Poll::Ready(Ok(Some(bytes.len())));
                        }
                        _ => self.take(entry),
                    }
                }
            }
        }
        match self.poll_recv(waker) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(Some(message))) => {
                let Some(out) = out.get_mut(..message.len()) else {
                    let max = out.len();
                    self.put_back(message);
                    return Poll::Ready(Err(RecvError::TooLarge { max }));
                };
                message.copy_to_slice(out);
                Poll::Ready(Ok(Some(message.len())))
            }
        }
    }

    /// Reads bytes, ignoring the bounds of messages; 0 after the peer's finish, or if `out` is empty.
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
        self.set_kept(self.taken.iter().any(|taken| !taken.is_read()));
        polled
    }

    fn read_parts(
        &mut self,
        out: &mut [u8],
        waker: Option<&Waker>,
    ) -> Poll<Result<usize, RecvError>> {
        for _ in 0..TURN {
            let last = self.taken.len() == 1;
            if let Some(first) = self.taken.front_mut().filter(|first| !(last && first.is_read())) {
                let count = out.len().min(first.len());
                first.part.read(first.from, &mut out[..count]);
                first.from += count;
                if first.len() == 0 && first.more && count > 0 {
                    *first = Taken::read();
                } else if first.len() == 0 {
                    self.taken.pop_front();
                }
                if count > 0 {
                    return Poll::Ready(Ok(count));
                }
                continue;
            }
            match self.poll_entry(waker) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(Some(entry))) => self.take(entry),
            }
        }
        come_back(waker)
    }

    /// The next record of the stream; `None` at its end.
    #[inline]
    fn poll_entry(&mut self, waker: Option<&Waker>) -> Poll<Result<Option<Entry>, RecvError>> {
        if self.owner.shared.is_foreign() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        let mut result = Ok(());
        let mut more = false;
        let next = {
            let mut rx = shared.rx();
            let mut next = rx.take(self.key, &**shared, &mut effects);
            for _ in 0..shared.drains() {
                if !matches!(next, Next::Nothing) || result.is_err() {
                    break;
                }
                more = false;
                match shared.drain_for(self.key, &mut rx, &mut effects) {
                    Ok(Drained::Entry(entry)) => next = Next::Entry(entry),
                    Ok(Drained::Budget) => more = true,
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
                        rx.wait(self.key, waker, &mut effects);
                        rx.publish_head(&mut effects);
                    }
                    Poll::Pending
                }
                (Next::Entry(entry), _) => Poll::Ready(Ok(Some(entry))),
                (Next::End(End::Finished), _) => Poll::Ready(Ok(None)),
                (Next::End(End::Reset(code)), _) => Poll::Ready(Err(RecvError::Reset(code))),
                (Next::End(End::Unseen), _) => Poll::Ready(Err(RecvError::GoingAway)),
            }
        };
        let failed = result.is_err();
        shared.complete(effects, result);
        if next.is_pending() {
            if failed {
                // The session has just ended: say so instead of waiting.
                return self.poll_entry(waker);
            }
            if more {
                let _: Poll<()> = come_back(waker);
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
        let (known, serial) = {
            let tx = owner.shared.tx();
            (tx.is_announced(self.key), tx.serial_of(self.key))
        };
        if known {
            self.announce = Announce::Known;
            return Poll::Pending;
        }
        if matches!(self.announce, Announce::Unknown) {
            self.announce = Announce::Asking(Reserving::new(owner, self.key, serial, Ask::Open));
        }
        let Announce::Asking(asking) = &mut self.announce else { return Poll::Pending };
        let announced = asking.poll_grant(waker).map(|granted| {
            let mut effects = Effects::default();
            let announced =
                granted.and_then(|grant| owner.shared.tx().announce(self.key, grant, &mut effects));
            owner.shared.complete(effects, Ok(()));
            announced
        });
        match announced {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => {
                // Nobody will ever hear of it; the next call says so again.
                self.announce = Announce::Unknown;
                Poll::Ready(Err(match error {
                    SendError::Session(error) => error.into(),
                    SendError::GoingAway => RecvError::GoingAway,
                    error => RecvError::Open(error),
                }))
            }
            Poll::Ready(Ok(())) => {
                self.announce = Announce::Known;
                Poll::Pending
            }
        }
    }

    /// Takes over what a record carried: memory of the peer stays there, unless too much is held.
    #[inline]
    fn part(&self, entry: Entry) -> Part {
        match entry.payload {
            Payload::Heap(bytes) => Part::Heap(bytes),
            Payload::Lent { bytes, id, segment, weight, .. } => {
                let shared = &self.owner.shared;
                if shared.may_hold(weight) {
                    let home = Arc::downgrade(shared);
                    return Part::Lent(Lent { bytes, id, segment, weight, home });
                }
                let copy = bytes.to_vec().into_boxed_slice();
                shared.hand_back(id, segment);
                Part::Heap(copy)
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        let more = entry.more;
        if more && entry.payload.len() == 0 {
            // Adds nothing to its message.
            return;
        }
        let part = self.part(entry);
        self.taken.push_back(Taken { part, from: 0, more });
        self.joined = self.joined.min(self.taken.len());
        if self.taken.len() - self.joined >= PARTS {
            self.join();
        }
    }

    /// Joins small parts of one message.
    #[cold]
    fn join(&mut self) {
        let mut piece = Vec::new();
        for taken in std::mem::take(&mut self.taken) {
            if taken.more && taken.len() < PIECE && matches!(taken.part, Part::Heap(_)) {
                let end = piece.len();
                piece.resize(end + taken.len(), 0);
                taken.part.read(taken.from, &mut piece[end..]);
                if piece.len() >= PIECE {
                    self.taken.push_back(Taken::piece(&mut piece));
                }
                continue;
            }
            if !piece.is_empty() {
                self.taken.push_back(Taken::piece(&mut piece));
            }
            self.taken.push_back(taken);
        }
        if !piece.is_empty() {
            self.taken.push_back(Taken::piece(&mut piece));
        }
        self.joined = self.taken.len();
    }

    /// Makes a message the next one again.
    fn put_back(&mut self, message: Message<T>) {
        let mut more = false;
        for part in message.into_parts().into_iter().rev() {
            self.taken.push_front(Taken { part, from: 0, more });
            more = true;
        }
        self.set_kept(true);
    }

    /// Tells watchers whether the next call would find something that was taken already.
    #[inline]
    fn set_kept(&mut self, kept: bool) {
        if self.kept != kept && !self.owner.shared.is_foreign() {
            self.kept = kept;
            let shared = &self.owner.shared;
            let mut effects = Effects::default();
            shared.rx().set_kept(self.key, kept, &mut effects);
            shared.complete(effects, Ok(()));
        }
    }

    fn promise(&self) -> Option<crate::mem::PeerTrust> {
        self.owner.shared.promise
    }

    /// Asks the peer to stop sending, with a code for its application; what is unread is dropped.
    /// Never waits. The peer's end of the stream can still be received.
    pub fn stop(&mut self, code: u32) {
        if self.owner.shared.is_foreign() {
            return;
        }
        self.taken.clear();
        self.set_kept(false);
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            rx.stop_receiver(self.key, code, &mut tx, &mut effects);
        }
        shared.complete(effects, Ok(()));
    }
}

/// There is more to do than one turn allows: pending, and to be polled again, so that time-outs are
/// looked at in between.
fn come_back<R>(waker: Option<&Waker>) -> Poll<R> {
    if let Some(waker) = waker {
        waker.wake_by_ref();
    }
    Poll::Pending
}

impl Taken {
    /// Parts joined, of a message that goes on.
    fn piece(bytes: &mut Vec<u8>) -> Self {
        let part = Part::Heap(std::mem::take(bytes).into_boxed_slice());
        Self { part, from: 0, more: true }
    }

    /// Stands for parts that `read` has consumed, as long as no other part of their message has come: the
    /// rest of a message is not a message of its own if it adds nothing.
    fn read() -> Self {
        Self { part: Part::Heap(Box::default()), from: 0, more: true }
    }

    /// Parts that add nothing are not taken otherwise, unless they are the last.
    fn is_read(&self) -> bool {
        self.more && self.len() == 0
    }

    /// Bytes not yet consumed.
    fn len(&self) -> usize {
        self.part.len() - self.from
    }

    /// What is not yet consumed, as a part of its own.
    fn rest(self) -> Part {
        if self.from == 0 {
            return self.part;
        }
        let mut rest = vec![0; self.len()];
        self.part.read(self.from, &mut rest);
        Part::Heap(rest.into_boxed_slice())
    }
}

impl<T: Trust> Drop for RecvHalf<T> {
    fn drop(&mut self) {
        if self.owner.shared.is_foreign() || self.key == usize::MAX {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            rx.drop_receiver(self.key, 0, &mut tx, &mut effects);
        }
        shared.complete(effects, Ok(()));
    }
}

impl<T: Trust> std::fmt::Debug for RecvHalf<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvHalf").field("id", &self.id).finish_non_exhaustive()
    }
}
