//! Cases in which nothing may go wrong.

use std::time::Instant;

use super::rules::{Bell, Op, Publish, Scenario};
use crate::testing::explore::{Outcome, explore};

/// Our threads are called L, F and B.
pub(super) const L: u8 = 0;
pub(super) const F: u8 = 1;
pub(super) const B: u8 = 2;

/// Nothing happens, over an eventfd; everything else is said by the case.
pub(super) const IDLE: Scenario = Scenario {
    threads: [&[], &[], &[]],
    producers: [&[], &[]],
    bell: Bell::Eventfd,
    active: false,
    reads_bell: false,
    follower_looks: false,
    stops: true,
    refusals: 0,
    weak: None,
};

const THREE_WAITERS: Scenario = Scenario {
    threads: [&[Op::RecordUntil], &[Op::Record], &[Op::Record]],
    producers: [&[Publish::Record(F)], &[Publish::Record(B)]],
    ..IDLE
};

pub(super) const INLINE_POLLER: Scenario = Scenario {
    threads: [&[Op::Record], &[Op::Record], &[Op::Poll]],
    producers: [&[Publish::Record(L)], &[Publish::Record(F)]],
    ..IDLE
};

const POLLS_TWICE: [&[Op]; 3] = [&[Op::Record], &[Op::Record], &[Op::Poll, Op::Poll]];

/// Visits all states of the case.
pub(super) fn holds(name: &str, scenario: &Scenario) {
    let start = Instant::now();
    match explore(scenario) {
        Outcome::Holds { states } => println!("{name}: {states} states, {:.1?}", start.elapsed()),
        Outcome::Endless { states, cyclic } => {
            panic!("{name}: {cyclic} of {states} states never end")
        }
        Outcome::Broken { violation, trace } => {
            panic!("{name}: {violation:?} after {} steps:\n{}", trace.len(), trace.join("\n"))
        }
    }
}

/// The same for a case that takes long: only if it is asked for.
fn holds_too(name: &str, scenario: &Scenario) {
    if std::env::var_os("SHMIPC_EXHAUSTIVE").is_some() {
        holds(name, scenario);
    } else {
        println!("{name}: only with SHMIPC_EXHAUSTIVE=1");
    }
}

#[test]
fn three_record_waiters() {
    let one_publisher = Scenario {
        producers: [&[Publish::Record(F), Publish::Record(B)], &[]],
        bell: Bell::Socket,
        ..THREE_WAITERS
    };
    holds("three record waiters, one publisher, socket", &one_publisher);
    holds_too("three record waiters", &THREE_WAITERS);
    holds_too("three record waiters, socket", &Scenario { bell: Bell::Socket, ..THREE_WAITERS });
}

#[test]
fn three_record_waiters_and_three_records() {
    let producers: [&[Publish]; 2] =
        [&[Publish::Record(F), Publish::Record(L)], &[Publish::Record(B)]];
    holds_too("three waiters, three records", &Scenario { producers, ..THREE_WAITERS });
    let socket = Scenario { producers, bell: Bell::Socket, ..THREE_WAITERS };
    holds_too("three waiters, three records, socket", &socket);
}

#[test]
fn every_waiter_has_a_deadline() {
    let threads: [&[Op]; 3] = [&[Op::RecordUntil], &[Op::RecordUntil], &[Op::RecordUntil]];
    holds_too("every waiter has a deadline", &Scenario { threads, ..THREE_WAITERS });
    holds(
        "two waiters, each with a deadline",
        &Scenario {
            threads: [&[Op::RecordUntil], &[Op::RecordUntil], &[]],
            producers: [&[Publish::Record(L)], &[Publish::Record(F)]],
            ..IDLE
        },
    );
}

#[test]
fn two_idle_waiters_beside_a_busy_one() {
    let busy = Scenario {
        threads: [&[Op::Record], &[Op::Record], &[Op::Record, Op::Record]],
        producers: [&[Publish::Record(B)], &[Publish::Record(B)]],
        ..IDLE
    };
    holds_too("two idle waiters, a busy one", &busy);
    let one_idle = Scenario { threads: [&[Op::Record], &[], &[Op::Record, Op::Record]], ..busy };
    holds("one idle waiter, a busy one", &one_idle);
    holds("one idle waiter, a busy one, active", &Scenario { active: true, ..one_idle });
}

#[test]
fn two_waiters_and_an_inline_poller() {
    holds("inline poller", &INLINE_POLLER);
    let twice = Scenario { threads: POLLS_TWICE, ..INLINE_POLLER };
    holds_too("inline poller, twice", &twice);
    holds_too("inline poller, twice, socket", &Scenario { bell: Bell::Socket, ..twice });
}

#[test]
fn two_waiters_and_an_active_poller() {
    let active = Scenario { active: true, ..INLINE_POLLER };
    holds("active poller", &active);
    let twice = Scenario { threads: POLLS_TWICE, ..active };
    holds_too("active poller, twice", &twice);
    holds_too("active poller, twice, socket", &Scenario { bell: Bell::Socket, ..twice });
    holds_too("three active waiters", &Scenario { active: true, ..THREE_WAITERS });
}

#[test]
fn a_bystander_reads_the_socket_and_kicks() {
    let poller = Scenario { bell: Bell::Socket, reads_bell: true, ..INLINE_POLLER };
    holds_too("bystander reads the socket", &poller);
    let three = Scenario { bell: Bell::Socket, reads_bell: true, ..THREE_WAITERS };
    holds_too("bystander reads the socket, three waiters", &three);
    let space = Scenario {
        threads: [&[Op::Space(2)], &[Op::Space(1)], &[Op::Poll]],
        producers: [&[Publish::Head(1)], &[Publish::Head(2)]],
        ..poller
    };
    holds_too("bystander reads the socket, two space waiters", &space);
    let both = Scenario {
        threads: [&[Op::Space(1)], &[Op::Record], &[Op::Poll]],
        producers: [&[Publish::Head(1)], &[Publish::Record(F)]],
        ..poller
    };
    holds("bystander reads the socket, space, record", &both);
}

