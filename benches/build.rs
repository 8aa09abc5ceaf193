//! Tells `ipcbench` which compiler builds it, and the versions of what it compares, for the reports.

use std::env;
use std::fs;
use std::process::Command;

/// What is compared, and what the asynchronous flavour runs on.
const CRATES: [&str; 6] = ["iceoryx2", "ipc-channel", "shmipc", "tokio", "tonic", "zmq"];

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=IPCBENCH_RUSTC={}", version.unwrap_or_default());
    let lock = fs::read_to_string("../Cargo.lock").unwrap_or_default();
    println!("cargo::rustc-env=IPCBENCH_CRATES={}", versions(&lock).join(", "));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
}

/// A package has its version in the line after its name.
fn versions(lock: &str) -> Vec<String> {
    let value = |line: &str, key: &str| {
        let value = line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?;
        Some(value.to_owned())
    };
    let lines = lock.lines().zip(lock.lines().skip(1));
    let packages = lines.filter_map(|(name, version)| {
        let name = value(name, "name").filter(|name| CRATES.contains(&name.as_str()))?;
        Some(format!("{name} {}", value(version, "version")?))
    });
    packages.collect()
}
