//! Reasons for a refusal, on the wire and off it.

use crate::error::{HandshakeError, OsError, Refusal};
use crate::wire::{self, Hello, Refuse, VERSION};

const UNAUTHORIZED: u32 = 1;
const WRONG_VERSION: u32 = 2;
const WRONG_APPLICATION: u32 = 3;
const WRONG_LIMITS: u32 = 4;
const TOO_BUSY: u32 = 5;
const WRONG_ARCHITECTURE: u32 = 6;
const REFUSED_BY_KERNEL: u32 = 7;
const MISBEHAVED: u32 = 8;

/// The frame that tells the peer why we end the handshake, if there is anything to tell.
///
/// A peer of an older dialect gets it too: it cannot read the body, but sees a version in the header
/// that it does not speak.
pub fn refusal_frame(error: &HandshakeError) -> Option<Vec<u8>> {
    let version = Refusal::Version { theirs: 0, ours: VERSION.into() };
    match error {
        HandshakeError::RefusedPeer(refusal) => Some(encode(refusal)),
        HandshakeError::Unmapped(peer) => Some(encode(&Refusal::Unauthorized { uid: peer.uid })),
        HandshakeError::Dialect(_) => Some(encode(&version)),
        HandshakeError::Misbehaved(rule) => {
            Some(encode(&Refusal::Misbehaved { rule: rule.to_string() }))
        }
        // Coming again helps.
        HandshakeError::Os(error) if error.is_shortage() => Some(encode(&Refusal::Busy)),
        HandshakeError::Os(OsError { call, code }) => {
            Some(encode(&Refusal::System { call: (*call).to_owned(), code: *code }))
        }
        HandshakeError::SealUnsupported => {
            let (call, code) = ("fcntl(F_ADD_SEALS)".to_owned(), nix::libc::EINVAL);
            Some(encode(&Refusal::System { call, code }))
        }
        HandshakeError::FileSize(_) => {
            let (call, code) = ("ftruncate".to_owned(), nix::libc::EFBIG);
            Some(encode(&Refusal::System { call, code }))
        }
        _ => None,
    }
}

/// Seen from the side that refuses: `ours` is what the peer needs to know.
fn encode(refusal: &Refusal) -> Vec<u8> {
    let (reason, number, text) = match refusal {
        Refusal::Unauthorized { uid } => (UNAUTHORIZED, *uid, ""),
        Refusal::Version { ours, .. } => (WRONG_VERSION, *ours, ""),
        Refusal::Application { ours, .. } => (WRONG_APPLICATION, 0, ours.as_str()),
        Refusal::Limits => (WRONG_LIMITS, 0, ""),
        Refusal::Busy => (TOO_BUSY, 0, ""),
        Refusal::Architecture => (WRONG_ARCHITECTURE, 0, ""),
        Refusal::Misbehaved { rule } => (MISBEHAVED, 0, rule.as_str()),
        Refusal::System { call, code } => (REFUSED_BY_KERNEL, *code as u32, call.as_str()),
        Refusal::Other(reason) => (*reason, 0, ""),
    };
    wire::refuse(&Refuse { reason, number, text: text.to_owned() })
}

/// Seen from the side that was refused.
pub(super) fn decode(refuse: Refuse, local: &Hello) -> Refusal {
    let Refuse { reason, number, text } = refuse;
    match reason {
        UNAUTHORIZED => Refusal::Unauthorized { uid: number },
        WRONG_VERSION => Refusal::Version { theirs: number, ours: VERSION.into() },
        WRONG_APPLICATION => Refusal::Application { theirs: text, ours: local.app_name.clone() },
        WRONG_LIMITS => Refusal::Limits,
        TOO_BUSY => Refusal::Busy,
        WRONG_ARCHITECTURE => Refusal::Architecture,
        MISBEHAVED => Refusal::Misbehaved { rule: text },
        REFUSED_BY_KERNEL => Refusal::System { call: text, code: number as i32 },
        other => Refusal::Other(other),
    }
}
