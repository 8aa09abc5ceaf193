//! A socket for the members of a group. To be another user takes privileges; without them this is skipped, and said.

use shmipc_sync::{Config, Listener, PeerCred, Session};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tests::child::Peer;
use tests::deadline::{start, within};

const GROUP: u32 = 2000;
/// Uid, primary group and supplementary group of clients.
const MEMBER: [&str; 3] = ["1001", "1001", "2000"];
const MEMBER_FIRST_OF_ALL: [&str; 3] = ["1001", "2000", "1001"];
const STRANGER: [&str; 3] = ["1001", "1001", "1002"];

/// What comes of a visit to a listener of this process; `None` if this process cannot become that user.
fn visit(config: Config, mode: u32, visitor: [&str; 3]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::builder().config(config).mode(mode).group(GROUP).bind(&path);
    let listener = match listener {
        Ok(listener) => std::sync::Arc::new(listener),
        Err(error) => {
            eprintln!("skipped, for want of a privilege (CAP_CHOWN): {error}");
            return None;
        }
    };
    assert_eq!(std::fs::metadata(&path).unwrap().gid(), GROUP);
    let accepting = {
        let listener = std::sync::Arc::clone(&listener);
        start("the server", move || while listener.accept().is_ok() {})
    };
    let [uid, gid, group] = visitor;
    let path = path.to_str().unwrap();
    let mut visitor = Peer::start(env!("CARGO_BIN_EXE_hostile"), &["visit", path, uid, gid, group]);
    let said = visitor.next_line();
    listener.close();
    accepting.join();
    if said.starts_with("unprivileged") {
        eprintln!("skipped, for want of a privilege (CAP_SETUID): {said}");
        return None;
    }
    Some(said)
}

fn allowing_the_group() -> Config {
    Config::builder().allow_gid(GROUP).build().unwrap()
}

#[test]
fn a_member_of_an_allowed_group_is_let_in_by_primary_or_supplementary_group() {
    for member in [MEMBER, MEMBER_FIRST_OF_ALL] {
        if let Some(said) = visit(allowing_the_group(), 0o660, member) {
            assert_eq!(said, "visited");
        }
    }
}

#[test]
fn a_member_of_a_group_that_is_not_allowed_is_told_how_to_be() {
    if let Some(said) = visit(Config::default(), 0o660, MEMBER) {
        assert!(said.starts_with("refused") && said.contains("allow_gid"), "{said}");
    }
}

#[test]
fn a_user_outside_of_the_allowed_group_is_refused() {
    if let Some(said) = visit(allowing_the_group(), 0o666, STRANGER) {
        assert!(said.contains("uid 1001 is not authorized"), "{said}");
    }
    if let Some(said) = visit(allowing_the_group(), 0o660, STRANGER) {
        assert!(said.contains("Permission denied"), "{said}");
    }
}

/// Needs no privilege: the primary group of this process.
#[test]
fn an_allowed_group_adds_to_what_the_authorizer_lets_in() {
    let serve = |config: Config| {
        within("one client", || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("socket");
            let listener = Listener::builder().config(config).bind(&path).unwrap();
            std::thread::scope(|scope| {
                let client = scope.spawn(|| {
                    let connected = Session::connect(&path);
                    listener.close();
                    connected.is_ok()
                });
                while listener.accept().is_ok() {}
                client.join().unwrap()
            })
        })
    };
    let nobody = || Config::builder().authorizer(|_: PeerCred| false);
    let group = nix::unistd::getegid().as_raw();
    assert!(!serve(nobody().build().unwrap()));
    assert!(serve(nobody().allow_gid(group).build().unwrap()));
    assert!(!serve(nobody().allow_gid(group + 1).build().unwrap()));
}
