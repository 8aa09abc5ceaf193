//! A server to which the kernel refuses a system call, by a filter as containers and services have them.
//!
//! `confined bind PATH CALL ERRNO` tells whether a listener can be made under the filter; `confined serve FLAVOUR PATH
//! CALL ERRNO` makes one before.

use std::collections::BTreeMap;
use std::path::Path;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use shmipc_sync::Listener;
use tests::child::die_with_parent;
use tests::tokio::{CurrentThread, Kind};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    die_with_parent();
    match arguments[..] {
        ["bind", path, call, errno] => {
            forbid(call, errno);
            match Listener::bind(path) {
                Ok(_) => println!("bound"),
                Err(error) => println!("refused {error}"),
            }
        }
        ["serve", "blocking", path, call, errno] => {
            let listener = Listener::bind(path).expect("the path is free");
            forbid(call, errno);
            println!("listening");
            let mut sessions = Vec::new();
            while let Ok(session) = listener.accept() {
                sessions.push(session);
            }
        }
        ["serve", CurrentThread::NAME, path, call, errno] => {
            serve_tokio(path.as_ref(), call, errno)
        }
        _ => panic!("unknown role: {arguments:?}"),
    }
}

fn serve_tokio(path: &Path, call: &str, errno: &str) {
    CurrentThread::start().expect("a runtime").block_on(async {
        let listener = shmipc_async::Listener::bind(path).expect("the path is free");
        forbid(call, errno);
        println!("listening");
        let mut sessions = Vec::new();
        while let Ok(session) = listener.accept().await {
            sessions.push(session);
        }
    });
}

/// Has the kernel answer `call` with `errno` in this thread and those that it starts.
fn forbid(call: &str, errno: &str) {
    let call = match call {
        "memfd_create" => libc::SYS_memfd_create,
        "ftruncate" => libc::SYS_ftruncate,
        "madvise" => libc::SYS_madvise,
        "fcntl" => libc::SYS_fcntl,
        "fstatfs" => libc::SYS_fstatfs,
        "lseek" => libc::SYS_lseek,
        "pidfd_open" => libc::SYS_pidfd_open,
        "eventfd" => libc::SYS_eventfd2,
        "epoll_create1" => libc::SYS_epoll_create1,
        other => panic!("{other} cannot be forbidden"),
    };
    let action = SeccompAction::Errno(errno.parse().expect("a number"));
    let arch = std::env::consts::ARCH.try_into().expect("a known architecture");
    let rules = BTreeMap::from([(call, Vec::new())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    apply_filter(&program).expect("seccomp");
}
