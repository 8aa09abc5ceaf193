//! The sending half of a stream.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::{SendError, SessionError};
use crate::queue::Flags;
use crate::session::{Ask, Effects, Grant, SendStats, StreamId, TicketId};

use super::session::Owner;

/// Sends on one stream; made by [`Session::open`](super::Session::open) and
/// [`Session::poll_accept`](super::Session::poll_accept).
///
/// Dropped before [`finish`](Self::finish) it resets the stream.
pub struct SendHalf {
    pub(super) owner: Arc<Owner>,
    pub(super) key: usize,
    pub(super) id: StreamId,
    /// Which use of the key the stream is.
    pub(super) serial: u64,
}

/// A reservation in progress. Dropping it leaves the queue and gives back what was granted.
#[derive(Debug)]
pub struct Reserving {
    owner: Arc<Owner>,
    key: usize,
    /// Which use of the key: it may outlive the stream.
    serial: u64,
    ask: Ask,
    ticket: Option<TicketId>,
}

/// Memory for one message, to be filled in place and committed. Dropped instead, nothing was sent.
///
/// Up to the inline limit it is a private buffer, beyond that shared memory. Its bytes are
/// initialised but unspecified.
pub struct Reservation {
    owner: Arc<Owner>,
    key: usize,
    grant: Option<Grant>,
    inline: Vec<u8>,
    len: u32,
}

