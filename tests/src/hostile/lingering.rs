//! A file whose close blocks: a TCP socket with unsent data that is to linger for a day.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::mem::forget;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

/// The thread that drops the last reference to it waits in `close` until this process ends. Where the loopback
/// interface is down it is a file that does not block, which is said on stderr.
pub fn lingering() -> OwnedFd {
    connected().unwrap_or_else(|error| {
        eprintln!("skipped: a socket that lingers needs the loopback interface ({error})");
        File::open("/dev/null").expect("it is there").into()
    })
}

/// Closes this process's own descriptor, in another thread: if it was not passed, it is the last one. Waits for
/// the end of that only so long that a descriptor that was passed is closed.
pub fn let_go(lingering: OwnedFd) {
    let (closed, wait) = mpsc::channel();
    thread::spawn(move || {
        drop(lingering);
        let _ = closed.send(());
    });
    let _ = wait.recv_timeout(Duration::from_millis(200));
}

fn connected() -> std::io::Result<OwnedFd> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut socket = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    loop {
        match socket.write(&[0; 65_536]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    setsockopt(&socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 86_400 })?;
    // It reads nothing for as long as this process lives.
    forget(other);
    Ok(socket.into())
}
