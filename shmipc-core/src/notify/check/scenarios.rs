//! Cases in which nothing may go wrong.

use std::time::Instant;

use super::explore::{Outcome, explore};
use super::model::{Bell, Op, Publish, Scenario};

/// Our threads are called L, F and B.
pub(super) const L: u8 = 0;
pub(super) const F: u8 = 1;
pub(super) const B: u8 = 2;

pub(super) const RECORD: Op = Op::Record { deadline: false };
pub(super) const RECORD_UNTIL: Op = Op::Record { deadline: true };

/// Nothing happens, over an eventfd; everything else is said by the case.
pub(super) const IDLE: Scenario = Scenario {
    threads: [&[], &[], &[]],
    producers: [&[], &[]],
    bell: Bell::Eventfd,
    active: false,
    reads_bell: false,
    follower_looks: false,
    stops: true,
    weak: None,
};

pub(super) fn holds(name: &str, scenario: &Scenario) {
    let start = Instant::now();
    match explore(scenario) {
        Outcome::Holds { states } => println!("{name}: {states} states, {:.1?}", start.elapsed()),
        Outcome::Endless { states, cyclic } => {
            panic!("{name}: {cyclic} of {states} states never end")
        }
        Outcome::Broken { violation, trace, .. } => {
            panic!("{name}: {violation:?} after {} steps:\n{}", trace.len(), trace.join("\n"))
        }
    }
}

#[test]
fn probe() {
    let three = Scenario {
        threads: [&[RECORD_UNTIL], &[RECORD], &[RECORD]],
        producers: [&[Publish::Record(F)], &[Publish::Record(B)]],
        ..IDLE
    };
    holds(
        "L space, F record",
        &Scenario {
            threads: [&[Op::Space { need: 1, deadline: false }], &[RECORD], &[]],
            producers: [&[Publish::Head(1)], &[Publish::Record(F)]],
            ..IDLE
        },
    );
    holds(
        "two space + B",
        &Scenario {
            threads: [
                &[Op::Space { need: 3, deadline: true }],
                &[Op::Space { need: 1, deadline: false }],
                &[Op::Poll],
            ],
            producers: [&[Publish::Head(1)], &[Publish::Head(1)]],
            ..IDLE
        },
    );
    holds(
        "inline poller",
        &Scenario {
            threads: [&[RECORD], &[RECORD], &[Op::Poll, Op::Poll]],
            producers: [&[Publish::Record(L)], &[Publish::Record(F)]],
            ..IDLE
        },
    );
    holds("three record waiters", &three);
    holds("three record waiters, follower looks", &Scenario { follower_looks: true, ..three });
    holds("three record waiters, socket", &Scenario { bell: Bell::Socket, ..three });
}
