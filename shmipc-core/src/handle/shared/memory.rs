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
    /// its own, beyond that messages are delivered as copies.
    pub(in crate::handle) fn may_hold(&self, weight: u32) -> bool {
        // Counted before it is judged, so that threads which ask at the same time do not all pass.
        let bytes = self.held.bytes.fetch_add(u64::from(weight), Ordering::Relaxed);
        let count = self.held.count.fetch_add(1, Ordering::Relaxed);
        let may =
            bytes < u64::from(self.incoming.arena_max / 4) && count < self.incoming.max_lent / 4;
        if !may {
            self.forget_held(weight);
            self.copies_forced.fetch_add(1, Ordering::Relaxed);
        }
        may
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

    /// Creates the segment of `plan`, which the caller has reserved the right to, and announces it.
    /// Blocks while the kernel clears the pages.
    pub(in crate::handle) fn grow(
        &self,
        plan: Plan,
        effects: &mut Effects,
    ) -> Result<(), SendError> {
        let Err(error) = self.create(plan, effects) else { return Ok(()) };
        let mut tx = self.tx();
        let may_wait = tx.arena.refused(plan);
        tx.settle_or_end(effects);
        match error {
            CreateError::Os(_) | CreateError::FileSize(_) if may_wait => Ok(()),
            error => Err(SendError::NoMemory(os_error(error))),
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
        self.retire(tx.arena.take_retired());
        lock(&self.own_files).extend(stat.map(|stat| (id, stat)));
        tracing::debug!(segment = id, bytes = plan.bytes, region = ?plan.region, "new payload memory");
        let bytes = wire::add_segment(id, plan.bytes, plan.region.class());
        self.queue_frame(Frame { bytes, segment: Some(fd), announces: Some(id) });
        drop(tx);
        // If the peer does not read its socket the reservation waits, like for anything else.
        let _ = self.flush_frames(effects);
        // Who sleeps already does not know of the chores that come with a segment.
        if self.gate().another_asleep(None) {
            self.link.kick();
        }
        Ok(())
    }

    /// Moves to our heap what is to be moved; hands it back.
    pub(super) fn evict(&self) {
        let mut copied = None;
        loop {
            let mut effects = Effects::default();
            let victim = self.rx().evict(copied.take(), &mut effects);
            self.complete(effects, Ok(()));
            let Some(victim) = victim else { return };
            let copy = victim.copy();
            copied = Some((victim, copy));
        }
    }
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
