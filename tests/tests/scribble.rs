//! A peer that scribbles over its outbox while it takes part: its session ends with a name for what it
//! did, and its neighbours in the same process do not notice.
//!
//! `SHMIPC_SCRIBBLE=SECONDS` goes on for that long; `SHMIPC_SEED` chooses where to begin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmipc_sync::Session;
use tests::child::Peer;
use tests::deadline::{start, until};
use tests::payload::{Random, check, pattern};
use tests::proc::{Held, resident};
use tests::scribbler::KINDS;

const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile");
/// Attacks of each kind, unless told otherwise.
const ROUNDS: u64 = 6;

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

#[test]
fn ends_its_own_session_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut server = Peer::start(HOSTILE, &["serve", path.to_str().unwrap()]);
    server.line("listening");
    // The first sessions make the server load what stays.
    for _ in 0..3 {
        let session = Session::connect(&path).unwrap();
        exchange(&mut session.open().unwrap(), 0, 300_000);
        drop(session);
        server.line("ended closed");
    }
    let before = Held::by(server.pid());
    assert_eq!(before.mappings, 0);

    // The neighbour.
    let (over, exchanged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let session = Session::connect(&path).unwrap();
    let neighbour = start("the neighbour", {
        let (over, exchanged) = (Arc::clone(&over), Arc::clone(&exchanged));
        move || {
            let mut random = Random::new(11);
            let mut stream = session.open().unwrap();
            while !over.load(Ordering::Relaxed) {
                let count = exchanged.load(Ordering::Relaxed);
                exchange(&mut stream, count, random.size(200_000));
                exchanged.store(count + 1, Ordering::Release);
            }
        }
    });

    let mut peer = Peer::start(HOSTILE, &["scribble", path.to_str().unwrap()]);
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
        let then = exchanged.load(Ordering::Acquire);
        println!("seed {seed}");
        peer.say(&seed.to_string());
        let end = server.line("ended");
        peer.line("over");
        assert!(!end.starts_with("wrong"), "seed {seed}: {end}");
        *ends.entry(end).or_default() += 1;
        // Begun after the attack, and answered.
        until("the neighbour goes on", || exchanged.load(Ordering::Acquire) > then + 1);
        memory.push(resident(server.pid()));
        seed += 1;
    }
    peer.succeed();
    over.store(true, Ordering::Relaxed);
    neighbour.join();
    server.line("ended closed");
    println!(
        "{} attacks in {:.1} s, {} exchanges of the neighbour; the server held {} KiB at first, {} at last",
        seed - first,
        began.elapsed().as_secs_f32(),
        exchanged.load(Ordering::Relaxed),
        memory[0],
        memory[memory.len() - 1],
    );
    ends.iter().for_each(|(end, count)| println!("{count:8} {end}"));
    until(&format!("{before:?} again"), || Held::by(server.pid()) == before);
}

/// Sends a message and has it back.
fn exchange(stream: &mut shmipc_sync::Stream, seed: u64, len: usize) {
    stream.send(&pattern(seed, len)).unwrap();
    check(&stream.recv().unwrap().unwrap().to_vec(), seed, len);
}
