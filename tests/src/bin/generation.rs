//! A server that is one of a row: it takes over from the one before it and hands over to the next. See
//! [`tests::generations::server`].

use tests::child::die_with_parent;
use tests::generations::server;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    die_with_parent();
    let [path, options @ ..] = &arguments[..] else { panic!("no path") };
    server::run(path, options);
}
