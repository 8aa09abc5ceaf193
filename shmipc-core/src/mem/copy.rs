//! Copying bytes out of memory that the peer may write, and into our own.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// From this length on, the copying instruction of the processor beats words (measured; see
/// `docs/decisions.md`).
#[cfg(target_arch = "x86_64")]
const BULK: usize = 1024;

/// Copies `len` bytes out of memory that another process may write (M3).
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, and nobody else may use `to`.
#[inline]
pub(super) unsafe fn out(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len >= BULK {
        // SAFETY: as promised by the caller; the compiler cannot see through the instruction (M3).
        return unsafe { bulk(from, to, len) };
    }
    // SAFETY: as promised by the caller.
    unsafe { words(from, to, len) }
}

/// Copies `len` bytes into our own, unpublished memory.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, nobody else may use `to`, and the two
/// must not overlap.
#[inline]
pub(super) unsafe fn into(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: as promised by the caller.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) }
}

/// `rep movsb`: one instruction to the compiler, full lines to the processor.
#[cfg(target_arch = "x86_64")]
unsafe fn bulk(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: reads `len` bytes at `from`, writes them at `to`, as the caller promised; the direction
    // flag is clear by the calling convention.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Relaxed loads: bytes up to an aligned address, words, the remaining bytes.
#[inline]
unsafe fn words(from: *const u8, to: *mut u8, len: usize) {
    let byte = |i: usize| {
        // SAFETY: `i < len`, and a byte is always aligned.
        let value = unsafe { AtomicU8::from_ptr(from.add(i).cast_mut()) }.load(Ordering::Relaxed);
        // SAFETY: `i < len`.
        unsafe { to.add(i).write(value) };
    };
    let first = from.align_offset(8).min(len);
    let last = first + (len - first) / 8 * 8;
    (0..first).for_each(byte);
    for i in (first..last).step_by(8) {
        // SAFETY: `i + 8 <= len`, and `from + first` is aligned to 8.
        let value = unsafe { AtomicU64::from_ptr(from.add(i).cast_mut().cast()) }.load(Ordering::Relaxed);
        // SAFETY: `i + 8 <= len`.
        unsafe { to.add(i).cast::<u64>().write_unaligned(value) };
    }
    (last..len).for_each(byte);
}
