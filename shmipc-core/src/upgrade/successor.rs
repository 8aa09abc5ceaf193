//! A server that is to follow one that runs, towards that one.

use super::{Heard, Message, Reason, Step};

/// Where a server stands with its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Successor {
    /// The Claim is sent; the Offer is next.
    Claiming,
    /// We have the sockets, and make ready.
    Holding,
    /// The same, and the predecessor is gone.
    Inheriting,
    /// Ready is sent; Yield is next.
    Waiting,
    /// Yield has come: Serving is to be put on the connection (U4).
    Beginning,
    /// The predecessor takes no more from us: it is gone, or has taken the turn back and is about to say so.
    Barred,
    /// We serve. If we die, the predecessor does again.
    Serving,
    /// We serve, and the predecessor has been told that it is not needed; it hangs up next.
    Releasing,
    /// We serve, and nobody was before us, or is any longer.
    Alone,
    /// It came to nothing, or is over.
    Failed(Failure),
}

/// Why a server does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The predecessor was gone before it had given anything away: bind, or ask the next.
    Gone,
    /// It goes on by itself.
    Refused(Reason),
    /// It does not answer. It may go on, so we must not.
    Silent,
    /// We have closed.
    Closed,
}

impl Successor {
    /// Whether we accept, as far as the predecessor is concerned (U1).
    pub fn accepts(self) -> bool {
        matches!(self, Self::Serving | Self::Releasing | Self::Alone)
    }

    /// Whether the predecessor can never come back (U3).
    pub fn is_alone(self) -> bool {
        self == Self::Alone
    }

    /// Whether the time for the next message is limited.
    pub fn has_deadline(self) -> bool {
        matches!(self, Self::Claiming | Self::Waiting | Self::Beginning | Self::Barred)
    }

    /// The application is ready to accept.
    pub fn ready(&mut self) -> Option<Step> {
        match *self {
            Self::Holding => {
                *self = Self::Waiting;
                Some(Step::Send(Message::Ready))
            }
            Self::Inheriting => {
                *self = Self::Alone;
                None
            }
            _ => None,
        }
    }

    /// The predecessor is needed no longer, because somebody wants to follow us (U3).
    pub fn release(&mut self) -> Option<Step> {
        if *self != Self::Serving {
            return None;
        }
        *self = Self::Releasing;
        Some(Step::Send(Message::Release))
    }

    /// Serving was put on the connection, or could not be because nobody takes it (U4).
    pub fn sent_serving(&mut self, taken: bool) {
        if *self == Self::Beginning {
            *self = if taken { Self::Serving } else { Self::Barred };
        }
    }

    /// The application closes the listener. The predecessor shall not come back if we have served (U7).
    pub fn close(&mut self) -> Vec<Step> {
        let steps = match *self {
            Self::Serving => vec![Step::Send(Message::Release), Step::Finish],
            Self::Releasing => vec![Step::Finish],
            _ => vec![Step::HangUp],
        };
        *self = Self::Failed(Failure::Closed);
        steps
    }

    /// Something has come from the predecessor.
    pub fn hear(&mut self, heard: Heard) -> Vec<Step> {
        let (next, steps) = match (*self, heard) {
            (Self::Failed(_) | Self::Alone | Self::Inheriting, _) => return vec![],
            (Self::Claiming, Heard::Message(Message::Offer)) => (Self::Holding, vec![]),
            (Self::Waiting, Heard::Message(Message::Yield)) => {
                (Self::Beginning, vec![Step::Send(Message::Serving)])
            }
            // What it says crosses with our Serving, which came first (U5).
            (Self::Serving | Self::Releasing, Heard::Message(_)) => return vec![],
            (Self::Serving | Self::Releasing, Heard::Broken | Heard::Short) => {
                (Self::Alone, vec![Step::Send(Message::Release), Step::Finish])
            }
            (Self::Serving | Self::Releasing, Heard::Gone) => (Self::Alone, vec![Step::HangUp]),
            (_, Heard::Message(Message::Refuse(reason))) => Self::fail(Failure::Refused(reason)),
            (Self::Claiming, Heard::Gone) => Self::fail(Failure::Gone),
            (Self::Holding, Heard::Gone) => (Self::Inheriting, vec![Step::HangUp]),
            (Self::Waiting | Self::Beginning | Self::Barred, Heard::Gone) => {
                (Self::Alone, vec![Step::HangUp])
            }
            (Self::Claiming | Self::Waiting | Self::Beginning | Self::Barred, Heard::Late) => {
                Self::fail(Failure::Silent)
            }
            (_, Heard::Message(_) | Heard::Broken | Heard::Short) => {
                Self::fail(Failure::Refused(Reason::Nonsense))
            }
            (_, Heard::Late | Heard::Silence) => return vec![],
        };
        *self = next;
        steps
    }

    fn fail(failure: Failure) -> (Self, Vec<Step>) {
        (Self::Failed(failure), vec![Step::HangUp])
    }
}
