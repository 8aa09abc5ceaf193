//! A session between the tokio flavour and threads, for futures that are given up.

use std::future::Future;

use shmipc_sync::WaitMode;

use crate::deadline::{start, within};
use crate::setup::{Setup, Size};
use crate::tokio::Kind;

/// A session between the tokio flavour, on a runtime of its own, and threads.
#[derive(Debug)]
pub struct Pair {
    runtime: ::tokio::runtime::Runtime,
    /// The tokio flavour's end.
    pub ours: shmipc_async::Session,
    /// The end of the threads.
    pub theirs: shmipc_sync::Session,
}

impl Pair {
    /// A new one.
    pub fn new<K: Kind>(setup: Setup) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let config = setup.config();
        let builder = shmipc_sync::Listener::builder().config(config.clone());
        let listener = builder.bind(&path).expect("the path is free");
        let accepting = start("accept", move || listener.accept().expect("the listener lives"));
        let runtime = K::start().expect("a runtime");
        let connecting = shmipc_async::Session::connect_with(path, &config);
        let ours = runtime.block_on(connecting).expect("somebody listens");
        Self { runtime, ours, theirs: accepting.join() }
    }

    /// Runs `theirs` on a thread and `ours` as a task, to their ends.
    pub fn run<T: Send + 'static>(
        &self,
        ours: impl Future<Output = T> + Send + 'static,
        theirs: impl FnOnce() + Send + 'static,
    ) -> T {
        let theirs = start("the peer", theirs);
        let result = self.runtime.block_on(self.runtime.spawn(ours)).expect("no panic");
        theirs.join();
        result
    }
}

/// Runs a test in both ways to wait, with windows that are full all the time, and again until thousands of
/// futures have been given up, which it counts: how many there are to give up depends on how fast the peer is.
pub fn in_both_modes(name: &str, test: fn(Setup, u64) -> u64) {
    let rounds = within(name, move || {
        let (mut given_up, mut rounds) = (0, 0);
        while given_up < 2000 {
            for wait in [WaitMode::Block, WaitMode::Adaptive] {
                given_up += test(Setup::new(Size::Tiny).wait(wait), 7 + wait as u64 + 2 * rounds);
            }
            rounds += 1;
        }
        rounds
    });
    println!("{name}: {rounds} rounds");
}
