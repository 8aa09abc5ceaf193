//! The crash matrix: processes killed, or stopped for a while, at each named step of the protocol.
//!
//! ```text
//! cargo run --release -p tests --bin crashes -- --runs N [SEED]     so many cases; fails too if a survivor
//!                                                                   learns later than 100 ms after the death
//! cargo run --release -p tests --bin crashes -- --once              each case once
//! cargo run --release -p tests --bin crashes -- --twin deaf|leaks|loses
//!                                                                   with a mistake: must fail
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tests::child::die_with_parent;
use tests::crashing::case::{Case, Twin};
use tests::crashing::matrix::{many, once, run, with};
use tests::crashing::neighbour;
use tests::crashing::victim::Orders;

/// From the death to the survivor's error.
const PROMPT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match arguments[..] {
        ["victim", ref orders @ ..] => {
            die_with_parent();
            Orders::parse(orders).expect("orders").obey();
            ExitCode::SUCCESS
        }
        ["neighbour", path] => {
            die_with_parent();
            neighbour::serve(path);
            ExitCode::SUCCESS
        }
        ["--once"] => report(&once(), None),
        ["--runs", runs] => report(&many(number(runs) as usize, 1), Some(PROMPT)),
        ["--runs", runs, seed] => report(&many(number(runs) as usize, number(seed)), Some(PROMPT)),
        ["--twin", "deaf"] => report(&with(Twin::Deaf), None),
        ["--twin", "leaks"] => report(&with(Twin::Leaks), None),
        ["--twin", "loses"] => report(&with(Twin::Loses), None),
        _ => {
            eprintln!("usage: crashes --runs N [SEED] | --once | --twin deaf|leaks|loses");
            ExitCode::FAILURE
        }
    }
}

fn report(cases: &[Case], limit: Option<Duration>) -> ExitCode {
    // As it was called: under an emulator the executable is one of another processor.
    let program = PathBuf::from(std::env::args_os().next().expect("a name"));
    let report = run(program.to_str().expect("a path of ASCII"), cases, limit.is_some());
    report.print();
    let late = limit.map_or(0, |limit| report.later_than(limit));
    if let Some(limit) = limit {
        println!("{late} survivors learned of it later than {limit:?}");
    }
    if !report.is_flat() {
        println!("this process has grown");
    }
    match report.failures.is_empty() && report.is_flat() && late == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
