//! The program under test, and what it prints.

use std::io::{Write, stderr};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Output, Stdio};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use serde_json::Value;

/// What a line of JSON consists of, in this order.
const KEYS: [&str; 34] = [
    "bench",
    "transport",
    "wait",
    "trust",
    "bell",
    "touch",
    "size",
    "mixed",
    "batch",
    "parked",
    "open",
    "streams",
    "percent",
    "rate",
    "runtime",
    "n",
    "p50_ns",
    "p90_ns",
    "p99_ns",
    "p999_ns",
    "max_ns",
    "mean_ns",
    "msgs_per_s",
    "bytes_per_s",
    "cpu_ns_per_op",
    "switches_per_op",
    "bells_per_op",
    "syscalls_per_op",
    "spread",
    "lowest_ns",
    "highest_ns",
    "blocks",
    "probe_cacheline_ns",
    "probe_eventfd_ns",
];

/// The program with these arguments, on the first two CPUs that this process may use. With one CPU it is slower.
pub(crate) fn ipcbench(arguments: &[&str]) -> Command {
    let mut command = unpinned(arguments);
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let allowed = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let cpus: Vec<usize> = allowed.take(2).collect();
    if cpus != [0, 1] {
        command.arg("--pin").arg(format!("{},{}", cpus[0], cpus[cpus.len() - 1]));
    }
    command
}

/// The program with these arguments, on the CPUs that they or its defaults say.
pub(crate) fn unpinned(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcbench"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Prints which part of a test is left out here, and why: past the harness, which shows what a test prints only if it
/// fails.
pub(crate) fn not_tried(part: &str) {
    let _ = writeln!(stderr(), "not tried: {part}");
}

/// Whether `ipcbench` can measure TCP here. A new network namespace has its loopback interface down.
pub(crate) fn has_tcp() -> bool {
    let connected = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.connect((Ipv4Addr::LOCALHOST, 1)));
    if let Err(error) = &connected {
        not_tried(&format!("TCP, since there is no way to 127.0.0.1: {error}"));
    }
    connected.is_ok()
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    let output = ipcbench(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{told}", output.status);
    output
}

pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn check(line: &Value) {
    let text = line.to_string();
    assert_eq!(line.as_object().unwrap().len(), KEYS.len(), "{text}");
    for key in KEYS {
        assert!(line.get(key).is_some(), "{key} is missing in {text}");
    }
    for key in ["n", "p50_ns", "p99_ns", "max_ns", "mean_ns", "msgs_per_s", "cpu_ns_per_op"] {
        assert!(line[key].as_f64().unwrap() > 0.0, "{key} of {text}");
    }
}
