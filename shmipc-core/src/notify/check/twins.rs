//! Each rule weakened, in a case that holds as long as it is not.

use super::rules::{Bell, Op, Publish, Scenario, Violation, Weakening};
use super::scenarios::{B, F, IDLE, INLINE_POLLER, L, holds};
use crate::testing::explore::{Outcome, explore};

/// Nobody stops for ever.
const CALM: Scenario = Scenario { stops: false, ..IDLE };

/// How a twin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    Asleep(u8),
    Abandoned(u8),
    Endless,
}

/// The case holds, and every twin of it fails in its way.
fn twins(name: &str, scenario: &Scenario, twins: &[(Weakening, Fails)]) {
    holds(name, scenario);
    for (weakening, expected) in twins {
        fails(&Scenario { weak: Some(*weakening), ..*scenario }, *expected);
    }
}

fn fails(scenario: &Scenario, expected: Fails) {
    let weakening = scenario.weak.expect("a twin");
    let found = match explore(scenario) {
        Outcome::Holds { states } => panic!("{weakening:?} holds, {states} states"),
        Outcome::Endless { states, .. } => {
            println!("  {weakening:?}: a cycle, {states} states");
            Fails::Endless
        }
        Outcome::Broken { violation, trace } => {
            println!("  {weakening:?}: {violation:?} after {} steps", trace.len());
            if std::env::var_os("SHMIPC_TRACES").is_some() {
                println!("    {}", trace.join("\n    "));
            }
            match violation {
                Violation::Asleep(t) => Fails::Asleep(t as u8),
                Violation::Abandoned(t) => Fails::Abandoned(t as u8),
                Violation::Stuck(t) => panic!("{weakening:?}: thread {t} is stuck"),
            }
        }
    };
    assert_eq!(found, expected, "{weakening:?}");
}

#[test]
fn one_waiter() {
    let one = Scenario { threads: [&[], &[Op::Record], &[]], ..CALM };
    let case = Scenario { producers: [&[], &[Publish::Record(F)]], ..one };
    twins(
        "one waiter, one record",
        &case,
        &[
            (Weakening::CheckBeforePublish, Fails::Asleep(F)),
            (Weakening::LookBeforeArming, Fails::Asleep(F)),
        ],
    );
    let case =
        Scenario { producers: [&[Publish::Record(F)], &[Publish::Record(F)]], stops: true, ..one };
    twins(
        "one waiter, one publisher stops",
        &case,
        &[
            (Weakening::CheckFromOwnOld, Fails::Asleep(F)),
            (Weakening::CheckedBeforeRing, Fails::Asleep(F)),
        ],
    );
    // Nobody stops for ever: then the smaller interval is enough.
    let weak = Some(Weakening::CheckFromOwnOld);
    holds("own interval, nobody stops", &Scenario { weak, stops: false, ..case });
    let case = Scenario { producers: [&[], &[Publish::Record(L)]], bell: Bell::Socket, ..one };
    twins("a record for somebody else", &case, &[(Weakening::BellNeverRead, Fails::Endless)]);
}

#[test]
fn two_record_waiters() {
    let two = Scenario {
        threads: [&[Op::Record], &[Op::Record], &[]],
        producers: [&[Publish::Record(L)], &[Publish::Record(F)]],
        ..CALM
    };
    twins(
        "two waiters, two records",
        &two,
        &[
            (Weakening::NoLookAtResult, Fails::Asleep(F)),
            (Weakening::LookAtDrained, Fails::Asleep(F)),
        ],
    );
    let one_record = Scenario { producers: [&[], &[Publish::Record(F)]], ..two };
    twins(
        "two waiters, one record",
        &one_record,
        &[
            (Weakening::LeaverWakesNobody, Fails::Abandoned(L)),
            (Weakening::OnlyTheLeaderPassesOn, Fails::Abandoned(L)),
        ],
    );
    let deadline = Scenario { threads: [&[Op::Record], &[Op::RecordUntil], &[]], ..CALM };
    twins("a deadline passes", &deadline, &[(Weakening::LeaverWakesNobody, Fails::Abandoned(L))]);
}

#[test]
fn a_bystander() {
    let poller = Scenario {
        threads: [&[], &[Op::Record], &[Op::Poll]],
        producers: [&[], &[Publish::Record(F)]],
        ..CALM
    };
    twins(
        "a waiter and a poller",
        &poller,
        &[(Weakening::BystanderArmsAndNoKick, Fails::Asleep(F))],
    );
    twins(
        "a poller that reads the socket",
        &Scenario { bell: Bell::Socket, reads_bell: true, ..poller },
        &[(Weakening::BellTakenWithoutKick, Fails::Asleep(F))],
    );
    let space = Scenario {
        threads: [&[], &[Op::Space(1)], &[Op::Poll]],
        producers: [&[], &[Publish::Head(1)]],
        ..poller
    };
    twins(
        "a space waiter and a poller that reads the socket",
        &Scenario { bell: Bell::Socket, reads_bell: true, ..space },
        &[(Weakening::BellTakenWithoutSettling, Fails::Asleep(F))],
    );
    twins(
        "a waiter and an active poller",
        &Scenario { active: true, ..poller },
        &[(Weakening::RetireWithoutLook, Fails::Asleep(F))],
    );
}

