//! Upgrades under load: `cargo run --release -p tests --bin upgrades -- --upgrades 1000`, and with
//! `--kill successor` or `--kill predecessor` at every step in turn; with `--kill nobody` they stop there for a
//! while. `--rate N` is for each of the eight client threads, messages a second; without it, it is half of
//! what is possible. The processes of a run are roles of this program too.

use std::collections::BTreeMap;
use std::process::exit;
use std::time::Duration;

use tests::child::die_with_parent;
use tests::upgrading::clients;
use tests::upgrading::run::{Kill, Plan, Weights, run};
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
    let mut steps: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for (step, pause) in report.pauses {
        steps.entry(step).or_default().push(pause);
    }
    for (step, mut pauses) in steps {
        pauses.sort_unstable();
        let at = |part: f64| pauses[((pauses.len() - 1) as f64 * part).round() as usize];
        println!(
            "longest wait, {step:<13} {:>4} times: p50 {:.1?}, p99 {:.1?}, most {:.1?}",
            pauses.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
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

fn print_weights(when: &str, weights: &Weights) {
    for (who, weight) in ["server", "blocking client", "tokio client"].into_iter().zip(weights) {
        println!(
            "after {when} upgrade the {who} holds {} descriptors, {} mappings, {} KiB",
            weight.held.descriptors, weight.held.mappings, weight.kibibytes
        );
    }
}
