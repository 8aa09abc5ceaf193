//! Hints to the processor to fetch a cache line ahead of its use.
//!
//! A message costs three lines: the cursor, and two of the record. Fetched one after the other they
//! cost three transfers between CPUs, fetched at once little more than one (`docs/decisions.md`).
#![allow(unsafe_code)]

/// Fetches the line at `address` and the next one, to be read.
#[inline]
pub(super) fn for_reading(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch accesses no memory that the program can observe and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(64).cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", "prfm pldl1keep, [{0}, #64]", in(reg) address,
            options(nostack, preserves_flags, readonly));
    }
    let _ = address;
}

/// Fetches the line at `address` and the next one, to be written.
#[inline]
pub(super) fn for_writing(address: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch accesses no memory that the program can observe and never faults.
    unsafe {
        std::arch::asm!("prefetchw [{0}]", "prefetchw [{0} + 64]", in(reg) address,
            options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{0}]", "prfm pstl1keep, [{0}, #64]", in(reg) address,
            options(nostack, preserves_flags, readonly));
    }
    let _ = address;
}
