//! What all handles of a session share: the two halves behind their locks, and what is done after
//! a lock is released.

mod chores;
mod drive;
mod end;
mod frames;
mod memory;
mod pace;
mod signal;
mod socket;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Unparker;
use nix::sys::stat::FileStat;

use crate::config::{Commit, Config, WaitMode};
use crate::error::{OsError, PeerMisbehaved};
use crate::handshake::Established;
use crate::layout::Geometry;
use crate::link::Link;
use crate::listen::Place;
use crate::mem::{Home, OwnMapping, PeerMapping, PeerTrust};
use crate::notify::event::Checks;
use crate::notify::progress::Progress;
use crate::notify::wait::WaitBook;
use crate::pool::ReturnWriter;
use crate::session::{Crowd, Effects, Feeds, Rx, Stats, Tx};
use crate::wire::Decoder;

use super::spin::SpinBudget;
use frames::Frames;
use pace::Pace;

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
    pub(super) crowd: Crowd,
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
    /// Reservations that wait, and calls that wait for a place, are counted in it: only then do drives look
    /// at head and returns.
    pub(super) progress: Progress,
    /// Messages in the peer's memory that the application holds.
    held: Held,
    /// A thread drains what a peer that is gone has left; then it ends the session.
    ending: AtomicBool,
    over: AtomicBool,
    home: Home,
    /// The files of our segments, for refusing them if the peer hands one back.
    own_files: Mutex<BTreeMap<u32, FileStat>>,
    /// The peer is known to be another process, so no file at all that this one writes is its own.
    peer_is_elsewhere: bool,
    bells_rung: AtomicU64,
    /// The kernel has refused a ring, which the chores are to make.
    ring_owed: AtomicBool,
    /// An event loop drives the session now and then.
    pub(super) has_loop: AtomicBool,
    pub(super) sleeps: AtomicU64,
    /// Threads woken that need the CPU of one that spins.
    pub(super) woken: AtomicU64,
    copies_forced: AtomicU64,
    began: Instant,
    /// Milliseconds from `began` to the last glance.
    glanced: AtomicU64,
    /// Milliseconds from `began` to the next sweep of the arena; 0: none is due.
    sweep_at: AtomicU64,
    idle_memory_timeout: Duration,
    /// Free again once `link` has closed the descriptors: fields are dropped in this order.
    _place: Option<Place>,
}

#[derive(Default)]
struct Held {
    bytes: AtomicU64,
    count: AtomicU32,
    /// Bytes of the peer's segments.
    mapped: AtomicU32,
    /// Pleas of the peer for memory.
    pleas: AtomicU64,
    /// It has announced no segment since the last of them.
    peer_is_short: AtomicBool,
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
    segments: Pace,
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
            wait,
            place,
            peer_is_elsewhere,
            ..
        } = established;
        let returns = ReturnWriter::new(Arc::clone(&own), &out, &incoming);
        let rx = Rx::new(&own, &peer, role, &out, &incoming);
        Ok(Self {
            crowd: rx.crowd(),
            rx: Mutex::new(rx),
            tx: Mutex::new(Tx::new(&own, &peer, &out, &incoming)),
            returns: Mutex::new(Returns { writer: returns, lent: 0, by_segment: BTreeMap::new() }),
            socket: Mutex::new(SocketIn {
                decoder,
                closed_with: None,
                ended: false,
                failed: None,
                bells: 0,
                segments: Pace::of(&incoming, Instant::now()),
            }),
            frames: Mutex::default(),
            gate: Mutex::new(WaitBook::new()),
            somebody_asleep: AtomicBool::new(false),
            checks: Checks::new(),
            link: Link::new(socket, bell, peer_pidfd, wait)?,
            own,
            peer,
            out,
            incoming,
            promise: config.trust,
            wait_mode: config.wait,
            spin: SpinBudget::new(config.spin_at_most),
            progress: Progress::default(),
            held: Held::default(),
            ending: AtomicBool::new(false),
            over: AtomicBool::new(false),
            home: Home::here(),
            peer_is_elsewhere,
            own_files: Mutex::new(BTreeMap::from([(0, own_file)])),
            bells_rung: AtomicU64::new(0),
            ring_owed: AtomicBool::new(false),
            has_loop: AtomicBool::new(false),
            sleeps: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            copies_forced: AtomicU64::new(0),
            began: Instant::now(),
            glanced: AtomicU64::new(0),
            sweep_at: AtomicU64::new(0),
            idle_memory_timeout: match config.commit {
                Commit::OnDemand => config.idle_memory_timeout,
                // Nothing is retired.
                Commit::Upfront => Duration::MAX,
            },
            _place: place,
        })
    }

    pub(super) fn rx(&self) -> MutexGuard<'_, Rx> {
        lock(&self.rx)
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, WaitBook<Unparker>> {
        lock(&self.gate)
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
            stats.memory_refusals = tx.arena.refusals();
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

    fn pleaded(&self) {
        self.held.peer_is_short.store(true, Ordering::Relaxed);
        self.held.pleas.fetch_add(1, Ordering::Relaxed);
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
