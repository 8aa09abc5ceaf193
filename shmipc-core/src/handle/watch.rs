//! Watching a stream or a session without taking anything.

use std::sync::Arc;
use std::task::Waker;

use crate::session::{Effects, Readiness, StreamId};

use super::driver::Driver;
use super::recv::RecvHalf;
use super::session::Session;
use super::shared::Shared;

/// Watches what a session has to accept, or what a receiving half has to receive, whoever holds that.
/// Keeps neither open.
#[derive(Clone, Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Accept,
    Stream {
        key: usize,
        id: StreamId,
        /// Which use of the key it is.
        serial: u64,
    },
}

impl Watch {
    /// Looks, and drives if it is for something to accept. If there is nothing, `waker` is called when that may have changed: by whoever drives, so
    /// somebody has to. A stream has one watcher at a time; it does not get in the way of calls that wait.
    ///
    /// In a forked child everything is gone.
    pub fn poll(&self, waker: &Waker) -> Readiness {
        let shared = &self.shared;
        if shared.is_foreign() {
            return Readiness::Gone;
        }
        if matches!(self.what, What::Accept) {
            // If we leave, there may be nothing to accept any more: all has to be read to know.
            shared.drive();
        }
        let mut effects = Effects::default();
        let mut clone = Some(waker.clone());
        let readiness = {
            let mut rx = shared.rx();
            match self.what {
                What::Accept => rx.watch_accept(&mut clone),
                What::Stream { key, serial, .. } if shared.tx().serial_of(key) != serial => {
                    Readiness::Gone
                }
                What::Stream { key, id, .. } => rx.watch(key, id, &mut clone, &mut effects),
            }
        };
        shared.complete(effects, Ok(()));
        readiness
    }

    /// What drives the session.
    pub fn driver(&self) -> Driver {
        Driver::new(&self.shared)
    }
}

impl Session {
    /// Watches for streams to accept.
    pub fn watch(&self) -> Watch {
        Watch { shared: Arc::clone(&self.owner.shared), what: What::Accept }
    }
}

impl RecvHalf {
    /// Watches for something to receive, whatever becomes of this handle.
    pub fn watch(&self) -> Watch {
        let shared = Arc::clone(&self.owner.shared);
        let (key, id) = (self.key, self.id);
        let serial = if shared.is_foreign() { 0 } else { shared.tx().serial_of(key) };
        Watch { shared, what: What::Stream { key, id, serial } }
    }
}
