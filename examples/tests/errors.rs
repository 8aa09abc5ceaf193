//! What the examples print when they fail: the text of the error, not the names of Rust's variants and fields.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Built by `cargo test -p examples`, with the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test.ancestors().nth(2).unwrap().join("examples").join(name));
    command.stdin(Stdio::null());
    command
}

/// Runs an example that cannot succeed, and returns what it prints, from its error on.
#[track_caller]
fn failure(command: &mut Command) -> String {
    // A backtrace is printed for developers, if they ask for it.
    let output = command.env_remove("RUST_BACKTRACE").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    let error = told.lines().position(|line| line.starts_with("Error: "));
    let error = error.unwrap_or_else(|| panic!("{command:?}: {told}"));
    told.lines().skip(error).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_server_that_cannot_listen_prints_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("missing/socket");
    let servers: [(&str, &[&str]); 8] = [
        ("helloworld", &["server"]),
        ("helloworld_async", &["server"]),
        ("echo_mixed", &["server"]),
        ("request_response", &["server"]),
        ("fanout", &["publisher", "wait"]),
        ("hot_upgrade", &["server"]),
        ("epoll_loop", &["server"]),
        ("wait_set", &["server"]),
    ];
    for (name, role) in servers {
        let told = failure(example(name).args(role).arg(&path));
        assert!(told.contains("missing/socket"), "{name}: {told}");
        assert!(told.contains("No such file or directory"), "{name}: {told}");
        assert!(!told.contains("Os(") && !told.contains("Path {"), "{name}: {told}");
    }
}

#[test]
fn a_worker_without_a_socket_prints_a_sentence() {
    let told = failure(example("prefork").arg("worker"));
    assert!(!told.contains("Os("), "{told}");
}

#[test]
fn arguments_that_make_no_sense_print_the_usage() {
    for name in ["helloworld", "fanout", "prefork"] {
        let told = failure(example(name).args(["a", "b", "c", "d"]));
        assert!(told.starts_with(&format!("Error: usage: {name} [")), "{told}");
    }
}
