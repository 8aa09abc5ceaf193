//! Shared memory: the only module of the workspace with `unsafe` code.
//!
//! ```text
//!        our process                                the peer's process
//!   OwnMapping (read-write) ──── sealed memfd ────▶ PeerMapping (read-only)
//!   PeerMapping (read-only) ◀─── sealed memfd ───── OwnMapping (read-write)
//! ```
//!
//! A memfd is mapped read-write by its creator, then sealed against growing, shrinking, further
//! writable mappings and further seals, then passed. Whoever receives it can only ever read it.
//! Algorithms above this module see memory through [`Memory`] and [`MemoryMut`]: words of 4 and 8
//! bytes, bulk copies, and fences. The same code therefore runs on a mapping, on the heap, under
//! loom and on an adversarial memory (the `testing` module).
//!
//! # Invariants
//! * **M1** A mapping is mapped for as long as its value lives; everything that points
//!   into it owns a reference to it.
//! * **M2** Every byte of a session has one writing process: the one that holds the `OwnMapping`.
//!   The kernel enforces it by the seals.
//! * **M3** The other process behaves like relaxed atomic stores of arbitrary value to the bytes of a
//!   `PeerMapping`. We read them with relaxed atomic loads of at most 8 bytes, or with
//!   instructions that the compiler cannot see through, and never make a reference to them, except as
//!   **M6** allows.
//! * **M4** Offsets are checked against the length of the mapping on every access.
//! * **M5** An [`ExtentMut`] is the only thing in this process that touches its bytes: the table of
//!   extents hands a range out once, and checks that it overlaps no other.
//! * **M6** A `&[u8]` into a `PeerMapping` is made only with a [`PeerTrust`], by which the
//!   application promises that the peer leaves bytes alone that it has lent.
//! * **M7** Sealed and present pages stay: a file can neither shrink nor lose pages while the seals
//!   hold, and presence was checked before the first read, so no access faults.
//! * **M8** A descriptor that the kernel gives us is an `OwnedFd` before anything else happens to it:
//!   it is closed once, on every path, and its number is never used by anybody else.
//! * **M9** A thread that serves never drops the last reference to a file that a peer chose, because
//!   that may block for as long as the peer likes. [`receive`] owns every descriptor before it takes
//!   the bytes that it came with off the socket, and a [`Passed`] that is dropped is closed by another
//!   thread.
//! * **M10** Bytes of an `OwnMapping` are written by atomic stores, except by its one
//!   [writer of records](crate::queue::RecordWriter), which writes what it has not yet published as it
//!   likes ([`MemoryMut::write_unpublished`]).

mod cgroup;
mod copy;
mod extent;
mod fds;
mod fork;
mod heap;
mod mapping;
mod memfd;
mod own_files;
mod passed;
mod per_process;
mod prefetch;
mod raw;
mod reaper;
mod reserve;
mod trust;
mod udmabuf;

pub use cgroup::left_in_cgroup;
pub use extent::{ExtentMut, ExtentTable, LentBytes, Range};
pub use fds::{Received, Truncated, accept, has_ended, peer_groups, pidfd_of_self, receive};
pub(crate) use fds::{pass_rights, prepare_socket};
pub use fork::Home;
pub use heap::HeapMemory;
pub use mapping::{OwnMapping, PeerMapping};
#[cfg(any(test, feature = "testing"))]
pub(crate) use memfd::recycled_arena;
pub use memfd::{AdoptError, ArenaSegment, CreateError, adopt, create, create_arena, probe};
pub use own_files::Own;
pub use passed::Passed;
pub use raw::Raw;
pub(crate) use reaper::close_elsewhere;
pub(crate) use reserve::{join as join_reserve, leave as leave_reserve};
pub use trust::PeerTrust;
pub(crate) use udmabuf::is_sealed_memory_writable;

use std::sync::Arc;

