//! A peer that breaks one rule, in a process of its own: the server ends its session with the name of that rule,
//! its neighbours do not notice, and everything that the session held is given back.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::stat::fstat;
use shmipc_core::wire::{SegmentClass, add_segment};
use shmipc_sync::Config;
use tests::child::Peer;
use tests::deadline::PATIENCE;
use tests::hostile::attacks::{self, Attack, Ends, segment_of_the_server};
use tests::hostile::by_hand::ByHand;
use tests::hostile::server::Flaw;
use tests::hostile::siege::Siege;
use tests::needs::short_directory;

/// Under attack by every attack that is chosen, once.
fn bear(flavour: &str, chosen: impl Fn(&Attack) -> bool, patience: Duration) -> Result<(), String> {
    let mut siege = Siege::lay(env!("CARGO_BIN_EXE_hostile"), flavour, "attack");
    for attack in attacks::all().filter(|attack| chosen(attack)) {
        println!("{}", attack.name);
        let end = siege.attack(attack.name).map_err(|error| format!("{}: {error}", attack.name))?;
        if end != attack.end() {
            return Err(format!("{}: the session ended as `{end}`", attack.name));
        }
    }
    siege.lift(patience)
}

#[test]
fn a_blocking_server_bears_every_attack() {
    bear("blocking", |attack| !attack.awake, PATIENCE).unwrap();
}

#[test]
fn a_server_on_one_thread_of_tokio_bears_every_attack() {
    bear("tokio-current", |attack| !attack.awake, PATIENCE).unwrap();
}

#[test]
fn a_server_on_threads_of_tokio_bears_every_attack() {
    bear("tokio-multi", |attack| !attack.awake, PATIENCE).unwrap();
}

/// Who sleeps is rung as often as it likes to be. Who does not is rung for nothing, and bears that up to a bound.
#[test]
fn servers_that_never_sleep_bear_bells() {
    for flavour in ["blocking-awake", "tokio-current-awake", "tokio-multi-awake"] {
        let bells = |attack: &Attack| attack.awake || attack.name.contains("bell");
        bear(flavour, bells, PATIENCE).unwrap_or_else(|error| panic!("{flavour}: {error}"));
    }
}

/// A client that has two sessions with a server cannot have it read in one what it writes in the other.
#[test]
fn a_segment_of_another_session_is_refused() {
    let directory = short_directory();
    let path = directory.path().join("socket");
    let program = env!("CARGO_BIN_EXE_hostile");
    let mut server = Peer::start(program, &["serve", "blocking", path.to_str().unwrap()]);
    server.line("listening");
    let config = Config::default();
    let (_other, segment) = segment_of_the_server(&path, &config);
    let bytes = u32::try_from(fstat(&segment).unwrap().st_size).unwrap();
    let peer = ByHand::connect(&path, &config);
    peer.frame(&add_segment(1, bytes, SegmentClass::Small), &[segment.as_fd()]);
    peer.wait_for_the_end();
    assert_eq!(server.line("ended"), "misbehaved WrongMemory");
}

/// How long a server is given to let go of what it does not let go of.
const SHORT: Duration = Duration::from_millis(200);

/// So that the tests above mean something: servers with a flaw do not pass them.
#[test]
fn servers_with_a_flaw_are_found_out() {
    let expected = |flaw| match flaw {
        Flaw::EndsOthers | Flaw::ChangesOthers => "the neighbour",
        Flaw::KeepsDescriptors => "the server held",
        Flaw::TellsNothing => "the session ended as `closed`",
    };
    for (name, flaw) in Flaw::ALL {
        let found = bear(name, |attack| attack.name.contains("tail"), SHORT).unwrap_err();
        assert!(found.contains(expected(flaw)), "{name}: {found}");
    }
}

/// Every rule is broken by some attack.
#[test]
fn every_rule_is_broken() {
    let broken: BTreeSet<String> = attacks::all()
        .filter_map(|attack| match attack.breaks {
            Ends::By(misdeed) => Some(format!("{misdeed:?}")),
            Ends::Died | Ends::Never => None,
        })
        .collect();
    let source = include_str!("../../shmipc-core/src/error/peer.rs");
    let (_, variants) = source.split_once("pub enum PeerMisbehaved {").unwrap();
    let named = |line: &'static str| line.strip_prefix("    ")?.strip_suffix(',');
    let variants = variants.lines().filter_map(named).filter(|name| !name.starts_with(['#', ' ']));
    let missing: Vec<_> = variants.filter(|name| !broken.contains(*name)).collect();
    assert!(missing.is_empty(), "no attack breaks {missing:?}");
}
