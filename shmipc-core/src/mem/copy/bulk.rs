//! Long copies on x86-64, in instructions that the compiler cannot see through (M3).
//!
//! `rep movsb` is the fastest on Intel, where lines belong to the core of the writer. Processors of AMD announce it as
//! fast and then copy 2 to 3 GB/s if the target is not aligned as the source is, thirty times less than vector
//! loads do (`docs/decisions.md`, `--bin copyout`). So it is used on Intel only.

use std::arch::asm;
use std::arch::x86_64::__cpuid;
use std::sync::atomic::{AtomicU8, Ordering};

/// A copy of at least [`LEAST`] bytes.
type Copy = unsafe fn(*const u8, *mut u8, usize);

/// Bytes that every method can copy.
pub(super) const LEAST: usize = 128;

const UNKNOWN: u8 = 0;
const INSTRUCTION: u8 = 1;
const AVX: u8 = 2;
const SSE: u8 = 3;

/// Copies `len` bytes out of memory that another process may write, by the method of this processor.
///
/// # Safety
/// As for [`out`](super::out); `len` is at least [`LEAST`].
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    debug_assert!(len >= LEAST, "{len} bytes are too few");
    let method: Copy = match method() {
        INSTRUCTION => by_instruction,
        AVX => by_avx,
        _ => by_sse,
    };
    // SAFETY: as promised by the caller. AVX is used only where the processor and the kernel have it.
    unsafe { method(from, to, len) }
}

/// The method of this processor.
#[inline]
fn method() -> u8 {
    static METHOD: AtomicU8 = AtomicU8::new(UNKNOWN);
    match METHOD.load(Ordering::Relaxed) {
        UNKNOWN => {
            let method = choose();
            METHOD.store(method, Ordering::Relaxed);
            method
        }
        method => method,
    }
}

#[cold]
fn choose() -> u8 {
    // SAFETY: every processor of 64 bits has the instruction.
    #[allow(unused_unsafe)]
    let vendor = unsafe { __cpuid(0) };
    match [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).as_flattened() {
        b"GenuineIntel" => INSTRUCTION,
        _ if is_x86_feature_detected!("avx") => AVX,
        _ => SSE,
    }
}

/// One instruction to the compiler, full lines to the processor.
///
/// # Safety
/// As for [`copy`].
unsafe fn by_instruction(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: reads `len` bytes at `from`, writes them at `to`, as the caller promised; the direction
    // flag is clear by the calling convention.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Four vectors of 32 bytes a turn to aligned addresses; the first vector and the last four, which may overlap them,
/// to wherever they belong.
///
/// # Safety
/// As for [`copy`], on a processor with AVX.
unsafe fn by_avx(from: *const u8, to: *mut u8, len: usize) {
    let head = 32 - to.addr() % 32;
    // SAFETY: with `len >= 128` every load lies in `from..from + len` and every store in `to..to + len`, as the caller
    // promised: the loop ends before the last 128 bytes, which are stored apart.
    unsafe {
        asm!(
            "vmovdqu ymm4, [rsi]",
            "vmovdqu ymm5, [rsi + rdx - 128]",
            "vmovdqu ymm6, [rsi + rdx - 96]",
            "vmovdqu ymm7, [rsi + rdx - 64]",
            "vmovdqu ymm8, [rsi + rdx - 32]",
            "vmovdqu [rdi], ymm4",
            "lea rdx, [rdi + rdx - 128]",
            "add rsi, rcx",
            "add rdi, rcx",
            "cmp rdi, rdx",
            "jae 3f",
            "2:",
            "vmovdqu ymm0, [rsi]",
            "vmovdqu ymm1, [rsi + 32]",
            "vmovdqu ymm2, [rsi + 64]",
            "vmovdqu ymm3, [rsi + 96]",
            "vmovdqa [rdi], ymm0",
            "vmovdqa [rdi + 32], ymm1",
            "vmovdqa [rdi + 64], ymm2",
            "vmovdqa [rdi + 96], ymm3",
            "sub rsi, -128",
            "sub rdi, -128",
            "cmp rdi, rdx",
            "jb 2b",
            "3:",
            "vmovdqu [rdx], ymm5",
            "vmovdqu [rdx + 32], ymm6",
            "vmovdqu [rdx + 64], ymm7",
            "vmovdqu [rdx + 96], ymm8",
            "vzeroupper",
            inout("rsi") from => _,
            inout("rdi") to => _,
            inout("rdx") len => _,
            inout("rcx") head => _,
            // `vzeroupper` clears the upper halves of all sixteen.
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
            out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
            out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack),
        );
    }
}

