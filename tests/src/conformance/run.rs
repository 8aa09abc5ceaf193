//! Both ends of a case: on two threads, or in two processes.

use std::path::Path;
use std::sync::Arc;

use super::{Case, End, case};
use crate::child::Peer;
use crate::deadline::start;
use crate::flavour::Flavour;
use crate::setup::Setup;

/// Runs a case between two threads: `Here` connects.
pub fn in_one_process<F: Flavour>(name: &str, setup: Setup) {
    let case = find::<F>(name);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = F::bind(&path, &setup.config());
    let there = start("there", move || case(End::There(F::accept(&listener))));
    let here = start("here", move || case(End::Here(F::connect(&path, &setup.config()))));
    here.join();
    there.join();
}

/// Runs a case between this process and one that `program` makes: `Here` accepts.
pub fn in_two_processes<F: Flavour>(program: &str, name: &str, setup: Setup) {
    in_two_flavours::<F, F>(program, name, setup);
}

/// Runs a case between this process and one that `program` makes, in a flavour each: `Here` accepts.
pub fn in_two_flavours<F: Flavour, G: Flavour>(program: &str, name: &str, setup: Setup) {
    let case = find::<F>(name);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = Arc::new(F::bind(&path, &setup.config()));
    let path = path.to_str().expect("a path of ASCII");
    let peer = Peer::start(program, &["case", G::NAME, name, &setup.to_string(), path]);
    start("here", move || case(End::Here(F::accept(&listener)))).join();
    peer.succeed();
}

/// The other end of [`in_two_processes`].
pub fn there_alone<F: Flavour>(name: &str, setup: Setup, path: &Path) {
    find::<F>(name)(End::There(F::connect(path, &setup.config())));
}

fn find<F: Flavour>(name: &str) -> Case<F::Session> {
    case(name).unwrap_or_else(|| panic!("`{name}` is no case"))
}
