//! One server between the one before it and the one after it.

use super::{Heard, Predecessor, Step, Successor};

/// A neighbour of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The predecessor.
    Before,
    /// The successor.
    After,
}

/// What to do, and on whose connection.
pub type Steps = Vec<(Side, Step)>;

/// Where a server stands in the row of generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Succession {
    pub(super) before: Successor,
    pub(super) after: Predecessor,
}

impl Succession {
    /// A server that has bound its socket itself.
    pub fn first() -> Self {
        Self { before: Successor::Alone, after: Predecessor::Alone }
    }

    /// A server that has got its sockets from a predecessor.
    pub fn following(before: Successor) -> Self {
        Self { before, after: Predecessor::Alone }
    }

    /// Towards the predecessor.
    pub fn before(&self) -> Successor {
        self.before
    }

    /// Towards the successor.
    pub fn after(&self) -> Predecessor {
        self.after
    }

    /// Whether this server accepts, connections of clients and of successors (U1).
    pub fn accepts(&self) -> bool {
        self.before.accepts() && self.after.accepts()
    }

    /// Whether the socket files go with this server when it closes: nobody else holds the sockets, or only
    /// a predecessor that is told not to come back (U7).
    pub fn owns_files(&self) -> bool {
        self.before.accepts() && !self.after.has_offered()
    }

    /// The application is ready to accept.
    pub fn ready(&mut self) -> Steps {
        self.before.ready().map(before).into_iter().collect()
    }

    /// Serving was put on the connection to the predecessor, or nobody takes it there.
    pub fn sent_serving(&mut self, taken: bool) {
        self.before.sent_serving(taken);
    }

    /// Somebody has connected to the upgrade socket. False: there is one already (U2).
    #[must_use = "who is not taken in is to be told"]
    pub fn ask(&mut self) -> bool {
        let free = self.after == Predecessor::Alone && self.accepts();
        if free {
            self.after.ask();
        }
        free
    }

    /// Something has come from the predecessor.
    pub fn hear_before(&mut self, heard: Heard) -> Steps {
        let mut steps: Steps = self.before.hear(heard).into_iter().map(before).collect();
        steps.extend(self.free());
        steps
    }

    /// Something has come from the successor.
    pub fn hear_after(&mut self, heard: Heard) -> Steps {
        let mut steps: Steps = self.after.hear(heard).into_iter().map(after).collect();
        steps.extend(self.free());
        steps
    }

    /// The application closes the listener.
    pub fn close(&mut self) -> Steps {
        let mut steps: Steps = self.before.close().into_iter().map(before).collect();
        steps.push(after(Step::HangUp));
        steps
    }

    /// U3: a good Claim is answered when no predecessor can come back.
    fn free(&mut self) -> Option<(Side, Step)> {
        match (self.after, self.before.is_alone()) {
            (Predecessor::Claimed, true) => self.after.freed().map(after),
            (Predecessor::Claimed, false) => self.before.release().map(before),
            _ => None,
        }
    }
}

fn before(step: Step) -> (Side, Step) {
    (Side::Before, step)
}

fn after(step: Step) -> (Side, Step) {
    (Side::After, step)
}
