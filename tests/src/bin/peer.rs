//! The peer process of the tests: an end of a conformance case.

use std::path::Path;

use tests::blocking::Blocking;
use tests::child::die_with_parent;
use tests::conformance::there_alone;
use tests::flavour::Flavour;

fn main() {
    die_with_parent();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["case", Blocking::NAME, name, setup, path] => {
            there_alone::<Blocking>(name, setup.parse().expect("a setup"), Path::new(path));
        }
        _ => panic!("unknown role: {arguments:?}"),
    }
}
