//! What may happen in a case, and which rule is left out.

use super::state::{PRODUCERS, Pc, ProducerAt, State, THREADS};
use crate::notify::event::Cursor;

/// What one of our threads does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Waits for a record of its own.
    Record,
    /// The same, and may give up at any time.
    RecordUntil,
    /// Drives once and takes a record of its own if there is one.
    Poll,
    /// Waits for space.
    Space(u8),
    /// The same, and may give up at any time.
    SpaceUntil(u8),
    /// Waits for returns.
    Returns(u8),
    /// Publishes a control record, which takes one unit of space and never waits.
    Control,
    /// An event loop outside, for a record of its own. At most one thread of a case has such operations.
    LoopRecord,
    /// The same for space.
    LoopSpace(u8),
    /// An event loop that only drives, for ever.
    LoopDrive,
}

impl Op {
    /// An event loop's: it sleeps outside, and its waker is its own.
    pub(super) fn is_outside(self) -> bool {
        matches!(self, Self::LoopRecord | Self::LoopSpace(_) | Self::LoopDrive)
    }
}

/// What a thread of the peer publishes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Publish {
    /// A record for this one of our threads.
    Record(u8),
    Head(u8),
    Returned(u8),
}

impl Publish {
    pub(super) fn cursor(self) -> usize {
        match self {
            Self::Record(_) => Cursor::Tail as usize,
            Self::Head(_) => Cursor::Head as usize,
            Self::Returned(_) => Cursor::Returned as usize,
        }
    }

    pub(super) fn amount(self) -> u8 {
        match self {
            Self::Record(_) => 1,
            Self::Head(amount) | Self::Returned(amount) => amount,
        }
    }
}

/// How the peer rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bell {
    Eventfd,
    Socket,
}

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weakening {
    CheckBeforePublish,
    CheckFromOwnOld,
    CheckedBeforeRing,
    LookBeforeArming,
    NoLookAtResult,
    LookAtDrained,
    LeaderArmsOnlyItsOwn,
    NoKick,
    DecideBeforeDelivery,
    BystanderArms,
    BystanderArmsAndNoKick,
    BystanderArmsAndEventLoadedFirst,
    BellTakenWithoutKick,
    BellTakenWithoutSettling,
    BellNeverRead,
    OwnNeedInTheWord,
    FrontNotRearmed,
    CancelDoesNotSettle,
    LeaverWakesNobody,
    OnlyTheLeaderPassesOn,
    RetireWithoutLook,
    LeaverForgetsTheLoop,
    LeaverArmsWithoutLook,
    LoopSleepsUnarmed,
    LoopArmsWithoutLook,
    LoopTakesAndDoesNotKick,
    RetireForgetsTheLoop,
    RefusedBellCountsAsRung,
    RefusedBellIsNotOwed,
}

/// One case: who does what, over which bell, under which rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) threads: [&'static [Op]; THREADS],
    pub(super) producers: [&'static [Publish]; PRODUCERS],
    pub(super) bell: Bell,
    /// Inline calls count as active beside somebody inside (N8).
    pub(super) active: bool,
    /// Whoever drives reads the socket after it, too.
    pub(super) reads_bell: bool,
    /// Followers look at the tail too.
    pub(super) follower_looks: bool,
    /// The first thread of the peer may stop for ever inside of a publishing call.
    pub(super) stops: bool,
    /// So many rings may be refused by the kernel.
    pub(super) refusals: u8,
    pub(super) weak: Option<Weakening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// The thread is asleep, and what it waits for is there; a loop that drives waits for any record.
    Asleep(usize),
    /// The thread is parked, and nobody is inside or running.
    Abandoned(usize),
    /// The thread is neither asleep nor done, and cannot go on.
    Stuck(usize),
}

impl Scenario {
    pub(super) fn is(&self, weakening: Weakening) -> bool {
        self.weak == Some(weakening)
    }

    pub(super) fn op(&self, s: &State, t: usize) -> Op {
        self.threads[t][usize::from(s.threads[t].op)]
    }

    /// The queue of the thread's operation: space or returns.
    pub(super) fn queue_of(&self, s: &State, t: usize) -> usize {
        usize::from(matches!(self.op(s, t), Op::Returns(_)))
    }

    pub(super) fn need(&self, s: &State, waiter: u8) -> u8 {
        match self.op(s, usize::from(waiter)) {
            Op::Space(need) | Op::SpaceUntil(need) | Op::Returns(need) | Op::LoopSpace(need) => {
                need
            }
            _ => unreachable!("not in a queue"),
        }
    }

    pub(super) fn first(&self, op: Option<&Op>) -> Pc {
        match op {
            None => Pc::Done,
            Some(Op::Record | Op::RecordUntil | Op::Poll) if self.active => Pc::Activate,
            Some(Op::Record | Op::RecordUntil | Op::Poll) => Pc::DriveTry,
            Some(Op::Space(_) | Op::SpaceUntil(_) | Op::Returns(_) | Op::LoopSpace(_)) => Pc::Join,
            Some(Op::LoopRecord | Op::LoopDrive) => Pc::ComeBack,
            Some(Op::Control) => Pc::Control,
        }
    }

    pub(super) fn first_of_peer(&self, publication: Option<&Publish>) -> ProducerAt {
        match publication {
            None => ProducerAt::Done,
            Some(_) if self.is(Weakening::CheckBeforePublish) => ProducerAt::Event,
            Some(_) => ProducerAt::Publish,
        }
    }
}
