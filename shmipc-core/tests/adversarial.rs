//! Everything that reads the peer, against a peer that says anything: see
//! [`shmipc_core::testing::hostile`], which the targets of `fuzz/` share.
//!
//! Bytes are random here and chosen by coverage there.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::collection::vec;
use proptest::prelude::*;
use shmipc_core::error::PeerMisbehaved;
use shmipc_core::testing::hostile;

/// Plays so many scripts of at most so many bytes. Returns how often the peer was accused of what.
fn play(
    scripts: u32,
    bytes: usize,
    game: fn(&[u8]) -> Option<PeerMisbehaved>,
) -> BTreeMap<String, u32> {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(scripts) };
    let accused = Mutex::new(BTreeMap::new());
    proptest!(config, |(script in vec(any::<u8>(), bytes / 2..bytes))| {
        let verdict = game(&script).map_or("nothing".into(), |misdeed| format!("{misdeed:?}"));
        *accused.lock().unwrap().entry(verdict).or_default() += 1;
    });
    let accused = accused.into_inner().unwrap();
    println!("{accused:?}");
    accused
}

#[test]
fn records_of_a_hostile_peer() {
    play(4000, 2000, hostile::records);
}

#[test]
fn the_head_of_a_hostile_peer() {
    play(1000, 4000, hostile::space);
}

#[test]
fn returns_of_a_hostile_peer() {
    play(300, 1000, hostile::returns);
}

#[test]
fn event_words_of_a_hostile_peer() {
    play(500, 500, hostile::events);
}

#[test]
fn a_session_with_a_hostile_peer() {
    play(3000, 4000, hostile::session);
}

#[test]
fn a_session_with_a_peer_that_lies_now_and_then() {
    play(1000, 8000, hostile::liar);
}

#[test]
fn frames_of_a_hostile_peer() {
    play(1000, 2000, hostile::frames);
}
