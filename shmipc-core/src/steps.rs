//! Steps at which a test makes this process stop, between two states of shared memory or of a socket, to
//! kill it or to let it go on (feature `steps`).
//!
//! Whoever reaches the step that was asked for stops as by `SIGSTOP`, with all its threads: its parent sees
//! that in `waitpid`, and sends `SIGKILL` or `SIGCONT`. Without the feature nothing of this is compiled.

// Without the feature the module is private, and nobody lists the steps.
#![cfg_attr(not(feature = "steps"), allow(dead_code, unreachable_pub))]

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident,)*) => {
        /// A step. `…Unsent` and `…Unpublished` come right before what they name, `…Sent` and `…Published`
        /// right after it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $($(#[$doc])* $step,)* }

        #[cfg(feature = "steps")]
        impl Step {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$step,)*];
        }
    };
}

steps! {
    /// A connection exists, nothing was said on it.
    Connected,
    /// Handshake: Hello.
    HelloUnsent,
    /// Handshake: Hello.
    HelloSent,
    /// Handshake: segment 0 is made.
    OutboxUnsent,
    /// Handshake: segment 0 is passed.
    OutboxSent,
    /// The peer's segment 0 is checked and mapped.
    OutboxMapped,
    /// Handshake: the client's last word. Upgrade: the successor is ready.
    ReadyUnsent,
    /// The same.
    ReadySent,
    /// The handshake is done, the session not yet made.
    Established,
    /// A stream has a place, and the peer does not know of it.
    Opened,
    /// A stream of the peer's is handed out.
    Accepted,
    /// A reservation has queued up.
    ReserveWaits,
    /// A reservation has everything that it needs.
    Granted,
    /// A reservation is filled and about to be committed.
    Filled,
    /// A segment is made.
    SegmentMade,
    /// Its announcement.
    AddSegmentUnsent,
    /// Announced, and not yet allocatable.
    AddSegmentSent,
    /// Allocatable, and not yet used.
    SegmentLive,
    /// The peer's segment is mapped, and not yet acknowledged.
    SegmentMapped,
    /// A segment is retired.
    RetireSegmentUnsent,
    /// The peer is told.
    RetireSegmentSent,
    /// A record that opens a stream is in the ring, the tail has not moved.
    OpenWritten,
    /// The same, with payload.
    InlineWritten,
    /// The same, with an extent.
    ExtentWritten,
    /// The same, of the end of a direction.
    FinishWritten,
    /// The same, of a direction that is broken off.
    ResetWritten,
    /// The same, of the wish that the peer stop.
    StopWritten,
    /// The same, of any other control.
    ControlWritten,
    /// The tail.
    TailUnpublished,
    /// The tail, and nobody was rung.
    TailPublished,
    /// The peer is to be rung.
    BellUnrung,
    /// The peer is rung, and that is noted nowhere.
    BellRung,
    /// The peer's tail was loaded, nothing is drained.
    TailLoaded,
    /// A record is acted on, the head has not moved.
    RecordTaken,
    /// The head.
    HeadUnpublished,
    /// The head, and nobody was rung.
    HeadPublished,
    /// A return is in the queue, the cursor has not moved.
    ReturnUnpublished,
    /// The cursor of returns, and nobody was rung.
    ReturnPublished,
    /// The event word is written, nobody has looked again.
    Armed,
    /// The kernel has woken us, nothing is read.
    Woken,
    /// The going-away word is written, the peer's tail is not taken.
    LeavingStored,
    /// The limit is fixed.
    FinalUnpublished,
    /// The final position, and the peer is not rung.
    FinalPublished,
    /// The peer's final position is found, no stream is told.
    FinalFound,
    /// The session is to be closed.
    CloseUnsent,
    /// The peer is told, the socket is open.
    CloseSent,
    /// The session is over, and nobody was woken.
    SocketShut,
    /// Upgrade: the successor introduces itself.
    ClaimUnsent,
    /// The same.
    ClaimSent,
    /// Upgrade: the sockets.
    OfferUnsent,
    /// The same.
    OfferSent,
    /// Upgrade: the predecessor has stopped to accept.
    YieldUnsent,
    /// The same.
    YieldSent,
    /// Upgrade: the turn passes with this.
    ServingUnsent,
    /// The same.
    ServingSent,
    /// Upgrade: the predecessor is not needed any longer.
    ReleaseUnsent,
    /// The same.
    ReleaseSent,
}

#[cfg(not(feature = "steps"))]
mod here {
    use super::Step;

    #[inline(always)]
    pub(crate) fn reach(_: Step) {}

    #[inline(always)]
    pub(crate) fn unpublished(_at: usize) {}

    #[inline(always)]
    pub(crate) fn published(_at: usize) {}

    #[inline(always)]
    pub(crate) fn written(_: crate::queue::Kind) {}

    #[inline(always)]
    pub(crate) fn unsent(_frame: &[u8]) {}

