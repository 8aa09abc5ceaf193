//! Whether this process is a fork of the one that made our mappings.
//!
//! A child of `fork` has none of the mappings (`MADV_DONTFORK`), so it must not touch them. The
//! kernel clears one page of ours in the child (`MADV_WIPEONFORK`, Linux 4.14), which makes the
//! question one load.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// The process in which something was made. A child of `fork` that has not called `exec` is another
/// one, although it has a copy of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home(u32);

impl Home {
    /// This process.
    #[inline]
    pub fn here() -> Self {
        let Some(word) = marker() else { return Self(0) };
        match word.load(Ordering::Relaxed) {
            0 => Self::begin(word),
            epoch => Self(epoch),
        }
    }

    /// Whether the calling process is another one than that in which the value was made.
    #[inline]
    pub fn is_foreign(self) -> bool {
        self != Self::here()
    }

    /// First asked in this process: numbers it. The count is inherited, the word was wiped.
    #[cold]
    fn begin(word: &AtomicU32) -> Self {
        static EPOCHS: AtomicU32 = AtomicU32::new(0);
        let next = EPOCHS.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        match word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Self(next),
            Err(other) => Self(other),
        }
    }
}

/// Whether this kernel lets us find out that we are in a child of `fork`. Without it such a child would
/// use addresses at which it has nothing, so no memory is made or mapped then.
pub(super) fn is_supported() -> bool {
    marker().is_some()
}

/// The word that `fork` wipes; `None` if the kernel refused it.
#[inline]
fn marker() -> Option<&'static AtomicU32> {
    static MARKER: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();
    *MARKER.get_or_init(make_marker)
}

fn make_marker() -> Option<&'static AtomicU32> {
    let size = NonZeroUsize::new(4096)?;
    let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choosing aliases nothing.
    let page = unsafe { mmap_anonymous(None, size, prot, MapFlags::MAP_PRIVATE) }.ok()?;
    // SAFETY: the range is the page just mapped, and only its copy in a child is affected.
    let wiped = unsafe { nix::libc::madvise(page.as_ptr(), 4096, nix::libc::MADV_WIPEONFORK) };
    if wiped != 0 {
        return None;
    }
    // SAFETY: M1, the page is never unmapped; it is aligned, zeroed, and used as this atomic alone.
    Some(unsafe { AtomicU32::from_ptr(page.as_ptr().cast()) })
}
