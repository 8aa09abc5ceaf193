//! What a test needs and some machines lack. Says on standard error what is left out, and why.

use std::net::UdpSocket;

/// Whether there is a way to `host`, a name of this machine. A new network namespace has its loopback interface down.
pub fn loopback(host: &str) -> bool {
    let connected = UdpSocket::bind((host, 0)).and_then(|socket| socket.connect((host, 1)));
    if let Err(error) = &connected {
        eprintln!("not tried: TCP, since there is no way to {host}: {error}");
    }
    connected.is_ok()
}
