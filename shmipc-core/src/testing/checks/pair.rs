//! Two honest sides over heap memory, and an application on each.

use std::sync::Arc;

use crate::handshake::Role;
use crate::layout::Geometry;
use crate::testing::actor::Actor;
use crate::testing::side::{Own, Side};
use crate::testing::{Script, WatchedMemory, outbox};

/// Two sides of one session. Each reads what the other has published, whenever it is told to.
pub(super) struct Pair {
    pub(super) actors: [Actor<Own>; 2],
}

impl Pair {
    /// Both directions have this geometry.
    pub(super) fn new(geometry: &Geometry, large: bool) -> Self {
        let memory = || Arc::new(WatchedMemory::new(outbox(geometry, geometry)));
        let (one, two) = (memory(), memory());
        let side = |own: &Own, peer: &Own, role| {
            let side = Side::new(Arc::clone(own), peer, role, geometry, geometry);
            Actor::new(side, geometry, large)
        };
        Self { actors: [side(&one, &two, Role::Client), side(&two, &one, Role::Server)] }
    }

    /// One of the two does one thing.
    pub(super) fn act(&mut self, script: &Script) {
        let who = usize::from(script.byte() % 2);
        self.actors[who].act(script);
        self.carry();
        self.expect_peace();
    }

    /// Carries what was announced over the socket.
    pub(super) fn carry(&mut self) {
        let [one, two] = &mut self.actors;
        for segment in one.side.announced.drain(..) {
            two.side.announce_here(segment);
        }
        for segment in two.side.announced.drain(..) {
            one.side.announce_here(segment);
        }
    }

    /// Nobody has accused anybody.
    pub(super) fn expect_peace(&self) {
        for actor in &self.actors {
            assert_eq!(actor.side.over, None, "an honest peer is accused");
        }
    }

    /// Both sides drain, look for returns, and sleep, until nothing moves any more.
    pub(super) fn quiesce(&mut self) {
        for _ in 0..8 {
            self.carry();
            for actor in &mut self.actors {
                actor.side.read_socket();
                while actor.side.drain().expect("an honest peer") {}
                actor.side.rest();
                actor.side.take_returns();
            }
        }
        self.expect_peace();
    }
}
