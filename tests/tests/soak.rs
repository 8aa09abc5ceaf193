//! A short run of the `soak` program, which counts its descriptors and so is a process of its own.

use tests::child::Peer;

#[test]
fn nothing_is_lost() {
    Peer::start(env!("CARGO_BIN_EXE_soak"), &["--rounds", "8"]).succeed();
}
