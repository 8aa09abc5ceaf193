//! What the example prints when it fails: the text of the error and of its causes.

use std::process::{Command, Stdio};

#[test]
fn a_server_that_cannot_listen_prints_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/socket").display().to_string();
    let test = std::env::current_exe().unwrap();
    // Built by `cargo test -p examples-grpc`, with this test.
    let program = test.ancestors().nth(2).unwrap().join("examples/grpc");
    for scheme in ["shm", "unix"] {
        let mut command = Command::new(&program);
        command.args(["server", &format!("{scheme}:{path}")]).stdin(Stdio::null());
        let output = command.env_remove("RUST_BACKTRACE").output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("Error: "), "{told}");
        assert!(told.contains("No such file or directory"), "{told}");
        assert!(!told.contains("Os {") && !told.contains("Path {"), "{told}");
    }
}
