//! A reservation that waits for what it needs.

use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::{SendError, SessionError, TryError};
use crate::handle::session::Owner;
use crate::session::{Ask, Effects, Grant, TicketId};
use crate::steps::{self, Step};

use super::Reservation;

/// A reservation in progress. Dropping it leaves the queue and gives back what was granted.
#[derive(Debug)]
pub struct Reserving {
    owner: Arc<Owner>,
    key: usize,
    /// Which use of the key: it may outlive the stream.
    serial: u64,
    ask: Ask,
    ticket: Option<TicketId>,
    /// For payload that goes into its record, once it is granted.
    inline: Vec<u8>,
}

impl Reserving {
    pub(in crate::handle) fn new(owner: &Arc<Owner>, key: usize, serial: u64, ask: Ask) -> Self {
        Self { owner: Arc::clone(owner), key, serial, ask, ticket: None, inline: Vec::new() }
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
        steps::reach(Step::Granted);
        let len = grant.len;
        let mut inline = std::mem::take(&mut self.inline);
        if grant.extent.is_none() {
            inline.resize(len as usize, 0);
        }
        Poll::Ready(Ok(Reservation {
            owner: Arc::clone(&self.owner),
            key: self.key,
            grant: Some(grant),
            inline,
            len,
        }))
    }

    /// Why it is given up at its deadline: the kernel has refused the memory that it waits for, or the peer has
    /// given nothing back.
    pub fn timed_out(&self) -> SendError {
        let Some(ticket) = self.ticket.filter(|_| !self.owner.shared.is_foreign()) else {
            return SendError::TimedOut;
        };
        self.owner.shared.tx().refusal(ticket).map_or(SendError::TimedOut, SendError::NoMemory)
    }

    /// The reservation, if nothing has to be waited for. Makes payload memory if there is too little, which blocks while the
    /// kernel clears its pages.
    ///
    /// # Errors
    /// [`TryError::Failed`] also with [`SendError::NoMemory`], if the kernel has refused memory.
    pub fn try_now(mut self) -> Result<Reservation, TryError<SendError>> {
        match self.poll(None) {
            Poll::Ready(reserved) => Ok(reserved?),
            Poll::Pending => Err(match self.timed_out() {
                SendError::TimedOut => TryError::WouldBlock,
                error => TryError::Failed(error),
            }),
        }
    }

    pub(in crate::handle) fn poll_grant(
        &mut self,
        waker: Option<&Waker>,
    ) -> Poll<Result<Grant, SendError>> {
        if self.owner.shared.is_foreign() {
            return Poll::Ready(Err(SessionError::Forked.into()));
        }
        let shared = Arc::clone(&self.owner.shared);
        let mut drove = false;
        loop {
            let mut effects = Effects::default();
            // Only a waiting reservation leaves it.
            let mut clone = waker.filter(|_| drove || self.ticket.is_some()).cloned();
            let answer = self.ask_once(drove, &mut clone, &mut effects);
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
                    // It goes inside of its record.
                    Err(SendError::NoMemory(_)) if matches!(self.ask, Ask::Piece(_)) => continue,
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
                None => {
                    if waker.is_some() {
                        // It sleeps, and may be the one that drains for all.
                        let mut effects = Effects::default();
                        shared.rx().publish_head(&mut effects);
                        shared.complete(effects, Ok(()));
                    }
                    Poll::Pending
                }
            };
        }
    }

    /// One section of the sending half: grant at once, or join the queue and see.
    fn ask_once(
        &mut self,
        join: bool,
        waker: &mut Option<Waker>,
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
                    Ok(Some(grant)) => {
                        if grant.extent.is_none() {
                            self.inline = tx.buffers.pop().unwrap_or_default();
                        }
                        return Some(Ok(grant));
                    }
                    Err(error) => return Some(Err(error)),
                    Ok(None) if effects.grow.is_some() || !join => return None,
                    Ok(None) => {}
                }
                shared.progress.count_waiting(true);
                let ticket = *self.ticket.insert(tx.join(self.key, self.ask));
                steps::reach(Step::ReserveWaits);
                ticket
            }
        };
        // The waker is stored before the look (settling), so an answer in between is not lost.
        let early = tx.poll(ticket, waker, effects);
        let answer = early.or_else(|| {
            if effects.grow.is_none() {
                tx.settle_or_end(effects);
            }
            tx.poll(ticket, &mut None, effects)
        });
        if answer.is_some() {
            self.ticket = None;
            shared.progress.count_waiting(false);
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
        shared.progress.count_waiting(false);
        shared.complete(effects, Ok(()));
    }
}
