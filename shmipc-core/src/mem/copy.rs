//! Copying bytes out of memory that the peer may write, and into our own.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
mod bulk;

/// From this length on, what the processor has for copying beats words (measured; see `docs/decisions.md`).
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
        // SAFETY: as promised by the caller; `len` is large enough.
        return unsafe { bulk::copy(from, to, len) };
    }
    // SAFETY: as promised by the caller.
    unsafe { words(from, to, len) }
}

/// Up to this length, words beat `memcpy` into the ring: a wide load of bytes that were just stored in
/// smaller pieces waits until they have left the store buffer, behind stores to lines that the reader
/// still has (measured; see `docs/decisions.md`).
const NARROW: usize = 512;

/// Copies `len` bytes into our own, unpublished memory.
///
/// # Safety
/// `from` must be readable and `to` writable for `len` bytes, nobody else may use `to`, and the two
/// must not overlap.
#[inline]
pub(super) unsafe fn into(from: *const u8, to: *mut u8, len: usize) {
    if len > NARROW {
        // SAFETY: as promised by the caller.
        return unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    }
    let mut done = 0;
    while len - done >= 8 {
        // SAFETY: `done + 8 <= len`. Volatile only keeps the compiler from making a `memcpy` of it.
        let word = unsafe { from.wrapping_add(done).cast::<u64>().read_unaligned() };
        // SAFETY: `done + 8 <= len`; `to` is a record's payload, aligned to 16.
        unsafe { to.wrapping_add(done).cast::<u64>().write_volatile(word) };
        done += 8;
    }
    while done < len {
        // SAFETY: `done < len`.
        let byte = unsafe { from.wrapping_add(done).read() };
        // SAFETY: `done < len`.
        unsafe { to.wrapping_add(done).write_volatile(byte) };
        done += 1;
    }
}

/// Relaxed loads: bytes up to an aligned address, words, the remaining bytes.
#[inline]
unsafe fn words(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;
    let byte = |i: usize| {
        // SAFETY: `i < len`, and a byte is always aligned. M3: a relaxed load of read-only memory.
        let value = unsafe { &*from.wrapping_add(i).cast::<AtomicU8>() }.load(Ordering::Relaxed);
        // SAFETY: `i < len`.
        unsafe { to.wrapping_add(i).write(value) };
    };
    while done < len && !from.wrapping_add(done).cast::<u64>().is_aligned() {
        byte(done);
        done += 1;
    }
    while len - done >= 8 {
        // SAFETY: `done + 8 <= len`, and `from + done` is aligned to 8. M3, as above.
        let word = unsafe { &*from.wrapping_add(done).cast::<AtomicU64>() };
        // SAFETY: `done + 8 <= len`.
        unsafe {
            to.wrapping_add(done).cast::<u64>().write_unaligned(word.load(Ordering::Relaxed))
        };
        done += 8;
    }
    while done < len {
        byte(done);
        done += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of each copy are ends of an allocation: what goes beyond is seen by AddressSanitizer and
    /// Miri, which cannot look into `rep movsb`.
    fn check(copy: unsafe fn(*const u8, *mut u8, usize), offsets: &[usize]) {
        let most = if cfg!(miri) { 100 } else { 2200 };
        for len in (0..most).filter(|len| len % 61 < 9 || *len < 80) {
            for &offset in offsets {
                let mut from: Box<[u8]> = (0..offset + len).map(|i| (i * 7) as u8 | 1).collect();
                let mut to: Box<[u64]> = vec![0; len.div_ceil(8)].into();
                // Only whole words can be aligned; so the bytes behind `len` are looked at by ourselves.
                let target: *mut u8 = to.as_mut_ptr().cast();
                // SAFETY: `from` has `offset + len` bytes, `to` at least `len`.
                unsafe { copy(from.as_mut_ptr().wrapping_add(offset), target, len) };
                let copied: Vec<u8> = to.iter().flat_map(|word| word.to_ne_bytes()).collect();
                assert_eq!(copied[..len], from[offset..], "{len} bytes from {offset}");
                assert!(copied[len..].iter().all(|byte| *byte == 0), "{len} bytes");
            }
        }
    }

    #[test]
    fn copies_out_end_where_they_should() {
        check(out, &[0, 1, 3, 7, 8, 13]);
    }

    #[test]
    fn copies_into_end_where_they_should() {
        check(into, &[0, 1, 8]);
    }
}
