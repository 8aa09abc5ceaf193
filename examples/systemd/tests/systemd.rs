//! The example `systemd`, with the environment that systemd gives, and without.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use shmipc_sync::{Client, Config};
use tests::child::Peer;
use tests::deadline::{PATIENCE, start};

/// Built by `cargo test -p examples`, with the other examples.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/systemd")
}

/// A directory with the path of a socket, and who is told when a server is ready.
struct Service {
    directory: tempfile::TempDir,
    notified: UnixDatagram,
}

impl Service {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let notified = UnixDatagram::bind(directory.path().join("told")).unwrap();
        notified.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { directory, notified }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    /// Starts a server, which has the socket as systemd passes it: descriptor 3.
    fn activate(&self, socket: &UnixListener) -> Peer {
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" server \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(example()).arg(self.path());
        command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
        self.start(&mut command)
    }

    /// Starts a server that gets no socket.
    fn reload(&self) -> Peer {
        let mut command = Command::new(example());
        self.start(command.arg("server").arg(self.path()).stdin(Stdio::null()))
    }

    fn start(&self, command: &mut Command) -> Peer {
        let told = self.directory.path().join("told");
        Peer::of(command.env("NOTIFY_SOCKET", told))
    }

    /// Waits until systemd would take this for the main process, which is ready.
    #[track_caller]
    fn is_told_of(&self, server: &Peer) {
        let mut text = [0; 256];
        let len = self.notified.recv(&mut text).expect("a notification");
        let text = std::str::from_utf8(&text[..len]).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines, ["READY=1", &format!("MAINPID={}", server.pid())]);
    }
}

fn ask(path: &Path) -> String {
    let client = Client::new(path, Config::default());
    let reply = client.call(b"hello", Instant::now() + PATIENCE).unwrap();
    String::from_utf8(reply.to_vec()).unwrap()
}

fn hello_from(server: &Peer) -> String {
    format!("hello from {}", server.pid())
}

/// The first client comes before any server does. Then the server is replaced, by one that systemd passes the
/// socket too, and by one that somebody else has started.
#[test]
fn started_by_its_socket_and_replaced() {
    let service = Service::new();
    let path = service.path();
    let socket = UnixListener::bind(&path).unwrap();
    let first = start("the first client", {
        let path = path.clone();
        move || ask(&path)
    });
    let mut server = service.activate(&socket);
    service.is_told_of(&server);
    assert_eq!(first.join(), hello_from(&server));
    for passed in [true, false, false, true] {
        let next = if passed { service.activate(&socket) } else { service.reload() };
        service.is_told_of(&next);
        server.succeed();
        assert_eq!(ask(&path), hello_from(&next));
        server = next;
    }
    // Whatever becomes of the server, the socket is systemd's, and the next client starts another one.
    server.kill();
    let late = start("a late client", {
        let path = path.clone();
        move || ask(&path)
    });
    let server = service.activate(&socket);
    service.is_told_of(&server);
    assert_eq!(late.join(), hello_from(&server));
}

#[test]
fn without_systemd() {
    let service = Service::new();
    let path = service.path();
    let server = service.reload();
    service.is_told_of(&server);
    assert_eq!(ask(&path), hello_from(&server));
    let status = Command::new(example()).env_remove("NOTIFY_SOCKET").status().unwrap();
    assert!(status.success());
}

/// It prints the text of an error, not the names of Rust's variants and fields.
#[test]
fn errors_are_sentences() {
    let service = Service::new();
    let missing = service.directory.path().join("missing/socket");
    for (arguments, said) in [
        (vec!["server".into(), missing.into_os_string()], "No such file or directory"),
        (["a", "b", "c", "d"].map(Into::into).to_vec(), "Error: usage: systemd ["),
    ] {
        let mut command = Command::new(example());
        let output = command.args(arguments).env_remove("RUST_BACKTRACE").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(said) && !told.contains("Os("), "{told}");
    }
}
