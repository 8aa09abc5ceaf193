//! The conformance suite over the blocking flavour: between threads and between processes, and the
//! cases that wait most in every way of waiting and waking.

use tests::blocking::Blocking;
use tests::conformance::{in_one_process, in_two_processes};
use tests::setup::{Setup, Size};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

macro_rules! between_threads {
    ($($case:ident)*) => {
        mod between_threads {
            $(#[test]
            fn $case() {
                super::in_one_process::<super::Blocking>(stringify!($case), super::DEFAULT);
            })*
        }
    };
}

macro_rules! between_processes {
    ($($case:ident)*) => {
        mod between_processes {
            $(#[test]
            fn $case() {
                super::in_two_processes::<super::Blocking>(super::PEER, stringify!($case), super::DEFAULT);
            })*
        }
    };
}

macro_rules! trusted {
    ($($case:ident)*) => {
        mod trusted_with_eventfd_bell {
            $(#[test]
            fn $case() {
                let setup = super::DEFAULT.eventfd();
                super::in_two_processes::<super::Blocking>(super::PEER, stringify!($case), setup);
            })*
        }
    };
}

const DEFAULT: Setup = Setup::new(Size::Default);

tests::for_every_case!(between_threads);
tests::for_every_case!(between_processes);
tests::for_every_case!(trusted);
