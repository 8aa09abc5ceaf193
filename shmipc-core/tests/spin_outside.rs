//! A thread that spins beside an event loop: the loop does not, and is woken all the same.

mod raw;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shmipc_core::handle::Driver;

const SLICE: Duration = Duration::from_micros(1);

fn is_readable(driver: &Driver) -> bool {
    let mut fds = [PollFd::new(driver.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
}

/// One test: a process with two CPUs admits one spinning thread.
#[test]
fn beside_a_loop() {
    the_loop_leaves_it_to_the_thread();
    the_loop_is_woken_while_the_thread_spins();
}

fn the_loop_leaves_it_to_the_thread() {
    let [session, _peer] = raw::pair();
    let driver = session.driver();
    assert!(!driver.spin_budget().is_zero());
    drop(session.spin_briefly(SLICE));
    assert!(!driver.spin_budget().is_zero(), "a task of the loop");
    drop(session.spin_outside(SLICE));
    assert!(driver.spin_budget().is_zero());
    let deadline = Instant::now() + Duration::from_secs(60);
    while driver.spin_budget().is_zero() {
        assert!(Instant::now() < deadline, "nobody spins any more");
    }
}

/// Nothing comes from the peer, and still the loop gets to look at its timers.
fn the_loop_is_woken_while_the_thread_spins() {
    let [session, _peer] = raw::pair();
    let driver = session.driver();
    driver.try_drive();
    assert!(driver.arm(), "nothing has come");
    assert!(!is_readable(&driver));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_readable(&driver) {
        assert!(Instant::now() < deadline, "it is woken");
        drop(session.spin_outside(SLICE));
    }
    driver.try_drive();
    assert!(!is_readable(&driver), "once");
}
