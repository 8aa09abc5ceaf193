//! What a session has done so far.

/// Counters of what was sent on one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendStats {
    /// Records with payload published: messages, and parts of messages.
    pub records: u64,
    /// Payload bytes published.
    pub bytes: u64,
    /// Bytes that the peer lets us send now before it takes some; a record counts 64 bytes and its
    /// payload rounded up to 64, at most half of the window.
    pub credit: u64,
    /// Times a reservation of this stream had to wait.
    pub reserve_waits: u64,
}

/// Counters of what was received on one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvStats {
    /// Records with payload drained: messages, and parts of messages.
    pub records: u64,
    /// Payload bytes drained.
    pub bytes: u64,
    /// Of those records: not yet taken by the application.
    pub unread_records: u64,
    /// Of those bytes: not yet taken by the application.
    pub unread_bytes: u64,
}

/// Counters of one session, as seen by one side. All only grow, but for those that say "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records with payload published.
    pub records_sent: u64,
    /// Records with payload drained.
    pub records_received: u64,
    /// Payload bytes published.
    pub bytes_sent: u64,
    /// Payload bytes drained.
    pub bytes_received: u64,
    /// Times we woke the peer with a system call.
    pub bells_rung: u64,
    /// Times the peer woke us (bell frames read; with the eventfd bell: wake-ups by it).
    pub bells_received: u64,
    /// Spins that ended with what was waited for.
    pub spins_paid: u64,
    /// Spins that ended in sleep.
    pub spins_failed: u64,
    /// Times a thread slept in the kernel.
    pub sleeps: u64,
    /// Times a reservation had to wait (for one of the following three, or behind another one).
    pub reserve_waits: u64,
    /// Of those: for credit, hence for the peer to take messages.
    pub credit_stalls: u64,
    /// Of those: for space in the queue.
    pub space_waits: u64,
    /// Of those: for payload memory.
    pub memory_waits: u64,
    /// Times the peer was asked to return what is unread, because no payload memory was left.
    pub memory_pleas: u64,
    /// Times the kernel refused payload memory for what was to be sent.
    pub memory_refusals: u64,
    /// Messages moved to our heap while they were unread, so that the peer gets its memory back.
    pub evicted: u64,
    /// Extents lent to the peer now.
    pub lent: u32,
    /// Bytes of payload segments now.
    pub arena_bytes: u32,
    /// The most bytes of payload segments at one time.
    pub arena_high_water: u32,
    /// Messages delivered as heap copies because too much is held.
    pub copies_forced: u64,
}
