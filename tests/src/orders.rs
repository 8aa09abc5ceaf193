//! What one side does to a stream, in every order, and what the other side must see of it: a table of
//! actions, all short sequences of them, and an oracle that knows the rules and nothing of the library.

use std::io::Write;

use shmipc_core::error::{RecvError, SendError};

use crate::flavour::{Receiver, Sender, Stream};
use crate::payload::pattern;

/// What one side can do to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends a message, or the last part of one.
    Send,
    /// Writes a part of a message that goes on.
    Write,
    /// Finishes its direction.
    Finish,
    /// Sends a message, or the last part of one, and finishes with it.
    FinishWith,
    /// Breaks its direction off with [`RESET`].
    Reset,
    /// Asks the other side to stop with [`STOP`].
    Stop,
    /// Lets the sending half go.
    DropSender,
    /// Lets the receiving half go.
    DropReceiver,
}

/// The code of [`Act::Reset`].
pub const RESET: u32 = 9;
/// The code of [`Act::Stop`].
pub const STOP: u32 = 7;
/// The code with which a session is closed after it all.
pub const CLOSE: u32 = 5;

/// What the other side must see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// It hears of the stream.
    pub heard: bool,
    /// Whole messages, in order.
    pub messages: Vec<Vec<u8>>,
    /// How the direction ended, if it did.
    pub end: Option<Result<(), RecvError>>,
    /// The code with which it is asked to stop, if it is.
    pub stop: Option<u32>,
}

impl Act {
    const ALL: [Self; 8] = [
        Self::Send,
        Self::Write,
        Self::Finish,
        Self::FinishWith,
        Self::Reset,
        Self::Stop,
        Self::DropSender,
        Self::DropReceiver,
    ];

    /// The half that is needed for it: the sending one, or the receiving one.
    fn needs_sender(self) -> bool {
        !matches!(self, Self::Stop | Self::DropReceiver)
    }
}

/// All sequences of up to `longest` actions that can be done: none with a half that has been let go.
pub fn orders(longest: usize) -> Vec<Vec<Act>> {
    let mut all = vec![vec![]];
    let mut from = 0;
    for _ in 0..longest {
        let to = all.len();
        for index in from..to {
            for act in Act::ALL {
                let order: Vec<Act> = all[index].clone();
                let gone = if act.needs_sender() { Act::DropSender } else { Act::DropReceiver };
                if !order.contains(&gone) {
                    all.push([&order[..], &[act]].concat());
                }
            }
        }
        from = to;
    }
    all
}

/// What is sent or written as action number `at`: inside of its record, or not.
fn content(at: usize) -> Vec<u8> {
    pattern(at as u64, [10, 5000, 100, 70_000][at % 4])
}

/// Does it all, and keeps what halves are left. Fails the test if a call does not say what it must.
pub fn perform<S: Stream>(stream: S, order: &[Act]) -> (Option<S::Sender>, Option<S::Receiver>) {
    let (sender, receiver) = stream.into_split();
    let (mut sender, mut receiver) = (Some(sender), Some(receiver));
    let mut ended = false;
    for (at, act) in order.iter().enumerate() {
        let must = if ended { Err(SendError::Ended) } else { Ok(()) };
        let did = match (act, &mut sender, &mut receiver) {
            (Act::Send, Some(sender), _) => sender.send(&content(at)),
            (Act::Write, Some(sender), _) => sender.write_all(&content(at)).map_err(|error| {
                let source = error.get_ref().and_then(|source| source.downcast_ref());
                *source.unwrap_or_else(|| panic!("{error} has no source"))
            }),
            (Act::Finish, Some(sender), _) => sender.finish(),
            (Act::FinishWith, Some(sender), _) => sender.finish_with(&content(at)),
            (Act::Reset, Some(sender), _) => {
                sender.reset(RESET);
                must
            }
            (Act::Stop, _, Some(receiver)) => {
                receiver.stop(STOP);
                must
            }
            (Act::DropSender, ..) => {
                sender = None;
                must
            }
            (Act::DropReceiver, ..) => {
                receiver = None;
                must
            }
            _ => panic!("{order:?} cannot be done"),
        };
        assert_eq!(did, must, "action {at} of {order:?}");
        let ends = [Act::Finish, Act::FinishWith, Act::Reset, Act::DropSender];
        ended |= ends.contains(act);
    }
    (sender, receiver)
}

/// What the other side sees of these actions, and no more after them.
pub fn expected(order: &[Act]) -> Seen {
    let mut seen = Seen { heard: false, messages: Vec::new(), end: None, stop: None };
    let mut part: Option<Vec<u8>> = None;
    for (at, act) in order.iter().enumerate() {
        let open = seen.end.is_none();
        let published = [Act::Send, Act::Write, Act::Finish, Act::FinishWith];
        seen.heard |= open && published.contains(act);
        match act {
            Act::Send if open => {
                seen.messages.push([part.take().unwrap_or_default(), content(at)].concat());
            }
            Act::Write if open => part.get_or_insert_default().extend(content(at)),
            Act::FinishWith if open => {
                seen.messages.push([part.take().unwrap_or_default(), content(at)].concat());
                seen.end = Some(Ok(()));
            }
            Act::Finish if open => {
                seen.messages.extend(part.take());
                seen.end = Some(Ok(()));
            }
            Act::Reset if open => seen.end = Some(Err(RecvError::Reset(RESET))),
            Act::DropSender if open => seen.end = Some(Err(RecvError::Reset(0))),
            Act::Stop => seen.stop = seen.stop.or(Some(STOP)),
            Act::DropReceiver => seen.stop = seen.stop.or(Some(0)),
            _ => {}
        }
    }
    seen
}

/// Reads the stream to its end, and compares; what comes after what was expected is returned.
pub fn observe<R: Receiver>(receiver: &mut R, order: &[Act], seen: &Seen) -> Result<(), RecvError> {
    let mut messages = Vec::new();
    let end = loop {
        match receiver.recv() {
            Ok(Some(message)) => messages.push(message.to_vec()),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let lengths = |messages: &[Vec<u8>]| messages.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(&messages), lengths(&seen.messages), "messages of {order:?}");
    assert!(messages == seen.messages, "contents of {order:?}");
    if let Some(must) = seen.end {
        assert_eq!(end, must, "end of {order:?}");
    }
    // It stays so.
    assert_eq!(receiver.recv().map(|message| assert!(message.is_none())), end, "{order:?}");
    end
}
