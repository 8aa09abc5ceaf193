//! The processes of the tests of hostile peers: a server, and peers that attack it.

use std::io::BufRead;
use std::path::Path;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use tests::child::die_with_parent;
use tests::hostile::{attacks, scribbler, server, silent};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    die_with_parent();
    match arguments[..] {
        ["serve", flavour, path] => server::serve(flavour, Path::new(path)),
        // Seeds, one attack for each.
        ["scribble", path] => on_each_line(|seed| {
            scribbler::attack(Path::new(path), seed.parse().expect("a number"));
        }),
        // Numbers of connections, which stay.
        ["silent", path] => {
            let mut crowd = silent::Crowd::new(path);
            on_each_line(|count| crowd.grow(count.parse().expect("a number")));
        }
        // Another user, and a supplementary group of his.
        ["visit", path, uid, gid, group] => visit(path, uid, gid, group),
        // Names of attacks.
        ["attack", path] => on_each_line(|name| {
            let attack = attacks::all().find(|attack| attack.name == name);
            attack.unwrap_or_else(|| panic!("no attack is called {name}")).run(Path::new(path));
        }),
        _ => panic!("unknown role: {arguments:?}"),
    }
}

fn on_each_line(mut act: impl FnMut(&str)) {
    for line in std::io::stdin().lock().lines() {
        act(&line.expect("the test speaks"));
        println!("over");
    }
}

/// Connects as another user, and tells what came of it.
fn visit(path: &str, uid: &str, gid: &str, group: &str) {
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let become_another = || {
        setgroups(&[Gid::from_raw(number(group))])?;
        setgid(Gid::from_raw(number(gid)))?;
        setuid(Uid::from_raw(number(uid)))
    };
    if let Err(errno) = become_another() {
        return println!("unprivileged {errno}");
    }
    match shmipc_sync::Session::connect(path) {
        Ok(_) => println!("visited"),
        Err(error) => println!("refused {error}"),
    }
}
