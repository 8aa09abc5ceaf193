//! The server that runs, towards one that wants to follow it.

use super::{Heard, Message, Reason, Step};

/// Where a server stands with its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Predecessor {
    /// Nobody wants to follow.
    #[default]
    Alone,
    /// Somebody has connected; the Claim is next.
    Asked,
    /// The Claim is good, but our own predecessor could still come back (U3).
    Claimed,
    /// The successor has the sockets, and makes ready.
    Offered,
    /// We have stopped accepting; Serving is next (U4).
    Yielded,
    /// The successor was too slow, and can say nothing any more: it has said Serving, or never will (U5).
    Cut,
    /// The successor serves. If it dies, we do again.
    Followed,
    /// The successor serves, and we never will again.
    Retired,
}

impl Predecessor {
    /// Whether we accept, as far as the successor is concerned (U1).
    pub fn accepts(self) -> bool {
        matches!(self, Self::Alone | Self::Asked | Self::Claimed | Self::Offered)
    }

    /// Whether somebody else holds the sockets and may come to serve.
    pub fn has_offered(self) -> bool {
        !matches!(self, Self::Alone | Self::Asked | Self::Claimed)
    }

    /// Whether the successor serves.
    pub fn is_followed(self) -> bool {
        matches!(self, Self::Followed | Self::Retired)
    }

    /// Whether the time for the next message is limited.
    pub fn has_deadline(self) -> bool {
        matches!(self, Self::Asked | Self::Claimed | Self::Offered | Self::Yielded)
    }

    /// Somebody has connected, while nobody else was there.
    pub fn ask(&mut self) {
        *self = Self::Asked;
    }

    /// Our own predecessor can no longer come back: the sockets may be given away (U3).
    pub fn freed(&mut self) -> Option<Step> {
        if *self != Self::Claimed {
            return None;
        }
        *self = Self::Offered;
        Some(Step::Send(Message::Offer))
    }

    /// Something has come from the successor.
    pub fn hear(&mut self, heard: Heard) -> Vec<Step> {
        let (next, steps) = match (*self, heard) {
            (Self::Asked, Heard::Message(Message::Claim(Ok(())))) => (Self::Claimed, vec![]),
            (Self::Asked, Heard::Message(Message::Claim(Err(reason)))) => self.refuse(reason),
            (Self::Offered, Heard::Message(Message::Ready)) => {
                (Self::Yielded, vec![Step::Send(Message::Yield)])
            }
            (Self::Yielded, Heard::Message(Message::Serving)) => {
                (Self::Followed, vec![Step::Leave])
            }
            // The kernel has put it before the cut.
            (Self::Cut, Heard::Message(Message::Serving)) => {
                (Self::Retired, vec![Step::Leave, Step::HangUp])
            }
            (Self::Followed, Heard::Message(_) | Heard::Broken | Heard::Short) => {
                (Self::Retired, vec![Step::HangUp])
            }
            (Self::Cut, Heard::Silence | Heard::Message(_) | Heard::Broken | Heard::Short) => {
                self.refuse(Reason::TooSlow)
            }
            (Self::Yielded, Heard::Late | Heard::Message(_) | Heard::Broken | Heard::Short) => {
                (Self::Cut, vec![Step::Cut])
            }
            (Self::Asked, Heard::Late) => (Self::Alone, vec![Step::HangUp]),
            (Self::Claimed, Heard::Late) => self.refuse(Reason::Unreleased),
            (Self::Offered, Heard::Late) => self.refuse(Reason::TooSlow),
            (Self::Asked | Self::Claimed | Self::Offered, Heard::Short) => {
                self.refuse(Reason::Shortage)
            }
            (Self::Asked | Self::Claimed | Self::Offered, Heard::Message(_) | Heard::Broken) => {
                self.refuse(Reason::Nonsense)
            }
            (Self::Alone | Self::Retired, _) => return vec![],
            (_, Heard::Gone) => (Self::Alone, vec![Step::HangUp]),
            (_, Heard::Late | Heard::Silence) => return vec![],
        };
        *self = next;
        steps
    }

    /// It goes on here: the successor is told before the connection closes, or it would take that for our
    /// death (U6).
    fn refuse(self, reason: Reason) -> (Self, Vec<Step>) {
        (Self::Alone, vec![Step::Send(Message::Refuse(reason)), Step::Finish])
    }
}
