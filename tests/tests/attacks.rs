//! A peer that breaks one rule, in a process of its own: the server ends its session with the name of that rule,
//! its neighbours do not notice, and everything that the session held is given back.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::deadline::PATIENCE;
use tests::hostile::attacks::{self, Ends};
use tests::hostile::server::Flaw;
use tests::hostile::siege::Siege;

/// Under attack by every attack that is chosen, once.
fn bear(flavour: &str, chosen: impl Fn(&str) -> bool, patience: Duration) -> Result<(), String> {
    let mut siege = Siege::lay(env!("CARGO_BIN_EXE_hostile"), flavour, "attack");
    for attack in attacks::all().filter(|attack| chosen(attack.name)) {
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
    bear("blocking", |_| true, PATIENCE).unwrap();
}

#[test]
fn a_server_on_one_thread_of_tokio_bears_every_attack() {
    bear("tokio-current", |_| true, PATIENCE).unwrap();
}

#[test]
fn a_server_on_threads_of_tokio_bears_every_attack() {
    bear("tokio-multi", |_| true, PATIENCE).unwrap();
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
        let found = bear(name, |attack| attack.contains("tail"), SHORT).unwrap_err();
        assert!(found.contains(expected(flaw)), "{name}: {found}");
    }
}

/// Every rule that a session can see broken is broken by some attack.
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
    // The first belongs to the handshake (`handshake/tests/hostile.rs`); the other needs a session that never
    // sleeps (`raw_peer.rs`).
    let elsewhere = ["NotAPidfd", "BellFlood"];
    let missing: Vec<_> =
        variants.filter(|name| !elsewhere.contains(name) && !broken.contains(*name)).collect();
    assert!(missing.is_empty(), "no attack breaks {missing:?}");
}
