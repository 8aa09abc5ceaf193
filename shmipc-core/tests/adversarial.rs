//! Everything that reads the peer, against a peer that says anything: see
//! [`shmipc_core::testing::hostile`], which the targets of `fuzz/` share.
//!
//! Bytes are random here and chosen by coverage there. What has been found or has covered most there is
//! kept in `fuzz/regressions` and played here first.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;
use shmipc_core::error::PeerMisbehaved::{self, *};
use shmipc_core::layout::{RING_AT, TAIL_AT};
use shmipc_core::mem::MemoryMut;
use shmipc_core::queue::{Kind, RecordReader};
use shmipc_core::testing::{hostile, outbox, small_limits, symmetric};

type Game = fn(&[u8]) -> Option<PeerMisbehaved>;

/// Plays what is kept of the fuzz target `name`, and so many random scripts of at most so many bytes.
/// Returns how often the peer was accused of what in these.
fn play(name: &str, game: Game, scripts: u32, bytes: usize) -> BTreeMap<String, u32> {
    let config =
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(scripts) };
    let accused = Mutex::new(BTreeMap::new());
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(name);
    let kept = fs::read_dir(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
    let kept: Vec<_> = kept.map(|file| file.unwrap().path()).collect();
    assert!(!kept.is_empty());
    for path in kept {
        println!("{}", path.display());
        game(&fs::read(path).unwrap());
    }
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
    let accused = play("records", hostile::records, 4000, 2000);
    expect(&accused, &[TailJumped, RecordLength, RecordKind, RecordFlags]);
}

/// Else one record could be behind a whole ring of it, which no budget counts.
#[test]
fn padding_that_does_not_fill_the_end() {
    let geometry = symmetric(&small_limits());
    let outbox = || Arc::new(outbox(&geometry, &geometry));
    let (own, peer) = (outbox(), outbox());
    let pad = |bytes: u64| peer.store64(RING_AT, Kind::Pad as u64 | (bytes - 16) << 32);
    peer.publish64(TAIL_AT, 4096);
    for bytes in [16, 4080, 4096 + 16] {
        pad(bytes);
        let mut reader = RecordReader::new(Arc::clone(&own), Arc::clone(&peer), &geometry);
        reader.load_tail().unwrap();
        assert_eq!(reader.next_record().unwrap_err(), RecordLength, "{bytes}");
    }
    pad(4096);
    let mut reader = RecordReader::new(Arc::clone(&own), Arc::clone(&peer), &geometry);
    reader.load_tail().unwrap();
    assert!(reader.next_record().unwrap().is_none());
}

#[test]
fn the_head_of_a_hostile_peer() {
    let accused = play("space", hostile::space, 1000, 4000);
    expect(&accused, &[HeadJumped, HeadWithheld]);
}

#[test]
fn returns_of_a_hostile_peer() {
    let accused = play("returns", hostile::returns, 300, 1000);
    expect(&accused, &[ReturnedJumped, ReturnedUnlent]);
}

#[test]
fn the_header_of_a_hostile_peer() {
    play("header", hostile::header, 1000, 1000);
}

#[test]
fn a_session_with_a_hostile_peer() {
    let accused = play("session", hostile::session, 4000, 4000);
    let session =
        [AfterEnd, CreditOverrun, ExtentBounds, StreamPlace, UnknownSegment, UnknownStream];
    expect(&accused, &session);
    expect(&accused, &[RecordLength, WindowUpdate]);
}

#[test]
fn a_session_with_a_peer_that_lies_now_and_then() {
    let accused = play("liar", hostile::liar, 1500, 8000);
    expect(&accused, &[StreamPlace, UnknownStream]);
}

#[test]
fn frames_of_a_hostile_peer() {
    let accused = play("frames", hostile::frames, 1000, 2000);
    expect(&accused, &[Descriptors, Frame]);
}

#[test]
fn a_handshake_with_a_hostile_peer() {
    let accused = play("handshake", hostile::handshake, 3000, 200);
    expect(&accused, &[Descriptors, Frame, NotAPidfd, NotSealed, SegmentNotPresent, WrongMemory]);
    assert!(accused["nothing"] > 300, "some succeed");
}

/// Every fuzz target has its short run here.
#[test]
fn all_fuzz_targets_are_played() {
    let source = include_str!("adversarial.rs");
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for target in fs::read_dir(targets).unwrap() {
        let path = target.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(source.contains(&format!("play(\"{name}\"")), "{name} has no short run");
    }
}