/// Memory that may be written by somebody else at any time.
///
/// Offsets are in bytes and must be aligned to the word; accesses outside of the memory panic, so
/// callers validate what came from the peer first.
pub trait Memory: Send + Sync {
    /// Bytes.
    fn size(&self) -> usize;
    /// Relaxed load of the 4-byte word at `at`.
    fn load32(&self, at: usize) -> u32;
    /// Relaxed load of the 8-byte word at `at`.
    fn load64(&self, at: usize) -> u64;
    /// Copies bytes out. Tearing is possible if the writer breaks its word.
    fn read(&self, at: usize, out: &mut [u8]);
    /// Copies `len` bytes out into a vector of its own.
    #[inline]
    fn read_to_vec(&self, at: usize, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len);
        self.append_to(at, len, &mut out);
        out
    }
    /// Copies `len` bytes from `at` on behind what `out` holds.
    fn append_to(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        let end = out.len();
        out.resize(end + len, 0);
        self.read(at, &mut out[end..]);
    }
    /// Hints that the 128 bytes from `at` on will soon be read. Does nothing by default.
    #[inline]
    fn will_read(&self, at: usize) {
        let _ = at;
    }
    /// `fence(Acquire)`: what was published before a word that was loaded is visible after it.
    fn fence_acquire(&self);
    /// `fence(SeqCst)`: orders our stores before our later loads, against the same on the other side.
    fn fence_seq_cst(&self);
}

/// Memory that only we write.
pub trait MemoryMut: Memory {
    /// Relaxed store of the 4-byte word at `at`.
    fn store32(&self, at: usize, value: u32);
    /// Relaxed store of the 8-byte word at `at`.
    fn store64(&self, at: usize, value: u64);
    /// Release store of the 8-byte word at `at`: publishes everything written before.
    fn publish64(&self, at: usize, value: u64);
    /// Hints that the 128 bytes from `at` on will soon be written. Does nothing by default.
    #[inline]
    fn will_write(&self, at: usize) {
        let _ = at;
    }
    /// Copies bytes in, as relaxed stores.
    fn write(&self, at: usize, data: &[u8]);
    /// Copies bytes in that no other thread or process uses before they are published.
    #[inline]
    fn write_unpublished(&self, at: usize, data: &[u8], only: Unpublished) {
        let _ = only;
        self.write(at, data);
    }
    /// Takes the right to [`write_unpublished`](Self::write_unpublished), which one writer has.
    ///
    /// # Panics
    /// If it was taken before.
    fn claim(&self) {}
}

/// Shows that bytes of an outbox are used by the caller alone. Made by the writer of its records only,
/// which has [claimed](MemoryMut::claim) it.
#[derive(Debug)]
pub struct Unpublished(());

impl Unpublished {
    /// For the writer that has claimed the outbox, of the part of the ring that it has not published.
    pub(crate) fn of_the_ring() -> Self {
        Self(())
    }
}

impl<M: Memory + ?Sized> Memory for Arc<M> {
    fn size(&self) -> usize {
        (**self).size()
    }
    fn load32(&self, at: usize) -> u32 {
        (**self).load32(at)
    }
    fn load64(&self, at: usize) -> u64 {
        (**self).load64(at)
    }
    fn read(&self, at: usize, out: &mut [u8]) {
        (**self).read(at, out);
    }
    fn append_to(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        (**self).append_to(at, len, out);
    }
    fn will_read(&self, at: usize) {
        (**self).will_read(at);
    }
    fn fence_acquire(&self) {
        (**self).fence_acquire();
    }
    fn fence_seq_cst(&self) {
        (**self).fence_seq_cst();
    }
}

impl<M: MemoryMut + ?Sized> MemoryMut for Arc<M> {
    fn store32(&self, at: usize, value: u32) {
        (**self).store32(at, value);
    }
    fn store64(&self, at: usize, value: u64) {
        (**self).store64(at, value);
    }
    fn publish64(&self, at: usize, value: u64) {
        (**self).publish64(at, value);
    }
    fn will_write(&self, at: usize) {
        (**self).will_write(at);
    }
    fn write(&self, at: usize, data: &[u8]) {
        (**self).write(at, data);
    }
    #[inline]
    fn write_unpublished(&self, at: usize, data: &[u8], only: Unpublished) {
        (**self).write_unpublished(at, data, only);
    }
    fn claim(&self) {
        (**self).claim();
    }
}
