//! `copyout`: how fast bytes are copied out of memory that a peer may write, beside `memcpy`.
//!
//! ```text
//! cargo run --release -p benches --bin copyout
//! ```
//!
//! Both copy the same number of bytes of the same contents: ours from a sealed, mapped segment, through the read-only
//! mapping that a receiver has; `memcpy` from a private copy of it. Source and target begin at several offsets from a
//! page, since some processors copy far slower where the two are aligned differently. The figure of a pair of offsets is the
//! fastest of its blocks; printed are the slowest pair, the fastest one, and both ends at the start of a page.

use std::hint::black_box;
use std::time::Instant;

use shmipc_core::mem::{Memory, MemoryMut, PeerMapping, adopt, create};

const BLOCKS: usize = 7;
/// Bytes copied in a block, roughly.
const BLOCK: usize = 1 << 20;
const PAGE: usize = 4096;
const TARGETS: [usize; 8] = [0, 1, 9, 15, 16, 31, 63, 64];
const SOURCES: [usize; 4] = [0, 16, 64, 4000];

fn main() -> anyhow::Result<()> {
    println!("GB/s, `to+` and `from+` are the offsets of the slowest pair");
    for size in [64_usize, 512, 1 << 10, 2113, 4 << 10, 64 << 10, 1 << 20] {
        let contents: Vec<u8> = (0..size + PAGE).map(|i| (i * 7 + i / 251) as u8).collect();
        let (own, file) = create(c"copyout", contents.len().next_multiple_of(PAGE))?;
        own.write(0, &contents);
        let peer = adopt(file.into(), contents.len().next_multiple_of(PAGE), &[])?;
        compare(&peer, &contents, size);
    }
    Ok(())
}

fn compare(peer: &PeerMapping, contents: &[u8], size: usize) {
    let (copy, start) = aligned(contents);
    let private = &copy[start..];
    report("copy-out", size, |out, from| peer.read(from, out));
    report("memcpy", size, |out, from| out.copy_from_slice(&private[from..from + out.len()]));
}

/// A copy whose first byte lies at the start of a page, and where that is.
fn aligned(contents: &[u8]) -> (Vec<u8>, usize) {
    let mut copy = vec![0; contents.len() + PAGE];
    let start = copy.as_ptr().align_offset(PAGE);
    copy[start..start + contents.len()].copy_from_slice(contents);
    (copy, start)
}

fn report(name: &str, size: usize, copy: impl Fn(&mut [u8], usize)) {
    let mut out = vec![0; size + 2 * PAGE];
    let start = out.as_ptr().align_offset(PAGE);
    let mut rates = Vec::new();
    for to in TARGETS {
        for from in SOURCES {
            let target = &mut out[start + to..start + to + size];
            rates.push((rate(target, |target| copy(target, from)), to, from));
        }
    }
    let at_pages = rates[0].0;
    rates.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (slowest, to, from) = rates[0];
    let (fastest, ..) = rates[rates.len() - 1];
    println!(
        "{size:>9} {name:>9}: slowest {slowest:>6.1} (to+{to} from+{from}), fastest {fastest:>6.1}, pages {at_pages:>6.1}, spread {:.2}",
        fastest / slowest,
    );
}

/// Bytes per nanosecond, in the fastest block.
fn rate(target: &mut [u8], mut copy: impl FnMut(&mut [u8])) -> f64 {
    let size = target.len();
    let calls = (BLOCK / size).max(4);
    let fastest = (0..BLOCKS).map(|_| {
        let start = Instant::now();
        (0..calls).for_each(|_| copy(black_box(target)));
        start.elapsed().as_nanos() as f64 / calls as f64
    });
    size as f64 / fastest.fold(f64::MAX, f64::min)
}
