//! What all handles of a session share: the two halves behind their locks, and what is done after
//! a lock is released.

mod chores;
mod frames;
mod memory;
mod socket;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Unparker;
use nix::sys::stat::FileStat;

use crate::config::{Config, WaitMode};
use crate::error::{OsError, PeerMisbehaved, SessionError};
use crate::handshake::Established;
use crate::layout::{Geometry, RING_AT};
use crate::link::Link;
use crate::mem::{Home, Memory as _, OwnMapping, PeerMapping, PeerTrust, Raw};
use crate::notify::event::{Checks, Cursor};
use crate::notify::leaving;
use crate::notify::wait::WaitBook;
use crate::pool::ReturnWriter;
use crate::session::{BUDGET, Drained, Effects, Feeds, Payload, Rx, Stats, Tx};
use crate::wire::{self, Decoder};

use super::spin::SpinBudget;
use frames::Frames;

/// Rings that a peer may send without our having slept.
const FREE_RINGS: u64 = 100_000;

/// Reads of the socket in one turn: a peer that sends frames without end keeps nobody busy for ever,
/// and all frames that an honest one can have unread are fewer.
const READS: u32 = 512;

/// See [the module](super).
pub(crate) struct Shared {
    pub(super) own: Arc<OwnMapping>,
    pub(super) peer: Arc<PeerMapping>,
    rx: Mutex<Rx>,
    tx: Mutex<Tx>,
    returns: Mutex<Returns>,
    socket: Mutex<SocketIn>,
    frames: Mutex<Frames>,
    pub(super) gate: Mutex<WaitBook<Unparker>>,
    /// Whether somebody sleeps in the kernel, inside or outside: a copy for looks without the gate,
    /// which may be stale at the cost of a ring.
    pub(super) somebody_asleep: AtomicBool,
    checks: Checks,
    pub(super) link: Link,
    out: Geometry,
    pub(super) incoming: Geometry,
    pub(super) promise: Option<PeerTrust>,
    pub(super) wait_mode: WaitMode,
    pub(super) spin: SpinBudget,
    /// Position up to which the peer's records have been drained, for looks without the lock.
    drained: AtomicU64,
    /// Reservations that wait: only then do drives look at head and returns.
    waiting: AtomicUsize,
    /// Messages in the peer's memory that the application holds.
    held: Held,
    /// A thread drains what a peer that is gone has left; then it ends the session.
    ending: AtomicBool,
    over: AtomicBool,
    home: Home,
    /// The files of our segments, for refusing them if the peer hands one back.
    own_files: Mutex<BTreeMap<u32, FileStat>>,
    bells_rung: AtomicU64,
    pub(super) sleeps: AtomicU64,
    copies_forced: AtomicU64,
    began: Instant,
    /// Milliseconds from `began` to the last glance.
    glanced: AtomicU64,
    /// Milliseconds from `began` to the next sweep of the arena; 0: none is due.
    sweep_at: AtomicU64,
    idle_memory_timeout: Duration,
}

#[derive(Default)]
struct Held {
    bytes: AtomicU64,
    count: AtomicU32,
}

/// Extents lent to us and the queue by which they go back.
struct Returns {
    writer: ReturnWriter<Arc<OwnMapping>>,
    lent: u32,
    by_segment: BTreeMap<u32, u32>,
}

