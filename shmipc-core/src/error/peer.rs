//! What a peer can do wrong, rule by rule.

/// A rule that the peer broke. It ends that session and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// The record cursor ran backwards or further than the ring is long.
    #[error("its record cursor jumped")]
    TailJumped,
    /// The consumption cursor ran backwards or past what we published.
    #[error("its consumption cursor jumped")]
    HeadJumped,
    /// The consumption cursor does not follow what the peer does: it has read more of our records than
    /// it says.
    #[error("it reads our records without moving its consumption cursor")]
    HeadWithheld,
    /// The return cursor ran backwards or past the cap.
    #[error("its return cursor jumped")]
    ReturnedJumped,
    /// A record is shorter than its header, or longer than the ring or the published bytes allow.
    #[error("a record has an impossible length")]
    RecordLength,
    /// A record or frame of a kind this version does not know.
    #[error("a record has an unknown kind")]
    RecordKind,
    /// A record carries flags that contradict its kind.
    #[error("a record has contradictory flags")]
    RecordFlags,
    /// A record names a stream that was never opened.
    #[error("a record names a stream that was never opened")]
    UnknownStream,
    /// An open names a place outside the limits, or one that is still in use.
    #[error("it opened a stream in a place that is not free")]
    StreamPlace,
    /// Data after the end of a stream's direction.
    #[error("it sent data after the end of the stream")]
    AfterEnd,
    /// Its final position is none, has changed, or contradicts what it has answered.
    #[error("it leaves at an impossible position")]
    FinalPosition,
    /// More unread data than it had credit for.
    #[error("it sent more than it had credit for")]
    CreditOverrun,
    /// A window update that takes credit back or exceeds the window.
    #[error("it announced an impossible window")]
    WindowUpdate,
    /// An extent lies outside its segment, or is longer than a message may be.
    #[error("it named an extent outside its segment")]
    ExtentBounds,
    /// A segment that is not live.
    #[error("it named an unknown segment")]
    UnknownSegment,
    /// It handed back an extent that was not lent.
    #[error("it returned an extent that was not lent")]
    ReturnedUnlent,
    /// More extents are lent than was agreed.
    #[error("it lent more extents than agreed")]
    LentTooMany,
    /// It retired a segment that still has extents lent to us.
    #[error("it retired a segment that is still lent")]
    RetiredWhileLent,
    /// A segment's id, size or number is outside of what was agreed.
    #[error("it announced a segment outside of what was agreed")]
    SegmentLimits,
    /// It announces and retires segments faster than any peer can make them.
    #[error("it announces segments without end")]
    SegmentFlood,
    /// A shared memory file lacks the seals that keep its writer honest.
    #[error("its shared memory is not sealed")]
    NotSealed,
    /// A shared memory file has not the size that was agreed, is our own, or is of a wrong type.
    #[error("its shared memory has a wrong size or type")]
    WrongMemory,
    /// Pages of a segment were not populated before it was announced.
    #[error("its shared memory has holes")]
    SegmentNotPresent,
    /// A control frame that is malformed, oversized or out of order.
    #[error("it sent a malformed control frame")]
    Frame,
    /// A control frame came with more or fewer descriptors than it declares.
    #[error("it sent a wrong number of descriptors")]
    Descriptors,
    /// The descriptor it passed as itself is not a process descriptor.
    #[error("it sent something that is no process descriptor")]
    NotAPidfd,
    /// It rang far more often than we slept.
    #[error("it rings the bell without end")]
    BellFlood,
}