impl SendHalf {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Begins to reserve `len` bytes.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] at once for what can never fit.
    pub fn reserve(&self, len: usize) -> Result<Reserving, SendError> {
        let max = self.max_message();
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        Ok(Reserving::new(&self.owner, self.key, self.serial, Ask::Data(len as u32)))
    }

    /// Counters of what was sent.
    pub fn stats(&self) -> SendStats {
        match self.owner.shared.is_foreign() {
            true => SendStats::default(),
            false => self.owner.shared.tx().stats_of(self.key),
        }
    }

    /// Largest message of one record, bytes.
    pub fn max_message(&self) -> usize {
        self.owner.shared.out().max_message as usize
    }

    /// Largest message that travels inside of its record, bytes.
    pub fn inline_max(&self) -> usize {
        self.owner.shared.out().inline_max as usize
    }

    /// Whether what was sent last, by whatever means, is not the end of its message ([`Flags::MORE`]).
    pub fn is_in_message(&self) -> bool {
        !self.owner.shared.is_foreign() && self.owner.shared.tx().is_in_message(self.key)
    }

    /// Sends a message that fits into a record, if nothing has to be waited for; `Ok(false)` if
    /// something has. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    #[inline]
    pub fn try_send(&self, data: &[u8], flags: Flags) -> Result<bool, SendError> {
        if data.len() > self.inline_max() {
            return Ok(false);
        }
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let shared = &self.owner.shared;
        let mut tx = shared.tx();
        match tx.put_inline(self.key, data, flags) {
            Ok(true) => {}
            Ok(false) => {
                drop(tx);
                return self.try_again(data, flags);
            }
            Err(error) => {
                drop(tx);
                return Err(self.failed(error));
            }
        }
        shared.publish(tx);
        Ok(true)
    }

    /// Sends the first of several messages that fit into records, in one section and with one
    /// publication; gives how many. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; none of them was sent.
    pub fn try_send_all<'a>(
        &self,
        messages: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, SendError> {
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let shared = &self.owner.shared;
        let mut tx = shared.tx();
        let (mut sent, mut result) = (0, Ok(()));
        let max = self.inline_max();
        for message in messages {
            if message.len() > max {
                result = Err(SendError::TooLarge { len: message.len(), max });
                break;
            }
            match tx.put_inline(self.key, message, Flags::none()) {
                Ok(true) => sent += 1,
                Ok(false) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        shared.publish(tx);
        let result = result.map_err(|error| self.failed(error));
        if sent == 0 { result.map(|()| 0) } else { Ok(sent) }
    }

    /// Ends the session for a rule that the peer was found to have broken; no lock is held.
    #[cold]
    fn failed(&self, error: SendError) -> SendError {
        if let SendError::Session(error @ SessionError::Misbehaved(_)) = error {
            self.owner.shared.end(error);
        }
        error
    }

    /// Something was lacking. Credit comes in records, so they are drained; then once more.
    #[cold]
    fn try_again(&self, data: &[u8], flags: Flags) -> Result<bool, SendError> {
        let shared = &self.owner.shared;
        if !shared.has_records() {
            return Ok(false);
        }
        shared.drive();
        let mut tx = shared.tx();
        let put = tx.put_inline(self.key, data, flags);
        shared.publish(tx);
        put.map_err(|error| self.failed(error))
    }

    /// Ends this direction in good order: the peer reads what was sent, then the end of the stream.
    /// Never waits.
    ///
    /// # Errors
    /// [`SendError::Ended`] if it has ended before; [`SendError::Session`].
    pub fn finish(&mut self) -> Result<(), SendError> {
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let mut effects = Effects::default();
        let result = self.owner.shared.tx().finish(self.key, &mut effects);
        self.owner.shared.complete(effects, Ok(()));
        result
    }

    /// Breaks this direction off: the peer reads what was sent, then an error with `code`. Never waits.
    pub fn reset(&mut self, code: u32) {
        if self.owner.shared.is_foreign() {
            return;
        }
        let mut effects = Effects::default();
        self.owner.shared.tx().reset(self.key, code, &mut effects);
        self.owner.shared.complete(effects, Ok(()));
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if self.owner.shared.is_foreign() {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        {
            let mut rx = shared.rx();
            let mut tx = shared.tx();
            tx.reset(self.key, 0, &mut effects);
            rx.drop_sender(self.key, &mut tx, &mut effects);
        }
        shared.complete(effects, Ok(()));
    }
}

impl std::fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendHalf").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Reserving {
    pub(super) fn new(owner: &Arc<Owner>, key: usize, serial: u64, ask: Ask) -> Self {
        Self { owner: Arc::clone(owner), key, serial, ask, ticket: None }
    }

    /// Asks for the reservation: everything it needs, or nothing.
    ///
    /// Without a waker the caller asks again by itself. May create a segment, which takes the kernel
    /// a while; else it never blocks.
    pub fn poll(&mut self, waker: Option<&Waker>) -> Poll<Result<Reservation, SendError>> {
        let grant = match self.poll_grant(waker) {
            Poll::Ready(Ok(grant)) => grant,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let Ask::Data(len) = self.ask else { unreachable!("announcements use `poll_grant`") };
        let inline = if grant.extent.is_some() { Vec::new() } else { vec![0; len as usize] };
        Poll::Ready(Ok(Reservation {
            owner: Arc::clone(&self.owner),
            key: self.key,
            grant: Some(grant),
            inline,
            len,
        }))
    }

    pub(super) fn poll_grant(&mut self, waker: Option<&Waker>) -> Poll<Result<Grant, SendError>> {
        if self.owner.shared.is_foreign() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let shared = Arc::clone(&self.owner.shared);
        let mut drove = false;
        loop {
            let mut effects = Effects::default();
            let answer = self.ask_once(drove, waker, &mut effects);
            let plan = effects.grow.take();
            if let (None, Some(plan)) = (&answer, plan) {
                let grown = shared.grow(plan, &mut effects);
                if let Some(ticket) = self.ticket {
                    let mut tx = shared.tx();
                    tx.grown(ticket);
                    tx.settle_or_end(&mut effects);
                }
                shared.complete(effects, Ok(()));
                match grown {
                    Ok(()) => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            shared.complete(effects, Ok(()));
            return match answer {
                Some(answer) => Poll::Ready(answer),
                // What is lacking may be credit, which comes in a record.
                None if !std::mem::replace(&mut drove, true) => {
                    shared.drive();
                    continue;
                }
                None => Poll::Pending,
            };
        }
    }

    /// One section of the sending half: grant at once, or join the queue and see.
    fn ask_once(
        &mut self,
        join: bool,
        waker: Option<&Waker>,
        effects: &mut Effects,
    ) -> Option<Result<Grant, SendError>> {
        let shared = &self.owner.shared;
        let mut tx = shared.tx();
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None => {
                if let Err(error) = tx.check_serial(self.key, self.serial) {
                    return Some(Err(error));
                }
                match tx.try_grant(self.key, self.ask, effects) {
                    Ok(Some(grant)) => return Some(Ok(grant)),
                    Err(error) => return Some(Err(error)),
                    Ok(None) if effects.grow.is_some() || !join => return None,
                    Ok(None) => {}
                }
                shared.count_waiting(true);
                *self.ticket.insert(tx.join(self.key, self.ask))
            }
        };
        // The waker is stored before the look (settling), so an answer in between is not lost.
        let early = tx.poll(ticket, waker, effects);
        let answer = early.or_else(|| {
            if effects.grow.is_none() {
                tx.settle_or_end(effects);
            }
            tx.poll(ticket, None, effects)
        });
        if answer.is_some() {
            self.ticket = None;
            shared.count_waiting(false);
        }
        answer
    }
}

impl Drop for Reserving {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        if self.owner.shared.is_foreign() {
            return;
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        shared.tx().cancel(ticket, &mut effects);
        shared.count_waiting(false);
        shared.complete(effects, Ok(()));
    }
}

impl Reservation {
    /// Sends all of it as one message. Never waits.
    ///
    /// # Errors
    /// [`SendError`] if the stream or the session is over; nothing was sent.
    pub fn commit(self) -> Result<(), SendError> {
        let len = self.len as usize;
        self.commit_flags(len, Flags::none())
    }

    /// Sends the first `len` bytes as one message. Never waits.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Panics
    /// If `len` exceeds what was reserved.
    pub fn commit_len(self, len: usize) -> Result<(), SendError> {
        self.commit_flags(len, Flags::none())
    }

    /// Sends the first `len` bytes with flags: [`Flags::MORE`] if the message goes on,
    /// [`Flags::FIN`] if the direction ends with it.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Panics
    /// If `len` exceeds what was reserved, or both flags are given.
    pub fn commit_flags(mut self, len: usize, flags: Flags) -> Result<(), SendError> {
        assert!(len <= self.len as usize, "committed more than was reserved");
        let both = flags.contains(Flags::MORE) && flags.contains(Flags::FIN);
        assert!(!both, "a message cannot both go on and end the stream");
        let Some(grant) = self.grant.take() else { unreachable!("taken by commit or drop only") };
        if self.owner.shared.is_foreign() {
            return Err(SessionError::Forked.into());
        }
        let shared = &self.owner.shared;
        let mut effects = Effects::default();
        let inline = self.inline.get(..len).unwrap_or_default();
        let result = shared.tx().commit(self.key, grant, inline, len as u32, flags, &mut effects);
        shared.complete(effects, Ok(()));
        result
    }
}

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.grant.as_ref().and_then(|grant| grant.extent.as_ref()) {
            Some(extent) => extent,
            None => &self.inline,
        }
    }
}

impl DerefMut for Reservation {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self.grant.as_mut().and_then(|grant| grant.extent.as_mut()) {
            Some(extent) => extent,
            None => &mut self.inline,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(grant) = self.grant.take() else { return };
        if self.owner.shared.is_foreign() {
            return;
        }
        let mut effects = Effects::default();
        self.owner.shared.tx().ungrant(self.key, grant, &mut effects);
        self.owner.shared.complete(effects, Ok(()));
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len).finish_non_exhaustive()
    }
}
