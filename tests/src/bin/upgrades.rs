//! Upgrades under load: `cargo run --release -p tests --bin upgrades -- --upgrades 1000`, and with
//! `--kill successor` or `--kill predecessor` at every step in turn; with `--kill nobody` they stop there for a
//! while. `--rate N` is for each of the eight client threads, messages a second; without it, it is half of
//! what is possible. The processes of a run are roles of this program too.

use std::collections::BTreeMap;
use std::process::exit;
use std::time::Duration;

use tests::child::die_with_parent;
use tests::times::Times;
use tests::upgrading::clients;
use tests::upgrading::plan::{Kill, Plan};
use tests::upgrading::report::Weights;
use tests::upgrading::run::run;
use tests::upgrading::server::Role;

/// Between upgrades: clients are to be up to date when the next one begins.
const REST: Duration = Duration::from_millis(200);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let program: &'static str = arguments[0].clone().leak();
    let words: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    match words[..] {
        ["server", flavour, directory, number, pause, later] => {
            die_with_parent();
            Role::run(flavour, directory, number, [pause, later]);
        }
        ["client", flavour, directory, first] => {
            die_with_parent();
            clients::run(flavour, directory, first);
        }
        _ => report(plan(program, &words)),
    }
}

fn plan(program: &'static str, mut words: &[&str]) -> Plan {
    let mut plan = Plan {
        program,
        upgrades: 20,
        kill: None,
        interval: None,
        rest: REST,
        weigh: true,
        talkative: true,
    };
    while let [option, value, rest @ ..] = words {
        match (*option, *value) {
            ("--upgrades", value) => plan.upgrades = value.parse().expect("a number"),
            ("--rate", value) => {
                let rate: f64 = value.parse().expect("a number");
                plan.interval = Some(Duration::from_secs_f64(1.0 / rate));
            }
            ("--kill", "successor") => plan.kill = Some(Kill::Successor),
            ("--kill", "predecessor") => plan.kill = Some(Kill::Predecessor),
            ("--kill", "nobody") => plan.kill = Some(Kill::Nobody),
            _ => panic!("unknown: {option} {value}"),
        }
        words = rest;
    }
    assert!(words.is_empty(), "unknown: {words:?}");
    plan
}

fn report(plan: Plan) {
    let report = run(plan);
    println!("{}", report.sum);
    let flat = report.is_flat();
    for (step, pauses) in by_name(report.pauses) {
        println!("longest wait, {step:<13} {:>4} times: {pauses}", pauses.len());
    }
    for (who, times) in by_name(report.learned) {
        println!("from a death until {who:<15} knew {:>4} times: {times}", times.len());
    }
    if let Some((early, late)) = report.weights {
        print_weights("the 10th", &early);
        print_weights("the last", &late);
    }
    let good = match plan.kill {
        Some(Kill::Predecessor) => report.sum.is_honest(),
        _ => report.sum.is_perfect(),
    };
    if !good || !flat {
        exit(1);
    }
}

fn by_name(times: Vec<(&'static str, Duration)>) -> BTreeMap<&'static str, Times> {
    let mut names: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for (name, time) in times {
        names.entry(name).or_default().push(time);
    }
    names.into_iter().map(|(name, times)| (name, Times::of(times))).collect()
}

fn print_weights(when: &str, weights: &Weights) {
    for (who, weight) in ["server", "blocking client", "tokio client"].into_iter().zip(weights) {
        println!(
            "after {when} upgrade the {who} holds {} descriptors, {} mappings, {} KiB",
            weight.held.descriptors, weight.held.mappings, weight.kibibytes
        );
    }
}
