//! Kinds of runtimes.

use std::io;
use std::marker::PhantomData;

use ::tokio::runtime::{Builder, Runtime};

/// A kind of runtime.
pub trait Kind: Send + Sync + 'static {
    /// The flavour's name.
    const NAME: &'static str;
    /// Whether the calls are made by tasks, or by whoever blocks on the runtime.
    const IN_TASKS: bool = false;
    /// Starts a runtime.
    fn start() -> io::Result<Runtime>;
}

/// A runtime on one thread: whichever blocks on it.
#[derive(Debug)]
pub enum CurrentThread {}

impl Kind for CurrentThread {
    const NAME: &'static str = "tokio-current";

    fn start() -> io::Result<Runtime> {
        Builder::new_current_thread().enable_all().build()
    }
}

/// A runtime with two workers, of which those who block on it are none.
#[derive(Debug)]
pub enum MultiThread {}

impl Kind for MultiThread {
    const NAME: &'static str = "tokio-multi";

    fn start() -> io::Result<Runtime> {
        Builder::new_multi_thread().worker_threads(2).enable_all().build()
    }
}

/// The same, where every call is made by a task of its own.
#[derive(Debug)]
pub struct InTasks<K>(PhantomData<K>);

impl Kind for InTasks<CurrentThread> {
    const NAME: &'static str = "tokio-current-in-tasks";
    const IN_TASKS: bool = true;

    fn start() -> io::Result<Runtime> {
        CurrentThread::start()
    }
}

impl Kind for InTasks<MultiThread> {
    const NAME: &'static str = "tokio-multi-in-tasks";
    const IN_TASKS: bool = true;

    fn start() -> io::Result<Runtime> {
        MultiThread::start()
    }
}

/// A test of each of these on both kinds of runtime: `$run` gets its name, and the function for that runtime.
#[macro_export]
macro_rules! on_both_runtimes {
    ($run:ident: $($test:ident)*) => {
        mod current_thread {
            $(#[test]
            fn $test() {
                super::$run(stringify!($test), super::$test::<tests::tokio::CurrentThread>);
            })*
        }
        mod multi_thread {
            $(#[test]
            fn $test() {
                super::$run(stringify!($test), super::$test::<tests::tokio::MultiThread>);
            })*
        }
    };
}
