//! The queue of reservations that wait, oldest first.

use std::collections::VecDeque;
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
    pub(crate) ask: Ask,
    pub(crate) state: State,
    pub(crate) waker: Option<Waker>,
    /// What it waits for has been counted.
    pub(crate) counted: bool,
}

/// All reservations that wait or have been answered and not yet fetched.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    all: Slab<Ticket>,
    /// Those that wait, oldest first (C3).
    order: VecDeque<TicketId>,
}

impl Tickets {
    pub(crate) fn join(&mut self, stream: usize, serial: u64, ask: Ask) -> TicketId {
        let state = State::Waiting;
        let ticket = Ticket { stream, serial, ask, state, waker: None, counted: false };
        let id = self.all.insert(ticket);
        self.order.push_back(id);
        id
    }

    pub(crate) fn get(&mut self, id: TicketId) -> &mut Ticket {
        &mut self.all[id]
    }

    /// Ends a ticket, whose waker was taken; gives its state back.
    pub(crate) fn remove(&mut self, id: TicketId) -> State {
        self.order.retain(|&other| other != id);
        let ticket = self.all.remove(id);
        debug_assert!(ticket.waker.is_none(), "it would be dropped under the lock");
        ticket.state
    }

    /// Takes a ticket out of the queue, answered.
    pub(crate) fn answer(&mut self, id: TicketId, state: State) -> Option<Waker> {
        self.order.retain(|&other| other != id);
        let ticket = &mut self.all[id];
        ticket.state = state;
        ticket.waker.take()
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
        let Self { all, order } = self;
        order.iter().find_map(|&id| match all[id].state {
            State::Grow(plan) => {
                all[id].state = State::Waiting;
                Some(plan)
            }
            _ => None,
        })
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.order.is_empty()
    }

    /// The `index`-th oldest that waits.
    pub(crate) fn nth(&self, index: usize) -> Option<TicketId> {
        self.order.get(index).copied()
    }
}
