//! Window updates: how many can be unread at one time, and who can be stopped by whom.
//!
//! The control reserve counts on one unread update per stream and eight per session. All states of a
//! small window are visited; amounts are in units of 64 bytes.

use std::collections::{HashSet, VecDeque};

use crate::error::PeerMisbehaved;
use crate::session::{RecvCredit, SendCredit};

const UNIT: u64 = 64;

/// A window and what is weak about it.
#[derive(Clone, Copy)]
struct Rule {
    window: u32,
    /// An update is due when more than this is held back.
    due: u32,
    /// A message may start whenever any credit is left.
    overdraft: bool,
    /// Largest charge of a message.
    largest: u64,
}

#[derive(Clone)]
struct State {
    send: SendCredit,
    recv: RecvCredit,
    /// Charges of what has been sent and not taken.
    unread: VecDeque<u64>,
    /// Updates that the sender has not read.
    updates: VecDeque<u64>,
}

impl State {
    /// What makes a difference: everything but the sums so far.
    fn key(&self) -> (i64, VecDeque<u64>, Vec<u64>) {
        let (_, taken) = self.recv.sums();
        (
            self.send.left(),
            self.unread.clone(),
            self.updates.iter().map(|grant| grant - taken).collect(),
        )
    }
}

/// The most updates that are unread at one time, up to `enough`.
fn most_unread(rule: Rule, start: RecvCredit, enough: usize) -> usize {
    let recv = start.with_due(rule.due);
    let send = SendCredit::stream(rule.window).with_due(rule.due);
    let first = State { send, recv, unread: VecDeque::new(), updates: VecDeque::new() };
    let mut seen = HashSet::from([first.key()]);
    let (mut states, mut most) = (vec![first], 0);
    while let Some(state) = states.pop() {
        most = most.max(state.updates.len());
        if most >= enough {
            break;
        }
        let mut next = Vec::new();
        for charge in (UNIT..=rule.largest).step_by(UNIT as usize) {
            let left = state.send.left();
            if left >= charge as i64 || rule.overdraft && left > 0 {
                let mut state = state.clone();
                state.send.take(charge);
                state.recv.charge(charge, rule.largest).expect("nobody honest is accused");
                state.unread.push_back(charge);
                next.push(state);
            }
        }
        let mut taking = state.clone();
        if let Some(charge) = taking.unread.pop_front() {
            taking.recv.take(charge);
            taking.updates.extend(taking.recv.due());
            next.push(taking);
        }
        let mut reading = state;
        if let Some(grant) = reading.updates.pop_front() {
            reading.send.update(grant).expect("an honest update");
            next.push(reading);
        }
        states.extend(next.into_iter().filter(|state| seen.insert(state.key())));
    }
    most
}

const STREAM: Rule = Rule { window: 512, due: 256, overdraft: false, largest: 256 };
const SESSION: Rule = Rule { window: 1024, due: 128, overdraft: true, largest: 128 };

#[test]
fn one_update_of_a_stream_is_unread() {
    assert_eq!(most_unread(STREAM, RecvCredit::stream(STREAM.window), 9), 1);
}

#[test]
fn a_stream_updates_beyond_half_of_its_window_not_at_half() {
    // More than half less one is half or more.
    let weak = Rule { due: STREAM.due - 1, ..STREAM };
    assert_eq!(most_unread(weak, RecvCredit::stream(weak.window), 9), 2);
}

#[test]
fn a_stream_never_overdraws() {
    let weak = Rule { overdraft: true, ..STREAM };
    assert_eq!(most_unread(weak, RecvCredit::stream(weak.window), 2), 2);
}

#[test]
fn eight_updates_of_a_session_are_unread_at_most() {
    assert!(most_unread(SESSION, RecvCredit::session(SESSION.window), 9) <= 8);
}

#[test]
fn a_session_updates_beyond_an_eighth_not_less() {
    let weak = Rule { due: SESSION.due / 4, ..SESSION };
    assert!(most_unread(weak, RecvCredit::session(weak.window), 9) > 8);
}

/// How many bytes a lively stream gets through while others, stalled, hold `stalled` of the window.
fn beside_stalled(stalled: u64, due: Option<u32>) -> u64 {
    let window = 8192;
    let mut send = SendCredit::session(window);
    let mut recv = RecvCredit::session(window);
    if let Some(due) = due {
        (send, recv) = (send.with_due(due), recv.with_due(due));
    }
    send.take(stalled);
    recv.charge(stalled, 0).unwrap();
    let mut through = 0;
    while send.left() > 0 && through < 100 * u64::from(window) {
        send.take(UNIT);
        recv.charge(UNIT, UNIT).unwrap();
        recv.take(UNIT);
        if let Some(grant) = recv.due() {
            send.update(grant).unwrap();
        }
        through += UNIT;
    }
    through
}

#[test]
fn stalled_streams_stop_others_only_with_seven_eighths() {
    assert!(beside_stalled(8192 / 8 * 7 - UNIT, None) >= 100 * 8192);
    assert!(beside_stalled(8192 / 2, Some(8192 / 2)) <= 8192, "with updates at half they would");
}

/// Grants are used in any order. So the record that overdrew may come first, and one that came when
/// no credit was left may be honest: only sums can accuse.
#[test]
fn an_overrun_is_judged_by_sums() {
    let (window, largest) = (512, 4096);
    let mut send = SendCredit::session(window);
    send.take(448);
    assert!(send.left() > 0);
    send.take(largest);
    let mut recv = RecvCredit::session(window);
    let mut accused = 0;
    for charge in [largest, 448] {
        let (charged, _) = recv.sums();
        accused += u32::from(charged >= u64::from(window));
        recv.charge(charge, largest).expect("an honest sender");
    }
    assert_eq!(accused, 1, "a reader that asks for credit at each record accuses it");
    assert_eq!(recv.charge(UNIT + 64, largest), Err(PeerMisbehaved::CreditOverrun));
}