/// What reads the socket; used under the lock of the receiving half only.
struct SocketIn {
    decoder: Decoder,
    closed_with: Option<u32>,
    ended: bool,
    /// A read or a frame failed for a reason of ours: nothing more is read.
    failed: Option<OsError>,
    bells: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No foreign code runs under our locks, so a poisoned one means a bug that has been reported.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Makes the session of a completed handshake.
    pub(super) fn new(established: Established, config: &Config) -> Result<Self, OsError> {
        let Established {
            socket,
            own,
            peer,
            out,
            incoming,
            peer_pidfd,
            bell,
            role,
            decoder,
            own_file,
            ..
        } = established;
        let returns = ReturnWriter::new(Arc::clone(&own), &out, &incoming);
        Ok(Self {
            rx: Mutex::new(Rx::new(&own, &peer, role, &out, &incoming)),
            tx: Mutex::new(Tx::new(&own, &peer, &out, &incoming)),
            returns: Mutex::new(Returns { writer: returns, lent: 0, by_segment: BTreeMap::new() }),
            socket: Mutex::new(SocketIn {
                decoder,
                closed_with: None,
                ended: false,
                failed: None,
                bells: 0,
            }),
            frames: Mutex::default(),
            gate: Mutex::new(WaitBook::new()),
            somebody_asleep: AtomicBool::new(false),
            checks: Checks::new(),
            link: Link::new(socket, bell, peer_pidfd)?,
            own,
            peer,
            out,
            incoming,
            promise: config.trust,
            wait_mode: config.wait,
            spin: SpinBudget::default(),
            drained: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            held: Held::default(),
            ending: AtomicBool::new(false),
            over: AtomicBool::new(false),
            home: Home::here(),
            own_files: Mutex::new(BTreeMap::from([(0, own_file)])),
            bells_rung: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
            copies_forced: AtomicU64::new(0),
            began: Instant::now(),
            glanced: AtomicU64::new(0),
            sweep_at: AtomicU64::new(0),
            idle_memory_timeout: config.idle_memory_timeout,
        })
    }

    pub(super) fn rx(&self) -> MutexGuard<'_, Rx> {
        lock(&self.rx)
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, WaitBook<Unparker>> {
        lock(&self.gate)
    }

    // --- looking and driving -------------------------------------------------------------------

    /// Whether the peer has published records that nobody has drained. Takes no lock.
    pub(super) fn has_records(&self) -> bool {
        Raw::new(self.peer.load64(Cursor::Tail.cursor_at())) != self.drained()
    }

    /// Fetches the lines of the next record while the lock is being taken.
    #[inline]
    pub(super) fn will_read(&self) {
        let next = self.drained.load(Ordering::Relaxed) & u64::from(self.incoming.ring_bytes - 1);
        self.peer.will_read(RING_AT + next as usize);
    }

    /// Position up to which the peer's records have been drained.
    pub(super) fn drained(&self) -> u64 {
        self.drained.load(Ordering::Acquire)
    }

    /// Whether this process is a fork of the one whose session this is. Asked before anything else:
    /// a child has neither the mappings nor, perhaps, the locks.
    #[inline]
    pub(super) fn is_foreign(&self) -> bool {
        self.home.is_foreign()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Drains the peer's records under the lock `rx`; errors are left in the result for
    /// [`Shared::complete`].
    #[inline]
    pub(super) fn drain(&self, rx: &mut Rx, effects: &mut Effects) -> Result<bool, PeerMisbehaved> {
        let result = rx.drain(self, None, effects);
        self.drained.store(rx.drained(), Ordering::Release);
        result.map(|drained| matches!(drained, Drained::Budget))
    }

    /// Takes a message straight out of the queue; see [`Rx::take_inline`].
    #[inline]
    pub(super) fn take_inline<R>(
        &self,
        key: usize,
        copy: impl FnOnce(&Arc<PeerMapping>, usize, usize) -> Option<R>,
    ) -> Option<R> {
        let mut effects = None;
        let payload = {
            let mut rx = self.rx();
            let payload = rx.take_inline(key, self, &mut effects, copy)?;
            self.drained.store(rx.drained(), Ordering::Release);
            payload
        };
        if let Some(effects) = effects {
            self.complete(effects, Ok(()));
        }
        Some(payload)
    }

    /// Drains until a record for the stream `key` is found, whose inbox is empty.
    #[inline]
    pub(super) fn drain_for(
        &self,
        key: usize,
        rx: &mut Rx,
        effects: &mut Effects,
    ) -> Result<Drained, PeerMisbehaved> {
        let result = rx.drain(self, Some(key), effects);
        self.drained.store(rx.drained(), Ordering::Release);
        result
    }

    /// Drains after which everything published before the first of them has been acted on: a peer that
    /// publishes without end keeps nobody longer.
    pub(super) fn drains(&self) -> usize {
        self.incoming.ring_bytes as usize / 16 / BUDGET + 1
    }

    /// Drives: drains records and answers reservations that wait. What was published before the call
    /// has an effect after it.
    pub(super) fn drive(&self) {
        let mut effects = Effects::default();
        let mut result = Ok(true);
        for _ in 0..self.drains() {
            result = self.drain(&mut self.rx(), &mut effects);
            if !matches!(result, Ok(true)) {
                break;
            }
        }
        let result = result.and_then(|_| self.settle(&mut effects));
        self.complete(effects, result);
    }

    /// Answers reservations that wait, if there are any.
    pub(super) fn settle(&self, effects: &mut Effects) -> Result<(), PeerMisbehaved> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        self.tx().settle(effects)
    }

