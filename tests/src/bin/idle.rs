//! What sessions cost that do nothing.
//!
//! ```text
//! cargo run --release -p tests --bin idle -- memory [SESSIONS]   Pss of each side, per session
//! cargo run --release -p tests --bin idle -- cpu [SECONDS]       CPU time of a thread blocked in recv
//! ```
//!
//! Both start the `peer` program, which lies beside this one. `memory` compares both processes before
//! and after connecting (`/proc/PID/smaps_rollup`); `cpu` waits until the peer's main thread sleeps in
//! `recv` and samples `/proc/PID/task/*/schedstat` and the thread's voluntary switches over the time.

use tests::idle::{cpu, memory};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let peer = std::env::current_exe().expect("our path").with_file_name("peer");
    let peer = peer.to_str().expect("a path of ASCII");
    match arguments[..] {
        ["memory"] => {
            [1, 100].into_iter().for_each(|sessions| println!("{}", memory(peer, sessions)))
        }
        ["memory", sessions] => println!("{}", memory(peer, sessions.parse().expect("a number"))),
        ["cpu"] => println!("{}", cpu(peer, "adaptive", 5)),
        ["cpu", seconds] => {
            println!("{}", cpu(peer, "adaptive", seconds.parse().expect("a number")))
        }
        _ => eprintln!("usage: idle memory [SESSIONS] | idle cpu [SECONDS]"),
    }
}
