//! Traffic for a chosen time beside kills, stalls and reconnects; fails if a message was lost or came
//! twice, if an error had no cause, or if anything grew.
//!
//! ```text
//! cargo run --release -p tests --bin soak -- --seconds N [SEED]
//! cargo run --release -p tests --bin soak -- --messages N [SEED]
//! cargo run --release -p tests --bin soak -- --rounds N [SEED]      short ones
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::child::die_with_parent;
use tests::deadline::{until, within};
use tests::flavour::Flavour;
use tests::proc::{Held, resident};
use tests::soak::tally::Tally;
use tests::soak::traffic::Traffic;
use tests::soak::{InFlavour, Plan, round};

/// Small messages of each session.
const SMALL: u64 = 300_000;
/// The same in short rounds.
const FEW: u64 = 2_000;
/// Rounds in which every pair of flavours loads what stays.
const WARM: u64 = 9;
/// What heaps of threads that come and go may differ by, KiB.
const HEAPS: u64 = 16 << 10;
/// Between two lines about how it goes.
const TALK: Duration = Duration::from_secs(60);

/// When to end.
#[derive(Clone, Copy)]
enum Goal {
    Seconds(u64),
    Messages(u64),
    Rounds(u64),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match arguments[..] {
        ["serve", flavour, path, small] => as_child(|tally| {
            Role { path, small: number(small), seed: None, tally }.in_flavour(flavour)
        }),
        ["send", flavour, path, small, seed] => {
            let seed = Some(number(seed));
            as_child(|tally| Role { path, small: number(small), seed, tally }.in_flavour(flavour))
        }
        [goal, count, ref seed @ ..] if seed.len() < 2 => {
            let goal = match goal {
                "--seconds" => Goal::Seconds,
                "--messages" => Goal::Messages,
                "--rounds" => Goal::Rounds,
                _ => panic!("unknown: {goal}"),
            };
            soak(goal(number(count)), seed.first().map_or(1, |seed| number(seed)))
        }
        _ => {
            eprintln!("usage: soak --seconds N [SEED] | --messages N [SEED] | --rounds N [SEED]");
            ExitCode::FAILURE
        }
    }
}

/// What a child plays.
struct Role<'a> {
    path: &'a str,
    small: u64,
    /// Of a client.
    seed: Option<u64>,
    tally: &'a Tally,
}

/// Of a child, which finds out for itself what it has lost; this process is not killed.
fn as_child(play: impl FnOnce(&Tally)) -> ExitCode {
    die_with_parent();
    let tally = Tally::default();
    play(&tally);
    verdict(&tally)
}

impl InFlavour for Role<'_> {
    fn run<F: Flavour>(self) {
        let Role { path, small, seed, tally } = self;
        let killed = AtomicBool::new(false);
        let traffic = Traffic { path: Path::new(path), small, tally, killed: &killed };
        if let Some(seed) = seed {
            traffic.send::<F>(seed);
            println!("sent");
            return;
        }
        let listener = F::bind(Path::new(path), &Default::default());
        println!("listening");
        std::thread::scope(|scope| {
            scope.spawn(|| traffic.serve::<F>(&listener));
            let _ = std::io::read_to_string(std::io::stdin());
            F::close(&listener);
        });
    }
}

fn verdict(tally: &Tally) -> ExitCode {
    if tally.is_good() {
        return ExitCode::SUCCESS;
    }
    let [lost, duplicated, wrong] =
        [&tally.lost, &tally.duplicated, &tally.wrong].map(|count| count.load(Ordering::Relaxed));
    eprintln!("{lost} lost, {duplicated} duplicated, {wrong} errors without a cause");
    eprintln!("{:?}", tally.errors.lock().expect("no panic"));
    ExitCode::FAILURE
}

fn soak(goal: Goal, first: u64) -> ExitCode {
    let program = std::env::current_exe().expect("our path");
    let program: &'static str = program.to_str().expect("a path of ASCII").to_owned().leak();
    let us = std::process::id();
    let small = if matches!(goal, Goal::Rounds(_)) { FEW } else { SMALL };
    let (began, tally) = (Instant::now(), Arc::new(Tally::default()));
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let held = Held::by(us);
    let (mut done, mut memory, mut spoke) = (0, None, began);
    loop {
        let goes_on = match goal {
            Goal::Seconds(seconds) => began.elapsed() < Duration::from_secs(seconds),
            Goal::Messages(messages) => count(&tally.seen) < messages,
            Goal::Rounds(rounds) => done < rounds,
        };
        if !goes_on {
            break;
        }
        let (seed, counted) = (first + done, Arc::clone(&tally));
        within("a round", move || round(Plan { program, small }, seed, &counted));
        done += 1;
        if done == WARM {
            memory = Some(resident(us));
        }
        if spoke.elapsed() > TALK {
            spoke = Instant::now();
            println!("{done} rounds, {} messages, {} KiB", count(&tally.seen), resident(us));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{done} rounds from seed {first} in {seconds:.0} s: {} messages seen here ({:.0} a second), {} of \
         them replies, {} kills, {} stalls",
        count(&tally.seen),
        count(&tally.seen) as f64 / seconds,
        count(&tally.answered),
        count(&tally.kills),
        count(&tally.stalls),
    );
    let errors = tally.errors.lock().expect("no panic").clone();
    errors
        .iter()
        .for_each(|(error, count)| println!("{count:8} streams and sessions ended with {error}"));
    println!(
        "{} lost, {} duplicated, {} errors without a cause",
        count(&tally.lost),
        count(&tally.duplicated),
        count(&tally.wrong),
    );
    // Threads that read what children say may still be at it.
    until(&format!("{held:?} again"), || Held::by(us) == held);
    let (now, memory) = (resident(us), memory.unwrap_or_else(|| resident(us)));
    println!("{held:?} before and now; {memory} KiB after {WARM} rounds, {now} KiB now");
    if now > memory + HEAPS {
        eprintln!("memory has grown");
        return ExitCode::FAILURE;
    }
    verdict(&tally)
}
