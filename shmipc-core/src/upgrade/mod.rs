//! Hot upgrade: a server hands its sockets to its successor, and at every moment one of them serves.
//!
//! ```text
//!   predecessor (serves)                                 successor
//!                                                        connects to the upgrade socket
//!     ◀──────────────────────────────────────── Claim    who it is, how long it will take
//!   U3  releases its own predecessor, if any
//!     Offer ────────────────────────────────────────▶    has the listening socket, upgrade socket, locks
//!   serves on                                            the application makes ready
//!     ◀──────────────────────────────────────── Ready
//!   U4  stops accepting
//!     Yield ────────────────────────────────────────▶
//!                        clients wait in the backlog
//!     ◀────────────────────────────────────── Serving    U4  calls listen() again, accepts
//!   tells its sessions to leave (`notify::leaving`)
//!   drains; watches the successor
//!     ◀────────────────────────────────────── Release    only if it is to be succeeded, or closes
//!   hangs up when it is drained, or exits                the only one
//! ```
//!
//! [`Predecessor`] and [`Successor`] are the two sides of one connection, [`Succession`] is a server that
//! may have both at the same time: no socket, no clock. [`crate::listen`] moves their messages, as
//! part of accepting. What a client sees of all this: its session leaves, and the next one leads to the successor.
//!
//! | it dies, or hangs | before Offer | before Yield | before Serving | after it |
//! |---|---|---|---|---|
//! | predecessor dies | the successor starts over: it binds | the successor serves as soon as it is ready | the successor serves | the successor is alone |
//! | predecessor hangs | the successor gives up in time, and fails | as before | – (it has nothing to do) | its own sessions hang with it |
//! | successor dies | nothing happens | nothing happens | the predecessor accepts again | the predecessor accepts again |
//! | successor hangs | refused in time | refused in time | cut off in time (U5) | as any server that hangs |
//!
//! # Invariants
//! * **U1** At most one server accepts. When all that can happen has happened, exactly one does, as long
//!   as one lives that holds the sockets and has not closed. The listening socket is never closed
//!   between: clients that connect meanwhile wait in its backlog.
//! * **U2** A server has one successor at a time. Others are told, and fail.
//! * **U3** At most two servers hold the sockets: the one that serves, and either its predecessor or its
//!   successor. So it offers them only when its own predecessor has given up coming back; that one is
//!   told to (Release), and hangs up.
//! * **U4** The turn passes with Serving: the successor accepts once it has put that on the connection,
//!   not before. The predecessor has stopped before it sent Yield.
//! * **U5** A predecessor takes the turn back, from a successor that does not answer, by shutting its
//!   end down for reading: from then on the successor can put nothing there. What the kernel took before, the
//!   predecessor then reads: Serving means that the turn has passed, all else that it has not.
//! * **U6** A connection that ends without a word means that its other end is dead, and who holds the
//!   sockets goes on alone. So a predecessor that goes on says so before it hangs up (Refuse), and
//!   a successor that has served and closes does too (Release). Death is seen by a pidfd as well, since a
//!   forked child may hold the connection open; what was said before it is read first.
//! * **U7** The socket files belong to the one that accepts, from Serving on. Who closes while somebody
//!   else may come to serve leaves them.
//! * **U8** Sessions are told to leave when the successor serves, not before: as long as nothing has
//!   passed, no client is disturbed.
//! * **U9** Both sides look at the other's user: only the own one is dealt with, or those that an authorizer for upgrades
//!   admits.
//!
//! `check` visits every interleaving of three servers with these machines, where each may die at any step, any deadline
//! may pass at any time, and the third one comes at any time; and once with each rule weakened.

mod line;
mod predecessor;
mod refusal;
mod succession;
mod successor;

#[cfg(test)]
mod check;

pub(crate) use line::{Incoming, Line, Outgoing, Packet, message_of, plain_frame};
pub use predecessor::Predecessor;
pub use succession::{Side, Steps, Succession};
pub use successor::{Failure, Successor};

pub use crate::error::UpgradeRefusal as Reason;

use crate::config::Config;
use crate::wire::Claim;

/// The version of this protocol.
pub const VERSION: u32 = 1;

/// What the two sides say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A successor introduces itself; what [`judge`] says about it.
    Claim(Result<(), Reason>),
    /// The sockets.
    Offer,
    /// The successor can serve.
    Ready,
    /// The predecessor does not accept any longer.
    Yield,
    /// The successor accepts.
    Serving,
    /// The successor does without the predecessor.
    Release,
    /// The predecessor goes on by itself.
    Refuse(Reason),
}

/// What comes from the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heard {
    /// A message.
    Message(Message),
    /// The connection has ended, or the other process has (U6).
    Gone,
    /// Nothing, for too long.
    Late,
    /// Nothing was there when the connection was cut (U5).
    Silence,
    /// Something that cannot be understood.
    Broken,
    /// Descriptors that this process has no room for: they are lost.
    Short,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Send this. Serving is to be followed by [`Successor::sent_serving`].
    Send(Message),
    /// Shut the connection down for reading, and read what is left: messages, then
    /// [`Heard::Silence`] (U5).
    Cut,
    /// Close the connection, when everything is sent.
    Finish,
    /// Close the connection at once.
    HangUp,
    /// Tell all sessions to leave (U8).
    Leave,
}

/// Whether a successor that introduces itself can take over.
///
/// # Errors
/// Why not.
pub fn judge(claim: &Claim, ours: &Config) -> Result<(), Reason> {
    if claim.version != VERSION {
        return Err(Reason::Version(VERSION));
    }
    if claim.app_name != ours.app_name {
        return Err(Reason::Application);
    }
    Ok(())
}