    /// Counts reservations that wait.
    pub(super) fn count_waiting(&self, more: bool) {
        if more {
            self.waiting.fetch_add(1, Ordering::AcqRel);
        } else {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Does what was left to be done after the locks: hands back, rings, wakes; ends the session if
    /// the peer broke a rule.
    #[inline]
    pub(super) fn complete(&self, effects: Effects, result: Result<impl Sized, PeerMisbehaved>) {
        if effects.only_moves() && result.is_ok() {
            self.signal(&effects);
        } else {
            self.complete_all(effects, result.err());
        }
    }

    fn complete_all(&self, mut effects: Effects, misdeed: Option<PeerMisbehaved>) {
        for payload in std::mem::take(&mut effects.dropped) {
            if let Payload::Lent { id, segment, .. } = payload {
                self.hand_back(id, segment);
            }
        }
        self.signal(&effects);
        for waker in std::mem::take(&mut effects.wakers) {
            waker.wake();
        }
        if effects.took_bell && self.gate().another_asleep(None) {
            self.link.kick();
        }
        drop(std::mem::take(&mut effects.stale));
        if effects.evict {
            self.evict();
        }
        if effects.glance {
            self.glance_now_and_then();
        }
        if let Some(error) = effects.failed {
            self.end(error.into());
        } else if let Some(misdeed) = misdeed.or(effects.misdeed) {
            self.end(misdeed.into());
        }
        if effects.opened {
            self.look_whether_peer_leaves();
        }
    }

    /// P2 to P4 for everything a call has published: one fence, at most one ring.
    #[inline]
    fn signal(&self, effects: &Effects) {
        let moved = [
            (Cursor::Tail, effects.tail),
            (Cursor::Head, effects.head),
            (Cursor::Returned, effects.returned),
        ];
        if moved.iter().any(|(_, position)| position.is_some()) {
            self.signal_moved(moved);
        }
    }

    fn signal_moved(&self, moved: [(Cursor, Option<u64>); 3]) {
        self.checks.fence(&self.peer);
        for (cursor, position) in moved {
            let Some(position) = position else { continue };
            if self.checks.check(&self.peer, cursor, position) {
                self.ring();
                self.checks.rung(cursor, position);
            }
        }
    }

    /// Publishes what was put under the lock, and rings for it after it.
    #[inline]
    pub(super) fn publish(&self, mut tx: MutexGuard<'_, Tx>) {
        let (tail, opened) = (tx.publish(), tx.take_opened());
        drop(tx);
        if let Some(tail) = tail {
            self.signal_tail(tail);
        }
        if opened {
            self.look_whether_peer_leaves();
        }
    }

    /// P2 to P4 for records alone.
    #[inline]
    fn signal_tail(&self, position: u64) {
        if self.checks.needs_ring(&self.peer, Cursor::Tail, position) {
            self.ring();
            self.checks.rung(Cursor::Tail, position);
        }
    }

    #[cold]
    fn ring(&self) {
        self.bells_rung.fetch_add(1, Ordering::Relaxed);
        // A bell that cannot be rung belongs to a peer that is gone; the socket says so.
        let _ = self.link.ring();
    }

    // --- going away ----------------------------------------------------------------------------

    /// Leaves, once: the streams that the peer has opened are served, and no others.
    pub(super) fn leave(&self) {
        let mut effects = Effects::default();
        let left = self.rx().leave(&mut self.tx(), &mut effects);
        let first_time = matches!(left, Ok(true));
        self.complete(effects, left);
        if first_time {
            tracing::debug!("we leave");
            self.ring();
        }
    }

    /// After a stream was opened, and its ring check made (`notify::leaving`, G1).
    fn look_whether_peer_leaves(&self) {
        if leaving::is_leaving(&self.peer) {
            self.drive();
        }
    }

    // --- the end -------------------------------------------------------------------------------

    /// Closes the session: the peer reads what was published and learns the code.
    pub(super) fn close(&self, code: u32) {
        if self.is_foreign() || self.is_over() {
            return;
        }
        let _ = self.link.send_frame(&wire::close(code), &[]);
        self.end(SessionError::Closed);
    }

    /// The peer is gone: everything it published is delivered first.
    fn end_after_drain(&self, error: SessionError) {
        // Once: the drive may look at the socket and come here again, for as long as a peer that is
        // not gone publishes.
        if !self.is_over() && !self.ending.swap(true, Ordering::AcqRel) {
            self.drive();
            self.end(error);
        }
    }

    /// Ends the session for everybody, once.
    pub(super) fn end(&self, error: SessionError) {
        let mut effects = Effects::default();
        {
            let mut rx = self.rx();
            if self.over.swap(true, Ordering::AcqRel) {
                return;
            }
            tracing::debug!(%error, "session over");
            rx.finish(error, self, &mut effects);
            self.tx().end(error, &mut effects);
        }
        self.link.shutdown();
        for waker in effects.wakers {
            waker.wake();
        }
        // Whoever is inside looks at its result.
        self.link.kick();
    }

    /// What the session has done.
    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        {
            let rx = self.rx();
            (stats.records_received, stats.bytes_received) = (rx.records, rx.bytes);
            stats.evicted = rx.evicted;
        }
        {
            let tx = self.tx();
            (stats.records_sent, stats.bytes_sent) = (tx.records, tx.bytes);
            stats.reserve_waits = tx.waits.all;
            stats.credit_stalls = tx.waits.credit;
            stats.space_waits = tx.waits.space;
            stats.memory_waits = tx.waits.memory;
            stats.memory_pleas = tx.pleas;
            stats.lent = tx.arena.lent();
            stats.arena_bytes = tx.arena.mapped();
            stats.arena_high_water = tx.arena.high_water();
        }
        stats.bells_rung = self.bells_rung.load(Ordering::Relaxed);
        stats.bells_received = lock(&self.socket).bells;
        stats.sleeps = self.sleeps.load(Ordering::Relaxed);
        stats.copies_forced = self.copies_forced.load(Ordering::Relaxed);
        (stats.spins_paid, stats.spins_failed) = self.spin.counts();
        stats
    }

    /// Largest payload of one record to the peer.
    pub(super) fn out(&self) -> &Geometry {
        &self.out
    }

    pub(super) fn tx(&self) -> MutexGuard<'_, Tx> {
        lock(&self.tx)
    }
}

impl Feeds for Shared {
    fn tx(&self) -> MutexGuard<'_, Tx> {
        lock(&self.tx)
    }

    fn borrowed(&self, segment: u32) -> Result<(), PeerMisbehaved> {
        let mut returns = lock(&self.returns);
        if returns.lent >= self.incoming.max_lent {
            return Err(PeerMisbehaved::LentTooMany);
        }
        returns.lent += 1;
        *returns.by_segment.entry(segment).or_default() += 1;
        Ok(())
    }

    fn read_socket(&self, rx: &mut Rx, effects: &mut Effects) -> Result<(), PeerMisbehaved> {
        self.read_frames(READS, rx, effects)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("over", &self.is_over()).finish_non_exhaustive()
    }
}
