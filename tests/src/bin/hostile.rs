//! The processes of the scribbling test: a server, and a peer that attacks it.

use std::io::BufRead;
use std::path::Path;

use tests::child::die_with_parent;
use tests::scribbler::{attack, serve};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    die_with_parent();
    match arguments[..] {
        ["serve", path] => serve(Path::new(path)),
        // One attack for each seed that it is told.
        ["scribble", path] => {
            for seed in std::io::stdin().lock().lines() {
                let seed = seed.expect("the test speaks").parse().expect("a number");
                attack(Path::new(path), seed);
                println!("over");
            }
        }
        _ => panic!("unknown role: {arguments:?}"),
    }
}
