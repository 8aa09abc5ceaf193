//! A short run of the `soak` program, which counts its descriptors and so is a process of its own.

use std::process::Command;

#[test]
fn nothing_is_lost() {
    // What hangs fails by itself; how long the rest takes is nobody's business.
    let status =
        Command::new(env!("CARGO_BIN_EXE_soak")).args(["--rounds", "11"]).status().unwrap();
    assert!(status.success(), "{status}");
}
