//! Cases that hold, and twins that do not.

use std::time::Instant;

use super::{Case, Violation, Weakening};
use crate::testing::explore::{Outcome, explore};

const ALIVE: Case = Case { old: 1, killed: false, bystander: false, weak: None };
const KILLED: Case = Case { killed: true, ..ALIVE };

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

/// The same for a case that takes long: only if it is asked for.
fn holds_too(name: &str, case: &Case) {
    if std::env::var_os("SHMIPC_EXHAUSTIVE").is_some() {
        holds(name, case);
    } else {
        println!("{name}: only with SHMIPC_EXHAUSTIVE=1");
    }
}

/// The twin fails in this way, whether or not the leaver may be killed.
fn fails(weakening: Weakening, expected: Violation) {
    fails_beside(false, weakening, expected);
}

fn fails_beside(bystander: bool, weakening: Weakening, expected: Violation) {
    for case in [KILLED, ALIVE].map(|case| Case { bystander, ..case }) {
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
}

#[test]
fn one_side_leaves() {
    holds("one side leaves", &ALIVE);
    holds("one side leaves and may be killed", &KILLED);
    holds_too("the same, and the old stream sends twice", &Case { old: 2, ..KILLED });
}

#[test]
fn each_rule_is_needed() {
    fails(Weakening::ReadsNothingAfter, Violation::NeverLeaves);
    fails(Weakening::FinalAfterServing, Violation::Asleep);
    fails(Weakening::LimitNotEnforced, Violation::NotSentButServed);
    fails(Weakening::FinalBeforeLimit, Violation::NotSentButServed);
    fails(Weakening::RefusedForgotten, Violation::Accused);
    fails(Weakening::NoRing, Violation::Asleep);
}

/// To kick whoever sleeps is not enough: one that has driven and is about to sleep is not seen, and looks at
/// records only.
#[test]
fn who_takes_the_bell_looks_in_their_stead() {
    fails_beside(true, Weakening::BellKept, Violation::Asleep);
    fails_beside(true, Weakening::BellNotPassedOn, Violation::Asleep);
}

#[test]
fn a_bystander_takes_the_bell() {
    holds("a bystander takes the bell", &Case { bystander: true, ..ALIVE });
    holds_too("the same, and the leaver may be killed", &Case { bystander: true, ..KILLED });
}

/// The order of word and position buys promptness; the answer is right without it.
#[test]
fn without_this_order_the_answer_is_only_later() {
    for weakening in [Weakening::WordLoadedBeforePublishing, Weakening::TailTakenBeforeTheWord] {
        let weak = Some(weakening);
        holds(&format!("{weakening:?}"), &Case { weak, ..ALIVE });
        holds_too(&format!("{weakening:?}, killed"), &Case { weak, ..KILLED });
    }
}
