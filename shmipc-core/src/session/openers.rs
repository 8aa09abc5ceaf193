//! Who waits for a place among our streams (C5).
//!
//! A place comes free when both directions of its stream are over and the application has let it go,
//! which some call of this process notices; and then when the peer's head has passed our last control
//! record there, for which the event word for space is armed.

use std::task::Waker;

use crate::notify::event;

use super::{Effects, add_waker};

#[derive(Debug, Default)]
pub(crate) struct Openers {
    wakers: Vec<Waker>,
    /// The earliest head position that frees a place.
    at: Option<u64>,
}

impl Openers {
    pub(crate) fn are_waiting(&self) -> bool {
        !self.wakers.is_empty()
    }

    /// Waits for any place; `at` is where the head frees one that waits for nothing else.
    pub(crate) fn wait(&mut self, waker: &mut Option<Waker>, at: Option<u64>) {
        add_waker(&mut self.wakers, waker);
        self.at = at;
    }

    /// A place waits for nothing but the head.
    pub(crate) fn on_released(&mut self, free_at: u64) {
        if self.are_waiting() {
            self.at = Some(self.at.map_or(free_at, |at| at.min(free_at)));
        }
    }

    /// The head stands at `head`: if that frees a place, all look for it.
    pub(crate) fn on_head(&mut self, head: u64, effects: &mut Effects) {
        if self.at.is_some_and(|at| head >= at) {
            self.wake(effects);
        }
    }

    /// Wakes all: the session is over, or somebody who was woken may have left.
    pub(crate) fn wake(&mut self, effects: &mut Effects) {
        effects.wakers.append(&mut self.wakers);
        self.at = None;
    }

    /// The event word for the head.
    pub(crate) fn event(&self) -> Option<u64> {
        self.at.map(event::before)
    }
}
