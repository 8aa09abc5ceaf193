//! What a test needs and some machines lack.

use std::io::{Write, stderr};
use std::net::UdpSocket;

/// Prints which part of a test is left out here, and why: past the harness, which shows what a test prints only if it
/// fails.
pub fn not_tried(part: &str) {
    let _ = writeln!(stderr(), "not tried: {part}");
}

/// Whether there is a way to `host`, a name of this machine. A new network namespace has its loopback interface down.
pub fn loopback(host: &str) -> bool {
    let connected = UdpSocket::bind((host, 0)).and_then(|socket| socket.connect((host, 1)));
    if let Err(error) = &connected {
        not_tried(&format!("TCP, since there is no way to {host}: {error}"));
    }
    connected.is_ok()
}
