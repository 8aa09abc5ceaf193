//! An upgrade socket in a directory of its own: a client that has the directory of the server's socket, and the server's
//! uid, cannot take the server over.

use tests::generations::{Asking, Place};
use tests::with_both_servers;

const GENERATION: &str = env!("CARGO_BIN_EXE_generation");

with_both_servers! {
    a_client_with_the_directory_of_the_socket_cannot_take_the_server_over
    a_successor_that_knows_the_upgrade_socket_takes_the_server_over
}

fn a_client_with_the_directory_of_the_socket_cannot_take_the_server_over(place: &Place) {
    let private = tempfile::tempdir().unwrap();
    let option = format!("upgrade-at={}", private.path().join("door").display());
    let mut server = place.server(&[&option]);
    server.line("serving");
    assert_eq!(place.files(), ["socket", "socket.lock"], "nothing to take it over with");

    let mut hostile = place.server(&[]);
    assert!(hostile.line("failed").starts_with("InUse"));
    place.is_served_by(1);
}

fn a_successor_that_knows_the_upgrade_socket_takes_the_server_over(place: &Place) {
    let private = tempfile::tempdir().unwrap();
    let option = format!("upgrade-at={}", private.path().join("door").display());
    let mut first = place.server(&[&option]);
    first.line("serving");
    let client = Asking::start(&place.path());
    client.is_served_by(1);
    let mut second = place.server(&[&option]);
    assert_eq!(second.line("serving"), "2");
    client.is_served_by(2);
    client.end();
    first.line("drained");
    first.succeed();
}
