//! A peer that scribbles over its outbox while it takes part: its session ends with a name for what it
//! did, and its neighbours in the same process do not notice.
//!
//! `SHMIPC_SCRIBBLE=SECONDS` goes on for that long; `SHMIPC_SEED` chooses where to begin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tests::deadline::PATIENCE;
use tests::hostile::scribbler::KINDS;
use tests::hostile::siege::Siege;

/// Attacks of each kind, unless told otherwise.
const ROUNDS: u64 = 6;

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

fn ends_its_own_session_and_no_other(flavour: &str) {
    let mut siege = Siege::lay(env!("CARGO_BIN_EXE_hostile"), flavour, "scribble");
    let first = number("SHMIPC_SEED").unwrap_or(1);
    let seconds = number("SHMIPC_SCRIBBLE");
    let (began, mut seed) = (Instant::now(), first);
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut memory = Vec::new();
    let goes_on = |seed| match seconds {
        Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
        None => seed < first + ROUNDS * KINDS,
    };
    while goes_on(seed) {
        println!("seed {seed}");
        let end = siege.attack(&seed.to_string()).unwrap();
        assert!(!end.starts_with("wrong"), "seed {seed}: {end}");
        *ends.entry(end).or_default() += 1;
        memory.push(siege.resident());
        seed += 1;
    }
    println!(
        "{} attacks in {:.1} s, {} exchanges of the neighbour; the server held {} KiB at first, {} at last",
        seed - first,
        began.elapsed().as_secs_f32(),
        siege.exchanged(),
        memory[0],
        memory[memory.len() - 1],
    );
    ends.iter().for_each(|(end, count)| println!("{count:8} {end}"));
    siege.lift(PATIENCE).unwrap();
}

#[test]
fn blocking() {
    ends_its_own_session_and_no_other("blocking");
}

#[test]
fn tokio_current() {
    ends_its_own_session_and_no_other("tokio-current");
}

#[test]
fn tokio_multi() {
    ends_its_own_session_and_no_other("tokio-multi");
}
