//! The crash matrix, each case once. The program `crashes` counts its descriptors and so is a process of its
//! own.

use std::process::{Command, Output};

fn crashes(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_crashes")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

#[test]
fn at_every_step() {
    let (output, text) = crashes(&["--once"]);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
}

/// A survivor that learns nothing, one that keeps its session, a message that is missing: each is found, in
/// every case.
#[test]
fn twins_are_found() {
    let twins = [
        ("deaf", "in vain: the survivor learns of it"),
        ("leaks", "in vain: descriptors and mappings are what they were"),
        ("loses", "lost: "),
    ];
    for (twin, reason) in twins {
        let (output, text) = crashes(&["--twin", twin]);
        assert!(!output.status.success(), "{twin}: {text}");
        let found = text.lines().filter(|line| line.trim_start().starts_with(reason)).count();
        assert_eq!(found, 4, "{twin}: {text}");
    }
}