/// As [`by_avx`], by vectors of 16 bytes.
///
/// # Safety
/// As for [`copy`].
unsafe fn by_sse(from: *const u8, to: *mut u8, len: usize) {
    let head = 16 - to.addr() % 16;
    // SAFETY: as in `by_avx`, with 64 bytes a turn and the last 64 stored apart.
    unsafe {
        asm!(
            "movdqu xmm4, [rsi]",
            "movdqu xmm5, [rsi + rdx - 64]",
            "movdqu xmm6, [rsi + rdx - 48]",
            "movdqu xmm7, [rsi + rdx - 32]",
            "movdqu xmm8, [rsi + rdx - 16]",
            "movdqu [rdi], xmm4",
            "lea rdx, [rdi + rdx - 64]",
            "add rsi, rcx",
            "add rdi, rcx",
            "cmp rdi, rdx",
            "jae 3f",
            "2:",
            "movdqu xmm0, [rsi]",
            "movdqu xmm1, [rsi + 16]",
            "movdqu xmm2, [rsi + 32]",
            "movdqu xmm3, [rsi + 48]",
            "movdqa [rdi], xmm0",
            "movdqa [rdi + 16], xmm1",
            "movdqa [rdi + 32], xmm2",
            "movdqa [rdi + 48], xmm3",
            "add rsi, 64",
            "add rdi, 64",
            "cmp rdi, rdx",
            "jb 2b",
            "3:",
            "movdqu [rdx], xmm5",
            "movdqu [rdx + 16], xmm6",
            "movdqu [rdx + 32], xmm7",
            "movdqu [rdx + 48], xmm8",
            inout("rsi") from => _,
            inout("rdi") to => _,
            inout("rdx") len => _,
            inout("rcx") head => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _,
            options(nostack),
        );
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    /// Every method with every alignment of both ends. What lies before and behind the target stays.
    fn check(method: Copy) {
        for len in (LEAST..600).chain([1024, 2113, 4096]) {
            for (from_at, to_at) in (0..33).map(|at| (at * 5 % 33, at)) {
                let from: Vec<u8> =
                    (0..from_at + len).map(|i| (i * 7 + i / 251) as u8 | 1).collect();
                let mut to = vec![0u8; to_at + len + 64];
                let target = to.as_mut_ptr().wrapping_add(to_at);
                // SAFETY: `from` has `len` bytes from `from_at` on, `to` more than that from `to_at` on.
                unsafe { method(from.as_ptr().wrapping_add(from_at), target, len) };
                assert_eq!(to[to_at..to_at + len], from[from_at..], "{len} bytes to {to_at}");
                assert!(to[..to_at].iter().all(|byte| *byte == 0), "{len} bytes to {to_at}");
                assert!(to[to_at + len..].iter().all(|byte| *byte == 0), "{len} bytes to {to_at}");
            }
        }
    }

    #[test]
    fn the_copying_instruction_copies_all_bytes_and_no_more() {
        check(by_instruction);
    }

    #[test]
    fn vectors_of_16_bytes_copy_all_bytes_and_no_more() {
        check(by_sse);
    }

    #[test]
    fn vectors_of_32_bytes_copy_all_bytes_and_no_more() {
        if is_x86_feature_detected!("avx") {
            check(by_avx);
        } else {
            eprintln!("skipped: this processor has no AVX");
        }
    }
}
