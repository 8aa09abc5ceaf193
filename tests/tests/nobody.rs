//! Both ends run as the user with the overflow uid (65534, `nobody` of most container images). The kernel shows the
//! same uid for every user that a user namespace does not map: there it is not a peer by default.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, thread};

use nix::unistd::geteuid;
use shmipc_core::handshake::overflow_uid;
use shmipc_sync::{Listener, Session};
use tests::child::Peer;
use tests::deadline::PATIENCE;
use tests::needs::not_tried;

/// Names the socket, in the process that runs as the other user.
const SOCKET: &str = "SHMIPC_NOBODYS_SOCKET";

/// The map of a user namespace that maps every uid to itself.
const EVERY_UID: &str = "0 0 4294967295";

/// Becomes the user with the overflow uid, when the test says so.
const BECOME: &str = r#"
    echo unshared; read _
    exec setpriv --reuid "$OVERFLOW" --regid "$OVERFLOW" --clear-groups "$0" "$@""#;

/// Meets itself, and prints what comes of it. Does nothing unless another test runs it as another user.
#[test]
fn both_ends_of_this_process() {
    let Some(path) = env::var_os(SOCKET) else { return };
    let listener = Listener::bind(&path).unwrap();
    thread::spawn(move || listener.accept_timeout(PATIENCE));
    match Session::connect(&path) {
        Ok(session) => println!("\noutcome: a session with uid {}", session.peer().uid),
        Err(error) => println!("\noutcome: {error}"),
    }
}

/// A directory that every user can write to, with a copy of this test: the original's may be closed to others.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::copy(env::current_exe().unwrap(), place.program()).unwrap();
        for path in [place.program(), place.0.path().to_owned()] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        place
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("test")
    }

    /// Runs [`both_ends_of_this_process`] after these words, and returns what comes of it.
    fn meet(&self, words: &[&str], uid_map: Option<&str>) -> String {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.program());
        command.args(["--exact", "both_ends_of_this_process", "--nocapture"]);
        command.env(SOCKET, self.0.path().join("socket"));
        command.env("OVERFLOW", overflow_uid().to_string()).stdin(Stdio::piped());
        let mut peer = Peer::of(&mut command);
        if words.contains(&BECOME) {
            peer.line("unshared");
            if let Some(map) = uid_map {
                for file in ["uid_map", "gid_map"] {
                    fs::write(format!("/proc/{}/{file}", peer.pid()), map).unwrap();
                }
            }
            peer.say("go on");
        }
        let outcome = peer.line("outcome:");
        peer.succeed();
        outcome
    }
}

fn is_possible(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

fn maps_every_uid() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_ascii_whitespace().eq(EVERY_UID.split(' '))
}

#[test]
fn the_user_nobody_is_its_own_peer_where_every_uid_is_mapped() {
    if !geteuid().is_root() || !maps_every_uid() || !is_possible(&["setpriv", "--version"]) {
        return not_tried("another uid needs root, all uids mapped, and `setpriv`");
    }
    let session = format!("a session with uid {}", overflow_uid());
    let place = Place::new();
    assert_eq!(place.meet(&["sh", "-c", BECOME], None), session);
    if !is_possible(&["unshare", "--user", "true"]) {
        return not_tried("a user namespace: the kernel, or `unshare`, allows none");
    }
    let unshared = ["unshare", "--user", "sh", "-c", BECOME];
    assert_eq!(place.meet(&unshared, Some(EVERY_UID)), session);
    let some = format!("0 0 1\n{0} {0} 1", overflow_uid());
    let refused = place.meet(&unshared, Some(&some));
    assert!(refused.contains(&format!("allow_uid({})", overflow_uid())), "{refused}");
}

#[test]
fn a_user_that_is_not_mapped_is_refused_and_told_what_to_configure() {
    if !is_possible(&["unshare", "--user", "true"]) {
        return not_tried("a user namespace: the kernel, or `unshare`, allows none");
    }
    let refused = Place::new().meet(&["unshare", "--user"], None);
    assert!(refused.contains(&format!("allow_uid({})", overflow_uid())), "{refused}");
}
