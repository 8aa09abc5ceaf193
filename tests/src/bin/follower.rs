//! A client that does what it is told; see [`tests::follower`].

use tests::child::die_with_parent;
use tests::follower;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    die_with_parent();
    let [flavour, path, manner] = &arguments[..] else { panic!("unknown: {arguments:?}") };
    follower::run(flavour, path, manner == "watching");
}
