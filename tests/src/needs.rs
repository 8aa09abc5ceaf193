//! What a test needs and some machines lack.

use std::io::{Write, stderr};
use std::net::UdpSocket;

use tempfile::TempDir;

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

/// A directory for sockets that the test binds or connects with the standard library, which takes no more than 107 bytes
/// of a path: below `/tmp` if the path of the usual directory is too long.
///
/// # Panics
/// If it cannot be made.
pub fn short_directory() -> TempDir {
    const LONGEST: usize = 107 - "/.tmpXXXXXX/socket.upgrade".len();
    let usual = std::env::temp_dir();
    let len = usual.as_os_str().len();
    let made = if len <= LONGEST {
        tempfile::tempdir()
    } else {
        not_tried(&format!(
            "the TMPDIR of {len} bytes, which is too long for `std::os::unix::net`"
        ));
        tempfile::tempdir_in("/tmp")
    };
    made.expect("a directory")
}
