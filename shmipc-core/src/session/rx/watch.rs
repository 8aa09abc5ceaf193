//! Watching without taking: for one thread that serves very many streams.

#![deny(clippy::unwrap_used, clippy::panic)]

use std::task::Waker;

use crate::mem::{Memory, MemoryMut};
use crate::session::{Effects, StreamId, store_waker};

use super::Rx;

/// What a watcher finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Receiving or accepting would give something: an error too, if the session is over or we leave.
    Ready,
    /// It would not. The waker is kept, and called when that may have changed.
    Pending,
    /// The application let the receiving half go.
    Gone,
}

impl<O: MemoryMut + Clone, P: Memory + Clone> Rx<O, P> {
    /// Whether a stream has something for its reader. It has one watcher, beside whoever waits in a call.
    pub(crate) fn watch(
        &mut self,
        key: usize,
        id: StreamId,
        waker: &mut Option<Waker>,
        effects: &mut Effects,
    ) -> Readiness {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.id == id) else {
            return Readiness::Gone;
        };
        if !stream.received {
            return Readiness::Gone;
        }
        let has = !stream.inbox.is_empty() || stream.end.is_some() || stream.kept;
        if has || self.over.is_some() {
            return Readiness::Ready;
        }
        store_waker(&mut stream.watcher, waker, effects);
        Readiness::Pending
    }

    /// Whether a stream waits to be accepted, or none will come any more.
    pub(crate) fn watch_accept(&mut self, waker: &mut Option<Waker>) -> Readiness {
        if !self.accept.is_empty() || self.over.is_some() || self.has_all_streams() {
            return Readiness::Ready;
        }
        self.wait_accept(waker);
        Readiness::Pending
    }

    /// The receiving half keeps something now, or no longer.
    pub(crate) fn set_kept(&mut self, key: usize, kept: bool, effects: &mut Effects) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.kept = kept;
            effects.wakers.extend(stream.watcher.take_if(|_| kept));
        }
    }
}
