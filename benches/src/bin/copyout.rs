//! `copyout`: how fast bytes are copied out of memory that a peer may write, beside `memcpy`.
//!
//! ```text
//! cargo run --release -p benches --bin copyout
//! ```
//!
//! Both copy the same number of bytes from a sealed, mapped segment of the same contents into a private
//! buffer: ours through the read-only mapping that a receiver has, `memcpy` from a private copy of it.
//! They take turns in blocks of 200 ms; the figure is the median of the blocks.

use std::hint::black_box;
use std::time::{Duration, Instant};

use shmipc_core::mem::{Memory, MemoryMut, PeerMapping, adopt, create};

const BLOCKS: usize = 10;
const BLOCK: Duration = Duration::from_millis(200);

fn main() -> anyhow::Result<()> {
    println!("{:>9} {:>14} {:>14} {:>8} {:>8}", "bytes", "copy-out", "memcpy", "ratio", "spread");
    for size in [64_usize, 512, 1 << 10, 4 << 10, 64 << 10, 1 << 20] {
        let contents: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
        let (own, file) = create(c"copyout", size.next_multiple_of(4096))?;
        own.write(0, &contents);
        let peer = adopt(file, size.next_multiple_of(4096), &[])?;
        compare(&peer, &contents);
    }
    Ok(())
}

fn compare(peer: &PeerMapping, contents: &[u8]) {
    let mut out = vec![0; contents.len()];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        ours.push(block(|| peer.read(0, black_box(&mut out))));
        assert_eq!(out, contents, "every byte arrived");
        out.fill(0);
        theirs.push(block(|| black_box(&mut out).copy_from_slice(black_box(contents))));
        assert_eq!(out, contents, "every byte arrived");
        out.fill(0);
    }
    let (our_median, their_median) = (median(&mut ours), median(&mut theirs));
    // Both are sorted now: the spread is what lies between the quartiles.
    let spread = (ours[BLOCKS * 3 / 4] - ours[BLOCKS / 4]) / our_median;
    let rate = |nanos: f64| format!("{:.2} GB/s", contents.len() as f64 / nanos);
    println!(
        "{:>9} {:>14} {:>14} {:>8.2} {:>7.1}%",
        contents.len(),
        rate(our_median),
        rate(their_median),
        their_median / our_median,
        spread * 100.0,
    );
}

/// Nanoseconds of one call, over a block.
fn block(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < BLOCK {
        (0..16).for_each(|_| call());
        calls += 16;
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
