//! What a state of the model is made of.

use std::rc::Rc;

use crate::notify::event::Cursor;
use crate::notify::wait::{At, PlaceId, WaitBook};
use crate::testing::Mix;

/// Our threads.
pub(super) const THREADS: usize = 3;
/// The peer's threads that publish.
pub(super) const PRODUCERS: usize = 2;
/// An event word that asks for nothing ([`NEVER`](crate::notify::event::NEVER), in a byte).
pub(super) const NEVER8: u8 = u8::MAX;
/// Nobody, where a number of a thread stands otherwise.
pub(super) const NOBODY: u8 = u8::MAX;
/// Number of the cursor of records.
pub(super) const TAIL: usize = Cursor::Tail as usize;
/// Records at most.
pub(super) const RECORDS: usize = 4;

/// Where one of our threads stands. Letters as in [`crate::notify::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Pc {
    /// N8: count as active.
    Activate,
    /// A control record of ours takes space.
    Control,
    /// W1: queue up for space or returns.
    Join,
    /// Gate held or to be taken: load the cursor, grant.
    Settle,
    /// Gate held: write the event word.
    SettleWrite,
    /// W1: take rx if it is free, load the tail.
    DriveTry,
    /// W5, W7, W8: take rx, load the tail.
    DriveLock,
    /// D1.
    Drain,
    /// Variant: somebody who is not inside reads the socket.
    ReadBell,
    /// Weakened: somebody who is not inside moves the record word.
    Rearm,
    /// D3: where is it now?
    WakeDecide,
    /// D3: kick, or set the token.
    WakeDo,
    /// W2.
    Result,
    /// Weakened: look before arming.
    EarlyLook,
    /// W3.
    Post,
    /// N8: the last active one looks after arming.
    RetireLook,
    RetireKick,
    /// W4: tail.
    LookTail,
    /// W4: own result.
    LookResult,
    /// W6.
    Wait,
    /// W7: read the socket.
    ReadSocket,
    /// W5, W7, W8: give up the lead or the place of a follower.
    ComeOut,
    /// N8: an active call that never registered ends.
    Retire,
    /// X.
    Leave,
    /// X: the tail, armed for the loop.
    LeaveLook,
    /// V1, gate.
    ComeBack,
    /// V1: the edges of the descriptor.
    Take,
    /// V1: the socket.
    TakeSocket,
    /// V4, gate.
    PostOutside,
    /// V4: the tail.
    LookOutside,
    /// V5.
    Outside,
    Done,
}

/// Why a thread settles, and hence how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reason {
    Joined,
    Driving,
    Leaving,
}

/// Something to be done after a gate section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Pending {
    Nothing,
    Kick,
    Token0,
    Token1,
    Token2,
}

impl Pending {
    pub(super) fn token(thread: usize) -> Self {
        [Self::Token0, Self::Token1, Self::Token2][thread]
    }
}

/// One of our threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread {
    pub(super) at: Pc,
    /// Number of the operation it performs.
    pub(super) op: u8,
    pub(super) place: Option<PlaceId>,
    pub(super) lead: bool,
    pub(super) active: bool,
    pub(super) expired: bool,
    /// Of its parker, or of the waker of its event loop.
    pub(super) token: bool,
    /// Queued for space or returns, and not granted.
    pub(super) queued: bool,
    pub(super) granted: bool,
    pub(super) inbox: u8,
    /// The tail it loaded in this drive, the position it armed, the word it is about to write.
    pub(super) seen: u8,
    pub(super) armed: u8,
    pub(super) word: u8,
    /// Which queue it settles, and why.
    pub(super) queue: u8,
    pub(super) reason: Reason,
    /// Threads it has to wake; bit 3: whoever is inside, since it took the bell.
    pub(super) noted: u8,
    pub(super) pending: Pending,
    /// Where it goes on after waking.
    pub(super) then: Pc,
    /// Weakened: what it decided before it delivered, two bits per thread.
    pub(super) early: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ProducerAt {
    /// P1.
    Publish,
    /// P3: load the last completed check.
    Checked,
    /// P2, P3: load the event word, compare.
    Event,
    /// P3: no ring is needed, the check is completed.
    Store,
    /// P4.
    Ring,
    /// P4: the check is completed.
    Rung,
    Done,
}

