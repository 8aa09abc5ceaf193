//! Everything that reads the peer, against a peer that says anything: see
//! [`shmipc_core::testing::hostile`], which the targets of `fuzz/` share.
//!
//! Bytes are random here and chosen by coverage there.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::collection::vec;
use proptest::prelude::*;
use shmipc_core::error::PeerMisbehaved::{self, *};
use shmipc_core::testing::hostile;

/// Plays so many scripts of at most so many bytes. Returns how often the peer was accused of what.
fn play(
    scripts: u32,
    bytes: usize,
    game: fn(&[u8]) -> Option<PeerMisbehaved>,
) -> BTreeMap<String, u32> {
    let config =
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(scripts) };
    let accused = Mutex::new(BTreeMap::new());
    proptest!(config, |(script in vec(any::<u8>(), bytes / 2..bytes))| {
        let verdict = game(&script).map_or("nothing".into(), |misdeed| format!("{misdeed:?}"));
        *accused.lock().unwrap().entry(verdict).or_default() += 1;
    });
    accused.into_inner().unwrap()
}

/// The scripts are of use: they got as far as these rules, and some to their end.
fn expect(accused: &BTreeMap<String, u32>, rules: &[PeerMisbehaved]) {
    println!("{accused:?}");
    for rule in rules {
        assert!(
            accused.contains_key(&format!("{rule:?}")),
            "no script breaks {rule:?}: {accused:?}"
        );
    }
}

#[test]
fn records_of_a_hostile_peer() {
    let accused = play(4000, 2000, hostile::records);
    expect(&accused, &[TailJumped, RecordLength, RecordKind, RecordFlags]);
}

#[test]
fn the_head_of_a_hostile_peer() {
    let accused = play(1000, 4000, hostile::space);
    expect(&accused, &[HeadJumped, HeadWithheld]);
}

#[test]
fn returns_of_a_hostile_peer() {
    let accused = play(300, 1000, hostile::returns);
    expect(&accused, &[ReturnedJumped, ReturnedUnlent]);
}

#[test]
fn event_words_of_a_hostile_peer() {
    play(500, 500, hostile::events);
}

#[test]
fn a_session_with_a_hostile_peer() {
    let accused = play(4000, 4000, hostile::session);
    let session =
        [AfterEnd, CreditOverrun, ExtentBounds, StreamPlace, UnknownSegment, UnknownStream];
    expect(&accused, &session);
    expect(&accused, &[TailJumped, RecordLength, RecordKind, WindowUpdate]);
}

#[test]
fn a_session_with_a_peer_that_lies_now_and_then() {
    let accused = play(1500, 8000, hostile::liar);
    expect(&accused, &[StreamPlace, UnknownStream]);
}

#[test]
fn frames_of_a_hostile_peer() {
    let accused = play(1000, 2000, hostile::frames);
    expect(&accused, &[Descriptors, Frame]);
}
