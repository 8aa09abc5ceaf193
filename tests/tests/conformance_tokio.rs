//! The conformance suite over the tokio flavour: every case between threads that block on a runtime each, on
//! both kinds of runtime; between processes in every pair of flavours; and with every call made by a task, within
//! a process and between two.

use shmipc_sync::WaitMode;
use tests::blocking::Blocking;
use tests::conformance::{in_one_process, in_two_flavours};
use tests::setup::{Setup, Size};
use tests::tokio::{CurrentThread, InTasks, MultiThread, Tokio};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

type Current = Tokio<CurrentThread>;
type Multi = Tokio<MultiThread>;
type CurrentInTasks = Tokio<InTasks<CurrentThread>>;
type MultiInTasks = Tokio<InTasks<MultiThread>>;

/// Every case between threads of this process.
macro_rules! alike {
    ($name:ident, $flavour:ident, $setup:expr, $($case:ident)*) => {
        mod $name {
            use super::*;
            $(#[test]
            fn $case() {
                in_one_process::<$flavour>(stringify!($case), $setup);
            })*
        }
    };
}

/// Every case between this process, of the first flavour, and another one.
macro_rules! mixed {
    ($name:ident, $here:ident, $there:ident, $setup:expr, $($case:ident)*) => {
        mod $name {
            use super::*;
            $(#[test]
            fn $case() {
                in_two_flavours::<$here, $there>(PEER, stringify!($case), $setup);
            })*
        }
    };
}

fn setup() -> Setup {
    Setup::new(Size::Default)
}

macro_rules! every_case {
    ($($case:ident)*) => {
        alike!(current_thread, Current, setup(), $($case)*);
        alike!(multi_thread, Multi, setup().eventfd(), $($case)*);
        mixed!(blocking_and_multi_thread, Blocking, Multi, setup(), $($case)*);
        mixed!(multi_thread_and_blocking, Multi, Blocking, setup(), $($case)*);
        mixed!(current_thread_and_blocking_asleep, Current, Blocking, asleep(), $($case)*);
        mixed!(blocking_and_current_thread_asleep, Blocking, Current, asleep(), $($case)*);
        mixed!(multi_and_current_thread, Multi, Current, setup().trusted(), $($case)*);
        mixed!(current_and_multi_thread, Current, Multi, setup().eventfd(), $($case)*);
        mixed!(two_current_threads, Current, Current, setup(), $($case)*);
        mixed!(two_multi_threads, Multi, Multi, asleep(), $($case)*);
        alike!(current_thread_in_tasks, CurrentInTasks, setup().trusted(), $($case)*);
        alike!(multi_thread_in_tasks, MultiInTasks, setup(), $($case)*);
        mixed!(multi_and_current_in_tasks, MultiInTasks, CurrentInTasks, setup(), $($case)*);
    };
}

fn asleep() -> Setup {
    setup().wait(WaitMode::Block)
}

tests::for_every_case!(every_case);
