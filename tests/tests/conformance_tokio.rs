//! The conformance suite over the tokio flavour: every case between threads that block on a runtime each, on
//! both kinds of runtime; and between processes in mixed pairs of flavours.

use shmipc_sync::WaitMode;
use tests::blocking::Blocking;
use tests::conformance::{in_one_process, in_two_flavours};
use tests::setup::{Setup, Size};
use tests::tokio::{CurrentThread, MultiThread, Tokio};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

type Current = Tokio<CurrentThread>;
type Multi = Tokio<MultiThread>;

macro_rules! every_case {
    ($($case:ident)*) => {
        mod current_thread {
            $(#[test]
            fn $case() {
                super::in_one_process::<super::Current>(
                    stringify!($case),
                    super::Setup::new(super::Size::Default),
                );
            })*
        }
        mod multi_thread {
            $(#[test]
            fn $case() {
                super::in_one_process::<super::Multi>(
                    stringify!($case),
                    super::Setup::new(super::Size::Default).eventfd(),
                );
            })*
        }
        mod blocking_and_multi_thread {
            $(#[test]
            fn $case() {
                super::in_two_flavours::<super::Blocking, super::Multi>(
                    super::PEER,
                    stringify!($case),
                    super::Setup::new(super::Size::Default),
                );
            })*
        }
        mod current_thread_and_blocking_asleep {
            $(#[test]
            fn $case() {
                super::in_two_flavours::<super::Current, super::Blocking>(
                    super::PEER,
                    stringify!($case),
                    super::Setup::new(super::Size::Default).wait(super::WaitMode::Block),
                );
            })*
        }
        mod multi_thread_and_blocking {
            $(#[test]
            fn $case() {
                super::in_two_flavours::<super::Multi, super::Blocking>(
                    super::PEER,
                    stringify!($case),
                    super::Setup::new(super::Size::Default),
                );
            })*
        }
        mod blocking_and_current_thread_asleep {
            $(#[test]
            fn $case() {
                super::in_two_flavours::<super::Blocking, super::Current>(
                    super::PEER,
                    stringify!($case),
                    super::Setup::new(super::Size::Default).wait(super::WaitMode::Block),
                );
            })*
        }
        mod current_and_multi_thread {
            $(#[test]
            fn $case() {
                super::in_two_flavours::<super::Current, super::Multi>(
                    super::PEER,
                    stringify!($case),
                    super::Setup::new(super::Size::Default).eventfd(),
                );
            })*
        }
        mod multi_and_current_thread {
            $(#[test]
            fn $case() {
                super::in_two_flavours::<super::Multi, super::Current>(
                    super::PEER,
                    stringify!($case),
                    super::Setup::new(super::Size::Default).trusted(),
                );
            })*
        }
    };
}

tests::for_every_case!(every_case);
