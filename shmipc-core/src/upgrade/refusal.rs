//! Why a predecessor goes on by itself, on the wire.

use super::Reason;
use crate::wire::{self, Refuse};

const UNAUTHORIZED: u32 = 1;
const WRONG_VERSION: u32 = 2;
const WRONG_APPLICATION: u32 = 3;
const IN_PROGRESS: u32 = 16;
const UNRELEASED: u32 = 17;
const TOO_SLOW: u32 = 18;
const NONSENSE: u32 = 19;
const SHORTAGE: u32 = 20;

/// The frame that says so.
pub(super) fn frame(reason: Reason) -> Vec<u8> {
    let (reason, number) = match reason {
        Reason::Unauthorized(uid) => (UNAUTHORIZED, uid),
        Reason::Version(theirs) => (WRONG_VERSION, theirs),
        Reason::Application => (WRONG_APPLICATION, 0),
        Reason::InProgress => (IN_PROGRESS, 0),
        Reason::Unreleased => (UNRELEASED, 0),
        Reason::TooSlow => (TOO_SLOW, 0),
        Reason::Nonsense => (NONSENSE, 0),
        Reason::Shortage => (SHORTAGE, 0),
        Reason::Other(reason) => (reason, 0),
    };
    wire::refuse(&Refuse { reason, number, text: String::new() })
}

/// The reason in a frame.
pub(super) fn decode(refuse: &Refuse) -> Reason {
    match refuse.reason {
        UNAUTHORIZED => Reason::Unauthorized(refuse.number),
        WRONG_VERSION => Reason::Version(refuse.number),
        WRONG_APPLICATION => Reason::Application,
        IN_PROGRESS => Reason::InProgress,
        UNRELEASED => Reason::Unreleased,
        TOO_SLOW => Reason::TooSlow,
        NONSENSE => Reason::Nonsense,
        SHORTAGE => Reason::Shortage,
        other => Reason::Other(other),
    }
}
