//! Cases that hold, and twins that do not.

use std::time::Instant;

use super::{Case, Violation, Weakening};
use crate::testing::explore::{Outcome, explore};

const TWO: Case = Case { servers: 2, kills: 1, closes: 1, weak: None };
const THREE: Case = Case { servers: 3, ..TWO };

fn holds(name: &str, case: &Case) {
    let start = Instant::now();
    match explore(case) {
        Outcome::Holds { states } => println!("{name}: {states} states, {:.1?}", start.elapsed()),
        Outcome::Endless { states, cyclic } => {
            panic!("{name}: {cyclic} of {states} states never end")
        }
        Outcome::Broken { violation, trace } => {
            panic!("{name}: {violation:?} after {} steps:\n{}", trace.len(), trace.join("\n"))
        }
    }
}

/// The twin fails in this way, in the smallest case that shows it.
fn fails(weakening: Weakening, case: Case, expected: Violation) {
    match explore(&Case { weak: Some(weakening), ..case }) {
        Outcome::Holds { states } => panic!("{weakening:?} holds, {states} states"),
        Outcome::Endless { cyclic, .. } => panic!("{weakening:?}: a cycle, {cyclic} states"),
        Outcome::Broken { violation, trace } => {
            println!("  {weakening:?}: {violation:?} after {} steps", trace.len());
            if std::env::var_os("SHMIPC_TRACES").is_some() {
                println!("    {}", trace.join("\n    "));
            }
            assert_eq!(violation, expected, "{weakening:?}");
        }
    }
}

#[test]
fn one_server_serves() {
    holds("two servers", &TWO);
    holds("two servers, both may die", &Case { kills: 2, ..TWO });
    holds("three servers", &THREE);
    holds("three servers, two may die", &Case { kills: 2, ..THREE });
}

#[test]
fn each_rule_is_needed() {
    let nobody_dies = Case { kills: 0, closes: 0, ..TWO };
    fails(Weakening::NoCut, nobody_dies, Violation::Two);
    fails(Weakening::CutUnread, nobody_dies, Violation::Two);
    fails(Weakening::YieldIsEnough, nobody_dies, Violation::Two);
    fails(Weakening::StopsLate, nobody_dies, Violation::Two);
    fails(Weakening::NoRefusal, nobody_dies, Violation::Two);
    fails(Weakening::LeavesEarly, nobody_dies, Violation::LeftTooSoon);
    fails(Weakening::OfferedUnreleased, Case { servers: 3, ..nobody_dies }, Violation::Crowd);
    fails(Weakening::SecondTakenIn, Case { servers: 3, ..nobody_dies }, Violation::Two);
    fails(Weakening::DeathOvertakes, Case { closes: 1, ..nobody_dies }, Violation::Two);
    fails(Weakening::SuccessorUnwatched, Case { kills: 1, ..nobody_dies }, Violation::Nobody);
    fails(Weakening::PredecessorUnwatched, Case { kills: 1, ..nobody_dies }, Violation::Nobody);
    fails(Weakening::NoRelease, Case { closes: 1, ..nobody_dies }, Violation::Resurrected);
}