#[test]
fn a_follower_may_look_at_the_tail() {
    holds("follower looks, inline poller", &Scenario { follower_looks: true, ..INLINE_POLLER });
    holds_too("follower looks, three waiters", &Scenario { follower_looks: true, ..THREE_WAITERS });
}

#[test]
fn space_large_first_with_a_deadline_and_a_bystander() {
    let large_first = Scenario {
        threads: [&[Op::SpaceUntil(3)], &[Op::Space(1)], &[Op::Poll]],
        producers: [&[Publish::Head(1)], &[Publish::Head(1)]],
        ..IDLE
    };
    holds("space, large first", &large_first);
    holds("space, large first, socket", &Scenario { bell: Bell::Socket, ..large_first });
}

#[test]
fn space_small_first_and_a_control_record_between() {
    holds_too(
        "space, small first, control",
        &Scenario {
            threads: [&[Op::Space(2)], &[Op::Space(1)], &[Op::Control, Op::Poll]],
            producers: [&[Publish::Head(2)], &[Publish::Head(2)]],
            ..IDLE
        },
    );
}

#[test]
fn space_beside_a_control_record_and_a_record_waiter() {
    let mixed = Scenario {
        threads: [&[Op::Space(1)], &[Op::Record], &[Op::Control]],
        producers: [&[Publish::Head(1), Publish::Record(F)], &[Publish::Head(1)]],
        ..IDLE
    };
    holds("space, control, record", &mixed);
    holds("space, control, record, socket", &Scenario { bell: Bell::Socket, ..mixed });
}

#[test]
fn space_beside_a_record() {
    let mixed = Scenario {
        threads: [&[Op::Space(1)], &[Op::Record], &[]],
        producers: [&[Publish::Head(1)], &[Publish::Record(F)]],
        ..IDLE
    };
    holds("space, record", &mixed);
    holds_too(
        "space, record, a poller that then waits",
        &Scenario {
            threads: [&[Op::Space(1)], &[Op::Record], &[Op::Poll, Op::RecordUntil]],
            ..mixed
        },
    );
}

#[test]
fn a_record_space_and_returns() {
    holds_too(
        "record, space, returns",
        &Scenario {
            threads: [&[Op::Record], &[Op::Space(1)], &[Op::Returns(1)]],
            producers: [&[Publish::Record(L), Publish::Head(1)], &[Publish::Returned(1)]],
            ..IDLE
        },
    );
    holds(
        "space, returns",
        &Scenario {
            threads: [&[], &[Op::Space(1)], &[Op::Returns(2)]],
            producers: [&[Publish::Head(1), Publish::Returned(1)], &[Publish::Returned(1)]],
            ..IDLE
        },
    );
}

#[test]
fn an_event_loop_outside() {
    let beside_a_thread = Scenario {
        threads: [&[Op::LoopRecord], &[Op::Record], &[]],
        producers: [&[Publish::Record(F)], &[Publish::Record(L)]],
        ..IDLE
    };
    holds("a loop, a record waiter", &beside_a_thread);
    holds("a loop, a record waiter, socket", &Scenario { bell: Bell::Socket, ..beside_a_thread });
    let deadline =
        Scenario { threads: [&[Op::LoopRecord], &[Op::RecordUntil], &[]], ..beside_a_thread };
    holds("a loop, a waiter with a deadline", &deadline);
    let space = Scenario {
        threads: [&[Op::LoopSpace(2)], &[Op::Record], &[]],
        producers: [&[Publish::Head(1), Publish::Record(F)], &[Publish::Head(1)]],
        ..IDLE
    };
    holds("a loop for space, a record waiter", &space);
    let waits_itself = Scenario {
        threads: [&[Op::LoopRecord, Op::Record, Op::LoopRecord], &[], &[]],
        producers: [&[Publish::Record(L), Publish::Record(L)], &[Publish::Record(L)]],
        ..IDLE
    };
    holds("a loop whose thread waits itself in between", &waits_itself);
}

#[test]
fn an_event_loop_that_only_drives() {
    let drives = Scenario {
        threads: [&[Op::LoopDrive], &[Op::Record], &[]],
        producers: [&[Publish::Record(F)], &[Publish::Record(L)]],
        ..IDLE
    };
    holds("a driver, a record waiter", &drives);
    let barging =
        Scenario { threads: [&[Op::LoopDrive], &[Op::Record], &[Op::RecordUntil]], ..drives };
    holds_too("a driver, two waiters", &barging);
    holds_too("a driver, two waiters, socket", &Scenario { bell: Bell::Socket, ..barging });
    let space = Scenario {
        threads: [&[Op::LoopDrive], &[Op::Space(2)], &[]],
        producers: [&[Publish::Head(1)], &[Publish::Head(1), Publish::Record(L)]],
        ..IDLE
    };
    holds("a driver, a space waiter", &space);
    let active = Scenario {
        threads: [&[Op::LoopDrive], &[Op::Poll], &[Op::Record]],
        producers: [&[Publish::Record(B)], &[Publish::Record(F)]],
        active: true,
        ..IDLE
    };
    holds_too("a driver, an active poller, a record waiter", &active);
    let polls = Scenario { threads: [&[Op::LoopDrive], &[Op::Poll, Op::Poll], &[]], ..active };
    holds("a driver, an active poller", &polls);
    let reads = Scenario { bell: Bell::Socket, reads_bell: true, active: false, ..polls };
    holds("a driver, a poller that reads the socket", &reads);
}
