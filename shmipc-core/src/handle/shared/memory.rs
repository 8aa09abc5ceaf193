//! Memory lent and borrowed: handing back, growing, evicting.

use std::sync::atomic::Ordering;

use crate::error::{HandshakeError, OsError, SendError};
use crate::mem::{self, CreateError};
use crate::pool::Plan;
use crate::session::Effects;
use crate::steps::{self, Step};
use crate::wire;

use super::frames::Frame;
use super::{Shared, lock};

/// Bytes that one call moves to the heap, about (`session::rx::evict`, V4).
const EVICT_BUDGET: usize = 4 << 20;

impl Shared {
    /// Hands an extent back to the peer.
    pub(in crate::handle) fn hand_back(&self, id: u32, segment: u32) {
        if self.is_foreign() {
            return;
        }
        if self.is_over() {
            return;
        }
        let position = {
            let mut returns = lock(&self.returns);
            returns.lent -= 1;
            if let Some(count) = returns.by_segment.get_mut(&segment) {
                *count -= 1;
            }
            returns.writer.extent(id)
        };
        self.signal(&Effects { returned: Some(position), ..Effects::default() });
    }

    /// Whether the application may hold one more extent: a quarter of the arena and of the cap are
    /// its own, beyond that messages are delivered as copies. The arena of a peer that has asked for memory is
    /// what it has got, not what was agreed: its kernel may refuse the rest.
    pub(in crate::handle) fn may_hold(&self, weight: u32) -> bool {
        let arena = match self.held.peer_is_short.load(Ordering::Relaxed) {
            true => self.held.mapped.load(Ordering::Relaxed),
            false => self.incoming.arena_max,
        };
        // Counted before it is judged, so that threads which ask at the same time do not all pass.
        let bytes = self.held.bytes.fetch_add(u64::from(weight), Ordering::Relaxed);
        let count = self.held.count.fetch_add(1, Ordering::Relaxed);
        let may = bytes < u64::from(arena / 4) && count < self.incoming.max_lent / 4;
        if !may {
            self.forget_held(weight);
            self.copies_forced.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// Notes which of the peer's segments there are, one of which is new or gone.
    pub(super) fn note_segments(&self, bytes: usize, is_new: bool) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.held.mapped.store(bytes, Ordering::Relaxed);
        if is_new {
            // It has got more than it had when it asked.
            self.held.peer_is_short.store(false, Ordering::Relaxed);
        }
    }

    /// Counts the peer's pleas for memory. Changes in a section of the receiving half only.
    pub(in crate::handle) fn pleas(&self) -> u64 {
        self.held.pleas.load(Ordering::Relaxed)
    }

    fn forget_held(&self, weight: u32) {
        self.held.bytes.fetch_sub(u64::from(weight), Ordering::Relaxed);
        self.held.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// The application holds an extent no more.
    pub(in crate::handle) fn let_go(&self, id: u32, segment: u32, weight: u32) {
        if !self.is_foreign() {
            self.forget_held(weight);
            self.hand_back(id, segment);
        }
    }

    /// Creates the segment of `plan`, which the caller has reserved the right to, and announces it; a smaller
    /// one if the kernel lacks memory for that. Blocks while the kernel clears the pages.
    ///
    /// # Errors
    /// [`SendError::NoMemory`] if the kernel refuses and nothing is out that could come back.
    pub(in crate::handle) fn grow(
        &self,
        mut plan: Plan,
        effects: &mut Effects,
    ) -> Result<(), SendError> {
        let mut lasts;
        let error = loop {
            let Err(error) = self.create(plan, effects) else { return Ok(()) };
            lasts = matches!(error, CreateError::SealUnsupported);
            let error = os_error(error);
            let smaller = is_lack_of_memory(error).then(|| self.tx().arena.smaller(plan));
            match smaller.flatten() {
                Some(smaller) => plan = smaller,
                None => break error,
            }
        };
        let (first, may_wait) = {
            let mut tx = self.tx();
            let first = tx.arena.refusal() != Some(error);
            let may_wait = tx.arena.refused(plan, error, self.began.elapsed());
            tx.settle_or_end(effects);
            (first, may_wait)
        };
        if first {
            effects.log.later(move || {
                tracing::warn!(%error, bytes = plan.bytes, "the kernel refuses payload memory");
            });
        }
        if lasts || !may_wait {
            return Err(SendError::NoMemory(error));
        }
        self.tell_of_chores();
        Ok(())
    }

    /// Comes between a sleeper of this session and its sleep, which began before there was something to do.
    pub(super) fn tell_of_chores(&self) {
        if self.gate().another_asleep(None) {
            self.link.kick();
        }
    }

    /// Creates the whole arena. Blocks while the kernel clears its pages.
    pub(in crate::handle) fn commit_arena(&self) -> Result<(), HandshakeError> {
        let needs = u64::from(self.out.arena_max);
        if let Some(left) = mem::left_in_cgroup().filter(|left| *left < needs) {
            return Err(HandshakeError::NoMemory { needs, left });
        }
        loop {
            let next = {
                let mut tx = self.tx();
                let next = tx.arena.next_of_whole(self.out.max_message);
                next.inspect(|plan| tx.arena.begin(*plan))
            };
            let Some(plan) = next else { return Ok(()) };
            let mut effects = Effects::default();
            let created = self.create(plan, &mut effects);
            self.complete(effects, Ok(()));
            created
                .map_err(|error| HandshakeError::NotCommitted { needs, error: os_error(error) })?;
        }
    }

    fn create(&self, plan: Plan, effects: &mut Effects) -> Result<(), CreateError> {
        let (segment, fd) = mem::create_arena(c"shmipc-arena", plan.bytes as usize)?;
        steps::reach(Step::SegmentMade);
        let mut tx = self.tx();
        let stat = nix::sys::stat::fstat(&fd);
        let id = tx.arena.add(plan, segment);
        self.retire(tx.arena.take_retired(), effects);
        lock(&self.own_files).extend(stat.map(|stat| (id, stat)));
        effects.log.later(move || {
            let Plan { region, bytes, .. } = plan;
            tracing::debug!(segment = id, bytes, ?region, "new payload memory");
        });
        let bytes = wire::add_segment(id, plan.bytes, plan.region.class());
        self.queue_frame(Frame { bytes, segment: Some(fd), announces: Some(id) });
        drop(tx);
        // If the peer does not read its socket the reservation waits, like for anything else.
        let _ = self.flush_frames(effects);
        // Who sleeps already does not know of the chores that come with a segment.
        self.tell_of_chores();
        Ok(())
    }

    /// Moves to our heap what is to be moved; hands it back.
    pub(super) fn evict(&self) {
        let (mut copied, mut bytes) = (None, 0);
        loop {
            let mut effects = Effects::default();
            let victim = self.rx().evict(copied.take(), &mut effects);
            self.complete(effects, Ok(()));
            let Some(victim) = victim else { return };
            let copy = victim.copy();
            bytes += copy.len();
            if bytes >= EVICT_BUDGET {
                let mut effects = Effects::default();
                self.rx().evict_later(&victim, copy, &mut effects);
                return self.complete(effects, Ok(()));
            }
            copied = Some((victim, copy));
        }
    }
}

/// Whether a smaller segment may be had.
fn is_lack_of_memory(error: OsError) -> bool {
    [nix::libc::ENOMEM, nix::libc::ENOSPC, nix::libc::EFBIG].contains(&error.code)
}

/// What the kernel said.
fn os_error(error: CreateError) -> OsError {
    match error {
        CreateError::Os(error) => error,
        CreateError::FileSize(_) => {
            OsError { call: "ftruncate beyond RLIMIT_FSIZE (`ulimit -f`)", code: nix::libc::EFBIG }
        }
        CreateError::SealUnsupported => {
            OsError { call: "fcntl(F_ADD_SEALS)", code: nix::libc::EINVAL }
        }
    }
}
