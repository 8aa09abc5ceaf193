//! Memory lent and borrowed: handing back, growing, announcing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{OsError, SendError, SessionError};
use crate::link::Sent;
use crate::mem::{self, CreateError};
use crate::pool::{Plan, Region};
use crate::session::Effects;
use crate::wire::{self, SegmentClass};

use super::{Shared, lock};

impl Shared {
    /// Hands an extent back to the peer.
    pub(in crate::handle) fn hand_back(&self, id: u32, segment: u32, len: usize, was_held: bool) {
        if self.is_foreign() {
            return;
        }
        if was_held {
            self.held.bytes.fetch_sub(len as u64, Ordering::Relaxed);
            self.held.count.fetch_sub(1, Ordering::Relaxed);
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
    pub(in crate::handle) fn may_hold(&self, len: usize) -> bool {
        let bytes = self.held.bytes.load(Ordering::Relaxed);
        let count = self.held.count.load(Ordering::Relaxed);
        if bytes >= u64::from(self.incoming.arena_max / 4) || count >= self.incoming.max_lent / 4 {
            self.copies_forced.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.held.bytes.fetch_add(len as u64, Ordering::Relaxed);
        self.held.count.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Creates the segment of `plan`, which the caller has reserved the right to, and announces it.
    /// Blocks while the kernel clears the pages.
    pub(in crate::handle) fn grow(
        &self,
        plan: Plan,
        effects: &mut Effects,
    ) -> Result<(), SendError> {
        let created = mem::create_arena(c"shmipc-arena", plan.bytes as usize);
        let mut tx = self.tx();
        let (segment, fd) = match created {
            Ok(created) => created,
            Err(error) => {
                let may_wait = tx.arena.refused(plan);
                tx.settle_or_end(effects);
                return match error {
                    CreateError::Os(_) if may_wait => Ok(()),
                    CreateError::Os(os) => Err(SendError::NoMemory(os)),
                    CreateError::SealUnsupported => Err(SendError::NoMemory(OsError {
                        call: "fcntl(F_ADD_SEALS)",
                        code: nix::libc::EINVAL,
                    })),
                };
            }
        };
        let id = tx.arena.add(plan, segment);
        let retired = tx.arena.take_retired();
        drop(tx);
        {
            let mut files = lock(&self.own_files);
            files.retain(|id, _| !retired.contains(id));
            files.extend(nix::sys::stat::fstat(&fd).map(|stat| (id, stat)));
        }
        for id in retired {
            self.send_in_order(&wire::retire_segment(id), &[])?;
        }
        self.announce(id, plan, &fd)?;
        let mut tx = self.tx();
        tx.arena.announced(id);
        tx.settle_or_end(effects);
        Ok(())
    }

    pub(super) fn announce(
        &self,
        id: u32,
        plan: Plan,
        fd: &std::os::fd::OwnedFd,
    ) -> Result<(), SendError> {
        use std::os::fd::AsFd;
        let class = match plan.region {
            Region::Small => SegmentClass::Small,
            Region::Dedicated => SegmentClass::Dedicated,
        };
        self.send_in_order(&wire::add_segment(id, plan.bytes, class), &[fd.as_fd()])
    }

    /// Puts a frame about a segment on the socket. A peer that does not read lets the socket fill up;
    /// then the one caller who grows this region looks again until there is room or the session ends.
    pub(super) fn send_in_order(
        &self,
        frame: &[u8],
        fds: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<(), SendError> {
        loop {
            match self.link.send_frame(frame, fds) {
                Ok(Sent::Whole | Sent::Gone) => return Ok(()),
                Ok(Sent::Full | Sent::Later) => {
                    if self.is_over() {
                        return Err(SendError::Session(SessionError::PeerDied));
                    }
                    self.look_at_socket();
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => {
                    self.end(error.into());
                    return Err(SendError::Session(error.into()));
                }
            }
        }
    }
}
