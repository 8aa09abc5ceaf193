//! Upgrades under load: every message is accounted for.

use std::time::Duration;

use tests::upgrading::plan::{Kill, Plan};
use tests::upgrading::report::Report;
use tests::upgrading::run::run;

fn upgrades(upgrades: u32, kill: Option<Kill>) -> Report {
    let program = env!("CARGO_BIN_EXE_upgrades");
    let interval = Some(Duration::from_millis(4));
    run(Plan {
        program,
        upgrades,
        kill,
        interval,
        rest: Duration::ZERO,
        weigh: false,
        talkative: false,
    })
}

#[test]
fn nothing_happens_to_any_message() {
    let sum = upgrades(20, None).sum;
    assert!(sum.is_perfect(), "{sum}");
}

/// At no step of the protocol does it matter to clients that a successor dies.
#[test]
fn successors_that_are_killed() {
    let sum = upgrades(Kill::Successor.round(), Some(Kill::Successor)).sum;
    assert!(sum.is_perfect(), "{sum}");
}

/// What was in flight is reported, at every step, and nothing else.
#[test]
fn predecessors_that_are_killed() {
    let report = upgrades(Kill::Predecessor.round(), Some(Kill::Predecessor));
    assert!(report.sum.is_honest(), "{}", report.sum);
    // Two clients of each that died, who have been told that it died.
    let clients = report.learned.iter().filter(|(who, _)| who.ends_with("client")).count();
    assert_eq!(clients as u32, 2 * Kill::Predecessor.round());
}

/// Whoever stands still for a while at whatever step, nothing happens to any message.
#[test]
fn servers_that_stop_for_a_while() {
    let sum = upgrades(Kill::Nobody.round(), Some(Kill::Nobody)).sum;
    assert!(sum.is_perfect(), "{sum}");
}
