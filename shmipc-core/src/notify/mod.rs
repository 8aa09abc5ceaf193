//! Waking: who has to be rung, who sleeps where, and why nobody sleeps for ever.
//!
//! ```text
//!  our process                                      the peer's process
//!  ───────────                                      ──────────────────
//!  thread L  inside the kernel wait ◀─── bell ────  P4  ring, then checked := new
//!  thread F  follower, parked       token           P3  e in [checked, new)?
//!  thread B  running: drives        ▲ kick          P2  fence, e := E(C)   ◀─┐
//!     │ drains, grants, delivers ───┘               P1  publish C := new  ─┐ │
//!     │                                                                    │ │
//!     └─ our outbox:  E(tail) E(head) E(returned) ─────────────────────────┼─┘
//!        peer's outbox:  tail  head  returned  ◀───────────────────────────┘
//! ```
//!
//! Three cursors of the peer are *gated*: its tail (records for us), its head (space for our
//! records) and its return cursor (extents handed back to us). For each, our outbox holds an *event
//! word*: the position at whose passing we want to be rung. A word `e` is passed when the cursor
//! becomes greater than `e`. The peer compares positions with the word when it publishes, and writes
//! to the bell only if somebody asked for it; the words are advice to the peer, never trusted by it.
//!
//! Inside a process a session's waiting threads share one kernel wait. One of them, the *leader*, is
//! *inside*; the others are *followers*, each parked on a token of its own; whoever is neither is
//! *running*, and drives (drains records, grants space, delivers) for all. Whoever finds nobody
//! inside takes the lead; nobody is appointed. A *gate*, one process-local mutex, protects the
//! [`WaitBook`](wait::WaitBook) and the event word for records; nothing slow is done while it is held.
//! Beside the threads there may be an event loop *outside*, asleep on the session's descriptor.
//!
//! | what | written by | under |
//! |---|---|---|
//! | cursor | its publisher, Release | the publisher's lock (records: tx) |
//! | event word for records | the waiting process | gate |
//! | event words for space, for returns | the waiting process | the lock of that queue of waiters (tx) |
//! | position of the last completed check ([`Checks`](event::Checks)) | the publishing process, private | none |
//! | `drained`: the peer's records read so far ([`Progress`](progress::Progress)) | whoever drives | rx |
//! | who is inside, outside, parked; marks | [`WaitBook`](wait::WaitBook) | gate |
//! | queues of waiters for space and for returns | whoever joins, cancels, settles | their lock (tx) |
//! | bell, kick (session), token (thread) | whoever wakes | none: all of them latch |
//!
//! # Invariants
//! * **N1** When a publishing call returns, every position up to its own has been seen by the waiter
//!   or rung for, even if another thread that published less stopped for ever before it rang. Hence
//!   the interval `[checked, new)`, and `checked` advances only after the ring.
//! * **N2** Arm, SeqCst fence, look: who writes an event word compares the cursor afterwards with the
//!   position it wrote, not with what has been drained by now. Publish, SeqCst fence, load the word:
//!   the other half. One of the two sees the other.
//! * **N3** A thread registers before it looks at its own result for the last time, and its waker
//!   delivers before it looks, under the gate, where the thread is. One of the two sees the other.
//! * **N4** The one inside always has the record word armed, whatever it waits for itself; nobody
//!   else moves that word. (Exception: N8.) It alone consumes the bell; another that has to read
//!   the socket and takes a bell byte kicks it, and settles: if nobody is inside, nobody else will look
//!   at what the bell was rung for but records.
//! * **N5** The word for space or returns belongs to the front of its queue. Whoever joins, drives or
//!   cancels *settles* it: grants what fits, and while the word is not what the front needs now,
//!   writes it and looks again.
//! * **N6** The kernel wait includes the kick. One inside is woken by a kick, a parked one by its
//!   token, a running one not at all.
//! * **N7** Nobody is parked while nobody is inside or running. A call that registered and leaves,
//!   for whatever reason, wakes one follower if nobody is inside and none is already marked.
//! * **N8** While calls count as *active* the record word is disarmed and the one inside or outside is
//!   not armed; the last active call arms in its stead, looks, and kicks it if there is news.
//! * **N9** No step waits for a deadline, and no chain of wakes feeds itself.
//! * **N10** While an event loop is outside and nobody is inside, running or active, the record word is
//!   armed or the loop is kicked. It never leads in a thread's way: a thread that waits goes inside
//!   though the loop is armed, and one that leaves without a follower arms for the loop, looks, and
//!   kicks if there is news. Edges that the loop took after a thread went inside are passed on by a kick.
//! * **N11** A ring that the kernel refuses completes no check. It is owed until the chores of this process have
//!   rung; with no thread and no loop to do them, the session ends.
//!
//! The tests of this module visit every interleaving of small cases with the code of [`wait`] and
//! [`event`] itself (`notify/check`), once with the rules above and once with each rule weakened;
//! under weak memory `tests/loom_gate.rs` covers N2 and N3, `tests/loom_checks.rs` N1, and
//! `tests/loom_handover.rs` threads that do block.
//!
//! [`leaving`] is a word that no event word asks for: how one side goes away.

pub mod event;
pub mod leaving;
pub mod progress;
pub mod wait;
pub mod word;

#[cfg(test)]
mod check;
