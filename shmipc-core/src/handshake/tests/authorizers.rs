//! Who is let in, and what is said to those who are not.

use super::{config, handshake};
use crate::config::PeerCred;
use crate::error::{HandshakeError, Refusal};
use crate::handshake::authorize::{by_default, maps_every_uid};
use crate::handshake::{Authorization, authorize, overflow_uid};

fn uid(uid: u32) -> PeerCred {
    PeerCred::new(1, uid, 1)
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[test]
fn root_and_the_same_user_are_let_in_by_default() {
    let config = config(|b| b);
    assert_eq!(authorize(&config, uid(0)), Authorization::Granted);
    assert_eq!(authorize(&config, uid(own_uid())), Authorization::Granted);
    let other = uid(own_uid() + 1234);
    assert_eq!(authorize(&config, other), Authorization::Denied(other));
}

#[test]
fn an_ambiguous_uid_is_not_the_same_user_as_itself() {
    assert!(by_default(0, 65534, |_| true));
    assert!(by_default(1000, 1000, |_| false));
    assert!(!by_default(1001, 1000, |_| false));
    assert!(!by_default(65534, 65534, |uid| uid == 65534));
    assert!(by_default(65534, 65534, |_| false));
}

#[test]
fn only_the_identity_map_of_all_uids_maps_every_uid() {
    assert!(maps_every_uid("         0          0 4294967295\n"));
    for other in [
        "",
        "0 0 65536\n",
        "0 100000 65536\n",
        "0 1000 1\n",
        "1 1 4294967294\n",
        "0 0 4294967295\n1 1 1\n",
        "0 0 4294967296\n",
        "0 0\n",
        "0 x 4294967295\n",
    ] {
        assert!(!maps_every_uid(other), "{other:?}");
    }
}

#[test]
fn uids_are_added_one_by_one() {
    let config = config(|b| b.allow_uid(4001).allow_uid(4002));
    for allowed in [0, own_uid(), 4001, 4002] {
        assert_eq!(authorize(&config, uid(allowed)), Authorization::Granted);
    }
    assert_eq!(authorize(&config, uid(4003)), Authorization::Denied(uid(4003)));
}

#[test]
fn an_own_authorizer_replaces_the_default_but_not_the_added_uids() {
    let config = config(|b| b.authorizer(|peer: PeerCred| peer.gid == 77).allow_uid(4001));
    assert_eq!(authorize(&config, PeerCred::new(1, 9, 77)), Authorization::Granted);
    assert_eq!(authorize(&config, uid(4001)), Authorization::Granted);
    assert_eq!(authorize(&config, uid(0)), Authorization::Denied(uid(0)));
}

/// It runs under the lock of a listener that serves others too.
#[test]
fn an_authorizer_that_panics_has_refused() {
    let config = config(|b| b.authorizer(|_: PeerCred| panic!("as it should")).allow_uid(4001));
    assert_eq!(authorize(&config, uid(0)), Authorization::Denied(uid(0)));
    assert_eq!(authorize(&config, uid(4001)), Authorization::Granted);
}

/// Where every uid is mapped the overflow uid is that of one user; elsewhere the error says what to configure.
#[test]
fn the_overflow_uid_is_refused_unless_it_is_our_own_or_configured() {
    let nobody = uid(overflow_uid());
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let by_default = match maps_every_uid(&map) {
        true if own_uid() == overflow_uid() => Authorization::Granted,
        true => Authorization::Denied(nobody),
        false => Authorization::Unmapped(nobody),
    };
    assert_eq!(authorize(&config(|b| b), nobody), by_default);
    let other = config(|b| b.allow_uid(4001));
    assert_eq!(authorize(&other, nobody), by_default);
    let allowed = config(|b| b.allow_uid(overflow_uid()));
    assert_eq!(authorize(&allowed, nobody), Authorization::Granted);
    let all = config(|b| b.authorizer(|_: PeerCred| true));
    assert_eq!(authorize(&all, nobody), Authorization::Granted);
    let error = Authorization::Unmapped(nobody).check().unwrap_err();
    assert!(error.to_string().contains(&format!("allow_uid({})", overflow_uid())), "{error}");
}

#[test]
fn a_server_that_refuses_names_the_uid() {
    let strict = config(|b| b.authorizer(|_: PeerCred| false));
    let (client, server) = handshake(&config(|b| b), &strict);
    let refusal = Refusal::Unauthorized { uid: own_uid() };
    let error = client.unwrap_err();
    assert!(error.to_string().contains(&format!("uid {}", own_uid())), "{error}");
    assert_eq!(error, HandshakeError::Refused(refusal.clone()));
    assert_eq!(server.unwrap_err(), HandshakeError::RefusedPeer(refusal));
}

/// Both ends authorize.
#[test]
fn a_client_can_refuse_its_server() {
    let strict = config(|b| b.authorizer(|_: PeerCred| false));
    let (client, server) = handshake(&strict, &config(|b| b));
    let refusal = Refusal::Unauthorized { uid: own_uid() };
    assert_eq!(client.unwrap_err(), HandshakeError::RefusedPeer(refusal.clone()));
    assert_eq!(server.unwrap_err(), HandshakeError::Refused(refusal));
}
