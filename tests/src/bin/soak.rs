//! Traffic for a chosen time beside kills, stalls and reconnects; fails if a message was lost or came
//! twice, if an error had no cause, or if anything grew.
//!
//! ```text
//! cargo run --release -p tests --bin soak -- --seconds N [SEED]
//! cargo run --release -p tests --bin soak -- --rounds N [SEED]
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmipc_sync::Listener;
use tests::child::die_with_parent;
use tests::deadline::until;
use tests::proc::{Held, resident};
use tests::soak::{Tally, round, send, serve};

/// What heaps of threads that come and go may differ by, KiB.
const HEAPS: u64 = 32 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match arguments[..] {
        ["serve", path] => as_child(|tally, killed| {
            let listener = Listener::bind(path).expect("the path is free");
            println!("listening");
            std::thread::scope(|scope| {
                scope.spawn(|| serve(&listener, tally, killed));
                let _ = std::io::read_to_string(std::io::stdin());
                listener.close();
            });
        }),
        ["send", path, seed] => as_child(|tally, killed| {
            send(Path::new(path), number(seed), tally, killed);
            println!("sent");
        }),
        ["--seconds", seconds] => soak(Some(number(seconds)), u64::MAX, 1),
        ["--seconds", seconds, seed] => soak(Some(number(seconds)), u64::MAX, number(seed)),
        ["--rounds", rounds] => soak(None, number(rounds), 1),
        ["--rounds", rounds, seed] => soak(None, number(rounds), number(seed)),
        _ => {
            eprintln!("usage: soak --seconds N [SEED] | --rounds N [SEED]");
            ExitCode::FAILURE
        }
    }
}

/// A child finds out for itself what it has lost; this process is not killed.
fn as_child(role: impl FnOnce(&Tally, &AtomicBool)) -> ExitCode {
    die_with_parent();
    let tally = Tally::default();
    role(&tally, &AtomicBool::new(false));
    verdict(&tally)
}

fn verdict(tally: &Tally) -> ExitCode {
    let bad =
        [&tally.lost, &tally.duplicated, &tally.wrong].map(|count| count.load(Ordering::Relaxed));
    match bad {
        [0, 0, 0] => ExitCode::SUCCESS,
        [lost, duplicated, wrong] => {
            eprintln!("{lost} lost, {duplicated} duplicated, {wrong} errors without a cause");
            eprintln!("{:?}", tally.errors.lock().expect("no panic"));
            ExitCode::FAILURE
        }
    }
}

fn soak(seconds: Option<u64>, rounds: u64, first: u64) -> ExitCode {
    let program = std::env::current_exe().expect("our path");
    let program = program.to_str().expect("a path of ASCII");
    let us = std::process::id();
    let began = Instant::now();
    let goes_on = |done: u64| match seconds {
        Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
        None => done < rounds,
    };
    let tally = Tally::default();
    let (mut done, mut before) = (0, None);
    while goes_on(done) {
        round(program, first + done, &tally);
        done += 1;
        // The first rounds load what stays.
        if done == 2 {
            before = Some((Held::by(us), resident(us)));
        }
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{done} rounds from seed {first} in {:.0} s: {} messages answered, {} kills, {} stalls",
        began.elapsed().as_secs_f32(),
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
    let Some((held, memory)) = before else { return verdict(&tally) };
    // Threads that read what children say may still be at it.
    until(&format!("{held:?} again"), || {
        let now = Held::by(us);
        now.descriptors <= held.descriptors && now.mappings <= held.mappings
    });
    let now = resident(us);
    println!("{held:?} then and now; memory {memory} KiB then, {now} KiB now");
    if now > memory + HEAPS {
        eprintln!("memory has grown");
        return ExitCode::FAILURE;
    }
    verdict(&tally)
}
