//! The reservations that wait, oldest first.
//!
//! ```text
//!   join ──▶ queue ──▶ granted, or failed        looked at by every scan
//!             │  ▲
//!     no credit  │ credit, or an end: `unpark`
//!             ▼  │
//!            parked, in its stream               looked at by no scan
//! ```
//!
//! A reservation that lacks credit of its stream is parked: nothing but that stream's credit or end can help it.
//! So a peer that grants no credit cannot make scans long, whatever it says on other streams.

use std::collections::BTreeMap;
use std::task::Waker;

use slab::Slab;

use crate::error::SendError;
use crate::pool::Plan;

use super::tx::{Ask, Grant};

/// Names a waiting reservation until it is taken or cancelled.
pub(crate) type TicketId = usize;

/// What has become of a reservation.
#[derive(Debug)]
pub(crate) enum State {
    /// It waits.
    Waiting,
    /// It has everything.
    Granted(Grant),
    /// Its owner is to create a segment, and then waits on; unless somebody else does so first.
    Grow(Plan),
    /// Its owner is creating a segment.
    Growing,
    /// It will never be granted.
    Failed(SendError),
}

#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) stream: usize,
    /// Which use of that key it is.
    pub(crate) serial: u64,
    /// Smaller than that of every younger ticket.
    pub(crate) age: u64,
    pub(crate) ask: Ask,
    pub(crate) state: State,
    pub(crate) waker: Option<Waker>,
    /// What it waits for has been counted.
    pub(crate) counted: bool,
    /// It waits for memory.
    pub(crate) lacks_memory: bool,
}

/// Tickets that this many fit into keep their memory when none of them is left.
const KEPT: usize = 64;

/// All reservations that wait or have been answered and not yet fetched.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    all: Slab<Ticket>,
    /// Tickets so far.
    joined: u64,
    /// Those that scans look at, by age, oldest first (C3).
    queue: BTreeMap<u64, TicketId>,
    /// Those that lack credit of their stream, by its serial number and by age.
    parked: BTreeMap<(u64, u64), TicketId>,
}

impl Tickets {
    pub(crate) fn join(&mut self, stream: usize, serial: u64, ask: Ask) -> TicketId {
        let (state, age) = (State::Waiting, self.joined);
        let (waker, counted, lacks_memory) = (None, false, false);
        let ticket = Ticket { stream, serial, age, ask, state, waker, counted, lacks_memory };
        let id = self.all.insert(ticket);
        self.joined += 1;
        self.queue.insert(age, id);
        id
    }

    pub(crate) fn get(&mut self, id: TicketId) -> &mut Ticket {
        &mut self.all[id]
    }

    /// Ends a ticket, whose waker was taken; gives its state back.
    pub(crate) fn remove(&mut self, id: TicketId) -> State {
        self.leave(id);
        let ticket = self.all.remove(id);
        debug_assert!(ticket.waker.is_none(), "it would be dropped under the lock");
        if self.all.is_empty() && self.all.capacity() > KEPT {
            self.all = Slab::new();
        }
        ticket.state
    }

    /// Takes a ticket out of the queue, answered.
    pub(crate) fn answer(&mut self, id: TicketId, state: State) -> Option<Waker> {
        self.leave(id);
        let ticket = &mut self.all[id];
        ticket.state = state;
        ticket.waker.take()
    }

    fn leave(&mut self, id: TicketId) {
        let Ticket { serial, age, .. } = self.all[id];
        if self.queue.remove(&age).is_none() {
            self.parked.remove(&(serial, age));
        }
    }

    /// Moves a ticket of the queue into its stream, until [`unpark`](Self::unpark).
    pub(crate) fn park(&mut self, id: TicketId) {
        let Ticket { serial, age, .. } = self.all[id];
        if self.queue.remove(&age).is_some() {
            self.parked.insert((serial, age), id);
        }
    }

    /// Puts parked tickets of a stream back into the queue, oldest first, as long as `fits` accepts what they ask
    /// for. True if there were any.
    pub(crate) fn unpark(&mut self, serial: u64, mut fits: impl FnMut(Ask) -> bool) -> bool {
        let mut any = false;
        while let Some((age, id)) = self.first_parked(serial) {
            if !fits(self.all[id].ask) {
                break;
            }
            self.parked.remove(&(serial, age));
            self.queue.insert(age, id);
            any = true;
        }
        any
    }

    /// Whether a ticket of that age has an older one of its stream before it that is parked.
    pub(crate) fn is_behind(&self, serial: u64, age: u64) -> bool {
        self.first_parked(serial).is_some_and(|(oldest, _)| oldest < age)
    }

    fn first_parked(&self, serial: u64) -> Option<(u64, TicketId)> {
        let mut parked = self.parked.range((serial, 0)..=(serial, u64::MAX));
        parked.next().map(|(&(_, age), &id)| (age, id))
    }

    /// What has been granted and not fetched.
    #[cfg(test)]
    pub(crate) fn granted(&self) -> impl Iterator<Item = &Grant> {
        self.all.iter().filter_map(|(_, ticket)| match &ticket.state {
            State::Granted(grant) => Some(grant),
            _ => None,
        })
    }

    /// Takes a plan from who is to create its segment and has not begun; that one waits on.
    pub(crate) fn take_plan(&mut self) -> Option<Plan> {
        let Self { all, queue, .. } = self;
        queue.values().find_map(|&id| match all[id].state {
            State::Grow(plan) => {
                all[id].state = State::Waiting;
                Some(plan)
            }
            _ => None,
        })
    }

    /// Whether a new reservation of the stream has none before it: no ticket in the queue, and none of its
    /// stream.
    #[inline]
    pub(crate) fn is_first(&self, serial: u64) -> bool {
        self.all.is_empty() || self.has_none_before(serial)
    }

    /// Out of line: mostly there are no reservations at all.
    #[cold]
    #[inline(never)]
    fn has_none_before(&self, serial: u64) -> bool {
        self.queue.is_empty() && self.first_parked(serial).is_none()
    }

    /// Whether the queue is empty: what is parked waits for its stream alone.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// The oldest in the queue that is not older than `age`.
    pub(crate) fn next(&self, age: u64) -> Option<TicketId> {
        self.queue.range(age..).next().map(|(_, &id)| id)
    }

    /// Any that waits, parked ones included.
    pub(crate) fn any(&self) -> Option<TicketId> {
        self.queue
            .first_key_value()
            .map(|(_, &id)| id)
            .or_else(|| self.parked.values().next().copied())
    }
}
