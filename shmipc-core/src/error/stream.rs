//! Errors of operations on sessions and streams.

use super::{OsError, SessionError};

/// What is known of a message after its operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// The peer has seen nothing of it: safe to repeat.
    NotSent,
    /// The peer may or may not have acted on it.
    Unknown,
    /// The peer does not want it, or the two do not match: of no use to repeat.
    Refused,
}

/// Why `reserve`, `commit`, `send`, `write` or `finish` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The session is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The peer stopped reading this stream, with its application's code.
    #[error("the peer does not read this stream any more (code {0})")]
    Stopped(u32),
    /// This side already ended the stream with `finish` or `reset`.
    #[error("this side has ended this direction of the stream already, by `finish` or `reset`")]
    Ended,
    /// The message can never fit.
    #[error(
        "a message of {len} bytes exceeds the limit of {max}; raise `max_message` on both sides or send it in parts"
    )]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// Bytes possible.
        max: usize,
    },
    /// The kernel refuses shared memory for the message, or the descriptor that comes with it, and nothing is
    /// out that could come back; or it has done so until the deadline. Nothing was sent.
    #[error(
        "the kernel refuses memory for the message: {0}; allow the process more descriptors (`ulimit -n`) or memory"
    )]
    NoMemory(OsError),
    /// The peer is going away and has not seen this stream, nor will it.
    #[error(
        "the peer is leaving and has not seen this stream; repeat the request on another session"
    )]
    GoingAway,
    /// The deadline passed; nothing was sent.
    #[error(
        "timed out waiting for credit, queue space or memory to come back; the peer reads too slowly or not at all"
    )]
    TimedOut,
}

impl SendError {
    /// What is known of the message that was to be sent: the operation either published it and
    /// returned `Ok`, or published nothing.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Stopped(_) => Delivery::Refused,
            _ => Delivery::NotSent,
        }
    }
}

/// Why `recv` or `read` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The session is over, and everything published before has been delivered.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The peer broke its direction off without finishing it, with its application's code (0 if it
    /// merely dropped the stream).
    #[error("the peer reset the stream before finishing it (code {0}; 0 if it just dropped it)")]
    Reset(u32),
    /// A message in several parts exceeds `max_message`; read it as a stream of bytes instead.
    #[error(
        "a message exceeds {max} bytes; read it as bytes (`Read`, `AsyncRead`) instead of with `recv`, or raise `max_message`"
    )]
    TooLarge {
        /// Bytes possible.
        max: usize,
    },
    /// The next message does not fit into the buffer of `recv_into`. It stays the next message.
    #[error("the next message has {len} bytes and the buffer {room}; use a larger one, or `recv`")]
    BufferTooSmall {
        /// Bytes of the message.
        len: usize,
        /// Bytes of the buffer.
        room: usize,
    },
    /// The announcement of the stream could not be sent.
    #[error(transparent)]
    Open(SendError),
    /// The peer is going away and has not seen this stream, nor will it.
    #[error(
        "the peer is leaving and has not seen this stream; repeat the request on another session"
    )]
    GoingAway,
    /// The deadline passed; nothing was lost.
    #[error("timed out waiting for a message")]
    TimedOut,
}

impl RecvError {
    /// What is known of the messages that were sent on the stream and not answered.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::GoingAway => Delivery::NotSent,
            Self::Open(error) => error.delivery(),
            _ => Delivery::Unknown,
        }
    }
}

/// Why `open` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The session is over.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// As many streams are open as the peer allows.
    #[error(
        "all {limit} streams that the peer allows are in use; close some, or raise its `max_streams`"
    )]
    TooManyStreams {
        /// The peer's limit.
        limit: u32,
    },
    /// The peer is going away: it takes no further streams.
    #[error("the peer is leaving and takes no further streams; open one on another session")]
    GoingAway,
    /// We are going away.
    #[error("this side is leaving and opens no further streams")]
    Leaving,
}

/// Why `accept` of a stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The session is over, and every stream opened before has been accepted.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// We are going away, and every stream that the peer opened before has been accepted.
    #[error("this side is leaving and takes no further streams")]
    Leaving,
    /// The deadline passed.
    #[error("timed out waiting for the peer to open a stream")]
    TimedOut,
}

/// Why waiting for the last streams failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The session is over, and some streams were not.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The deadline passed; some streams go on.
    #[error("timed out waiting for the last streams to end")]
    TimedOut,
}