/// Neither of the two breaks records by itself, so the twins that break pair them.
#[test]
fn alone_these_do_not_fail() {
    let calm_poller = Scenario { stops: false, ..INLINE_POLLER };
    let weak = Some(Weakening::BystanderArms);
    holds("bystander arms, wakers kick", &Scenario { weak, ..calm_poller });
    // But a publisher that loads the word before the last completed check relies on a look by
    // whoever moves the word.
    let weak = Some(Weakening::BystanderArmsAndEventLoadedFirst);
    fails(&Scenario { weak, ..calm_poller }, Fails::Asleep(L));
    let weak = Some(Weakening::NoKick);
    holds("records only, no kick", &Scenario { weak, ..calm_poller });
}

#[test]
fn records_and_space() {
    let case = Scenario {
        threads: [&[Op::Space(1)], &[Op::Record], &[]],
        producers: [&[], &[Publish::Record(F)]],
        ..CALM
    };
    twins(
        "a space and a record waiter",
        &case,
        &[(Weakening::LeaderArmsOnlyItsOwn, Fails::Asleep(F))],
    );
    let case = Scenario {
        threads: [&[Op::Space(1)], &[], &[Op::Record]],
        producers: [&[Publish::Head(1)], &[Publish::Record(B)]],
        ..CALM
    };
    twins(
        "the space waiter goes inside",
        &case,
        &[
            (Weakening::NoKick, Fails::Asleep(L)),
            (Weakening::DecideBeforeDelivery, Fails::Asleep(L)),
        ],
    );
}

#[test]
fn the_front_of_the_queue() {
    let heads: [&'static [Publish]; 2] = [&[Publish::Head(1)], &[Publish::Head(1)]];
    let two =
        Scenario { threads: [&[Op::Space(3)], &[Op::Space(1)], &[]], producers: heads, ..CALM };
    twins(
        "two space waiters",
        &two,
        &[
            (Weakening::OwnNeedInTheWord, Fails::Asleep(F)),
            (Weakening::NoKick, Fails::Asleep(F)),
            (Weakening::DecideBeforeDelivery, Fails::Asleep(F)),
        ],
    );
    let cancel = Scenario { threads: [&[Op::SpaceUntil(3)], &[Op::Space(1)], &[]], ..two };
    twins("the first gives up", &cancel, &[(Weakening::CancelDoesNotSettle, Fails::Asleep(F))]);
    let control = Scenario { threads: [&[Op::Space(1)], &[], &[Op::Control]], ..two };
    twins("its need moves", &control, &[(Weakening::FrontNotRearmed, Fails::Asleep(L))]);
}

#[test]
fn an_event_loop() {
    let alone = Scenario {
        threads: [&[Op::LoopRecord], &[], &[]],
        producers: [&[Publish::Record(L)], &[]],
        ..CALM
    };
    twins(
        "a loop alone",
        &alone,
        &[
            (Weakening::LoopSleepsUnarmed, Fails::Asleep(L)),
            (Weakening::LoopArmsWithoutLook, Fails::Asleep(L)),
        ],
    );
    let beside = Scenario {
        threads: [&[Op::LoopRecord], &[Op::Record], &[]],
        producers: [&[Publish::Record(F)], &[Publish::Record(L)]],
        ..CALM
    };
    twins(
        "a loop beside a waiter",
        &beside,
        &[
            (Weakening::LeaverForgetsTheLoop, Fails::Asleep(L)),
            (Weakening::LeaverArmsWithoutLook, Fails::Asleep(L)),
            (Weakening::LoopTakesAndDoesNotKick, Fails::Asleep(F)),
        ],
    );
    let poller = Scenario {
        threads: [&[Op::LoopRecord], &[], &[Op::Poll]],
        producers: [&[], &[Publish::Record(L)]],
        active: true,
        ..CALM
    };
    twins(
        "a loop and an active poller",
        &poller,
        &[
            (Weakening::RetireForgetsTheLoop, Fails::Asleep(L)),
            (Weakening::RetireWithoutLook, Fails::Asleep(L)),
        ],
    );
    let reads = Scenario { bell: Bell::Socket, reads_bell: true, active: false, ..poller };
    twins(
        "a loop and a poller that reads the socket",
        &reads,
        &[(Weakening::BellTakenWithoutKick, Fails::Asleep(L))],
    );
}

/// The kernel refuses to ring, once or twice.
#[test]
fn a_refused_bell() {
    let one = Scenario {
        threads: [&[Op::Record], &[], &[]],
        producers: [&[Publish::Record(L)], &[]],
        bell: Bell::Socket,
        refusals: 2,
        ..CALM
    };
    twins(
        "one waiter, refused bells",
        &one,
        &[
            (Weakening::RefusedBellCountsAsRung, Fails::Asleep(L)),
            (Weakening::RefusedBellIsNotOwed, Fails::Asleep(L)),
        ],
    );
    let space = Scenario {
        threads: [&[Op::Space(1)], &[Op::Record], &[]],
        producers: [&[Publish::Head(1)], &[Publish::Record(F)]],
        ..one
    };
    let counts = (Weakening::RefusedBellCountsAsRung, Fails::Asleep(F));
    twins("a space and a record waiter, refused bells", &space, &[counts]);
    // The peer is preempted for ever between publication and ring; others ring for it.
    let stops = Scenario {
        threads: [&[Op::Record], &[Op::Record], &[]],
        producers: [&[Publish::Record(L)], &[Publish::Record(F)]],
        stops: true,
        refusals: 1,
        ..one
    };
    holds("two waiters, a refused bell, one publisher stops", &stops);
}