/// One of the peer's threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Producer {
    pub(super) at: ProducerAt,
    pub(super) op: u8,
    pub(super) new: u8,
    pub(super) event: u8,
    pub(super) from: u8,
}

/// Everything shared, and everybody.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) threads: [Thread; THREADS],
    pub(super) producers: [Producer; PRODUCERS],
    /// The real thing; shared between states until somebody changes it.
    pub(super) book: Rc<WaitBook<u8>>,
    /// Indexed by cursor: the peer's cursors, our event words, the peer's completed checks, and
    /// what the peer's calls that returned have promised.
    pub(super) cursor: [u8; 3],
    pub(super) event: [u8; 3],
    pub(super) checked: [u8; 3],
    pub(super) promised: [u8; 3],
    /// Owner of each record.
    pub(super) log: [u8; RECORDS],
    pub(super) drained: u8,
    pub(super) rx: u8,
    pub(super) gate: u8,
    pub(super) bell: bool,
    pub(super) kick: bool,
    /// Rings that the kernel may still refuse.
    pub(super) refusals: u8,
    /// It has refused one, and the chores are to ring.
    pub(super) owed: bool,
    /// Waiters for space and for returns in their order, and what was granted or taken so far.
    pub(super) queues: [[u8; THREADS]; 2],
    pub(super) used: [u8; 2],
}

impl State {
    /// A 128-bit hash of all of it. Places count by their thread: their ids are opaque to everybody.
    pub(super) fn hash(&self) -> u128 {
        let mut hash = Mix::default();
        for thread in &self.threads {
            let at = match thread.place.map(|id| &self.book.places[id.0]) {
                None => 0,
                Some(place) => {
                    let at = match place.at {
                        At::Running => 1,
                        At::Inside => 2,
                        At::Follower { .. } => 3,
                    };
                    at | u64::from(place.marked) << 2
                }
            };
            hash.add(
                at | u64::from(thread.lead) << 3
                    | u64::from(thread.active) << 4
                    | u64::from(thread.expired) << 5
                    | u64::from(thread.token) << 6
                    | u64::from(thread.queued) << 7
                    | u64::from(thread.granted) << 8
                    | (thread.reason as u64) << 10
                    | u64::from(thread.queue) << 12
                    | (thread.pending as u64) << 16
                    | u64::from(thread.noted) << 20
                    | (thread.at as u64) << 24
                    | (thread.then as u64) << 32
                    | u64::from(thread.op) << 40
                    | u64::from(thread.inbox) << 48
                    | u64::from(thread.early) << 56,
            );
            hash.add(
                u64::from(thread.seen)
                    | u64::from(thread.armed) << 8
                    | u64::from(thread.word) << 16,
            );
        }
        for p in &self.producers {
            hash.add(
                p.at as u64
                    | u64::from(p.op) << 8
                    | u64::from(p.new) << 16
                    | u64::from(p.event) << 24
                    | u64::from(p.from) << 32,
            );
        }
        hash.add(bytes(&self.cursor) | bytes(&self.event) << 24);
        hash.add(bytes(&self.checked) | bytes(&self.promised) << 24);
        hash.add(bytes(&self.log) | bytes(&self.used) << 32 | u64::from(self.drained) << 48);
        hash.add(bytes(&self.queues[0]) | bytes(&self.queues[1]) << 24);
        hash.add(
            u64::from(self.rx)
                | u64::from(self.gate) << 8
                | u64::from(self.bell) << 16
                | u64::from(self.kick) << 17
                | u64::from(self.book.outside) << 18
                | u64::from(self.owed) << 19
                | u64::from(self.refusals) << 24
                | (self.book.active as u64) << 20
                | self.followers() << 32,
        );
        hash.finish()
    }

    /// The followers from the top, as digits.
    fn followers(&self) -> u64 {
        let (mut digits, mut next) = (0, self.book.top);
        while let Some(id) = next {
            digits = digits << 2 | u64::from(1 + *self.book.token(id));
            next = match self.book.places[id.0].at {
                At::Follower { below, .. } => below,
                _ => unreachable!("in the list"),
            };
        }
        digits
    }

    /// The real machine, to be changed.
    pub(super) fn book(&mut self) -> &mut WaitBook<u8> {
        Rc::make_mut(&mut self.book)
    }
}

fn bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