    #[inline(always)]
    pub(crate) fn sent(_frame: &[u8]) {}

    #[inline(always)]
    pub(crate) fn is_refused(_frame: &[u8]) -> bool {
        false
    }
}

#[cfg(feature = "steps")]
mod here {
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::sys::signal::{Signal, raise};

    use super::Step;
    use crate::layout::{FINAL_AT, HEAD_AT, RETURNED_AT, TAIL_AT};
    use crate::queue::Kind;
    use crate::wire::FrameKind;

    const NONE: u32 = u32::MAX;

    static WANTED: AtomicU32 = AtomicU32::new(NONE);
    /// How often it is still to be reached.
    static LEFT: AtomicU32 = AtomicU32::new(0);

    /// This process stops when it reaches `step` for the `nth` time from now on, once.
    pub fn stop_at(step: Step, nth: u32) {
        LEFT.store(nth, Ordering::Relaxed);
        WANTED.store(step as u32, Ordering::Release);
    }

    pub(crate) fn reach(step: Step) {
        if WANTED.load(Ordering::Acquire) == step as u32
            && LEFT.fetch_sub(1, Ordering::Relaxed) == 1
        {
            WANTED.store(NONE, Ordering::Relaxed);
            // Cannot fail; it returns when we are to go on.
            let _ = raise(Signal::SIGSTOP);
        }
    }

    pub(crate) fn unpublished(at: usize) {
        around_publication(at).into_iter().for_each(|(before, _)| reach(before));
    }

    pub(crate) fn published(at: usize) {
        around_publication(at).into_iter().for_each(|(_, after)| reach(after));
    }

    /// Before and after the word at that offset is published.
    fn around_publication(at: usize) -> Option<(Step, Step)> {
        Some(match at {
            TAIL_AT => (Step::TailUnpublished, Step::TailPublished),
            HEAD_AT => (Step::HeadUnpublished, Step::HeadPublished),
            RETURNED_AT => (Step::ReturnUnpublished, Step::ReturnPublished),
            FINAL_AT => (Step::FinalUnpublished, Step::FinalPublished),
            _ => return None,
        })
    }

    pub(crate) fn written(kind: Kind) {
        reach(match kind {
            Kind::Open => Step::OpenWritten,
            Kind::Inline => Step::InlineWritten,
            Kind::Extent => Step::ExtentWritten,
            Kind::Finish => Step::FinishWritten,
            Kind::Reset => Step::ResetWritten,
            Kind::Stop => Step::StopWritten,
            _ => Step::ControlWritten,
        });
    }

    pub(crate) fn unsent(frame: &[u8]) {
        around_frame(frame).into_iter().for_each(|(before, _)| reach(before));
    }

    pub(crate) fn sent(frame: &[u8]) {
        around_frame(frame).into_iter().for_each(|(_, after)| reach(after));
    }

    /// How many bells are still to be refused.
    static REFUSALS: AtomicU32 = AtomicU32::new(0);

    /// Makes this process fail to ring its peers `count` times, as if the kernel had no memory for it.
    pub fn refuse_bells(count: u32) {
        REFUSALS.store(count, Ordering::Relaxed);
    }

    /// How many bells that were to be refused no call has tried to ring.
    pub fn unrefused_bells() -> u32 {
        REFUSALS.load(Ordering::Relaxed)
    }

    pub(crate) fn is_refused(frame: &[u8]) -> bool {
        let less = |count: u32| count.checked_sub(1);
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        frame == crate::wire::BELL && REFUSALS.fetch_update(order.0, order.1, less).is_ok()
    }

    /// Before and after a frame is on the socket, by its type.
    fn around_frame(frame: &[u8]) -> Option<(Step, Step)> {
        Some(match FrameKind::of(frame)? {
            FrameKind::Hello => (Step::HelloUnsent, Step::HelloSent),
            FrameKind::Outbox => (Step::OutboxUnsent, Step::OutboxSent),
            FrameKind::Ready => (Step::ReadyUnsent, Step::ReadySent),
            FrameKind::AddSegment => (Step::AddSegmentUnsent, Step::AddSegmentSent),
            FrameKind::RetireSegment => (Step::RetireSegmentUnsent, Step::RetireSegmentSent),
            FrameKind::Close => (Step::CloseUnsent, Step::CloseSent),
            FrameKind::Claim => (Step::ClaimUnsent, Step::ClaimSent),
            FrameKind::Offer => (Step::OfferUnsent, Step::OfferSent),
            FrameKind::Yield => (Step::YieldUnsent, Step::YieldSent),
            FrameKind::Serving => (Step::ServingUnsent, Step::ServingSent),
            FrameKind::Release => (Step::ReleaseUnsent, Step::ReleaseSent),
            _ => return None,
        })
    }
}

pub(crate) use here::{is_refused, published, reach, sent, unpublished, unsent, written};
#[cfg(feature = "steps")]
pub use here::{refuse_bells, stop_at, unrefused_bells};
