//! The sessions of a set: each is driven when its descriptor says so, and armed before the set sleeps.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::time::Instant;

use shmipc_core::error::OsError;
use shmipc_core::handle::Driver;
use shmipc_core::link::Poller;
use slab::Slab;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Slab<Driven>,
    numbers: HashMap<Driver, usize>,
    /// Those that are not armed. A number may stand for one that is gone.
    awake: Vec<usize>,
    /// When sessions are to be driven although their descriptor is not readable.
    deadlines: BTreeSet<(Instant, usize)>,
}

#[derive(Debug)]
struct Driven {
    driver: Driver,
    /// Entries of the set that need it.
    entries: usize,
    /// It is in the list of those.
    awake: bool,
    deadline: Option<Instant>,
    /// Its descriptor is watched, until the session is over.
    watched: bool,
}

impl Sessions {
    /// One more entry needs the session. Its number stands in the poller's keys, as `key` makes them.
    pub(super) fn add(
        &mut self,
        driver: Driver,
        poller: &Poller,
        key: impl FnOnce(usize) -> u64,
    ) -> Result<usize, OsError> {
        if let Some(&number) = self.numbers.get(&driver) {
            self.all[number].entries += 1;
            return Ok(number);
        }
        let vacant = self.all.vacant_entry();
        let number = vacant.key();
        poller.add(driver.as_fd(), key(number))?;
        self.numbers.insert(driver.clone(), number);
        vacant.insert(Driven { driver, entries: 1, awake: true, deadline: None, watched: true });
        self.awake.push(number);
        Ok(number)
    }

    /// One entry less needs it.
    pub(super) fn remove(&mut self, number: usize, poller: &Poller) {
        let driven = &mut self.all[number];
        driven.entries -= 1;
        if driven.entries > 0 {
            return;
        }
        let driven = self.all.remove(number);
        self.numbers.remove(&driven.driver);
        if let Some(deadline) = driven.deadline {
            self.deadlines.remove(&(deadline, number));
        }
        if driven.watched {
            poller.remove(driven.driver.as_fd());
        }
    }

    pub(super) fn is_over(&self, number: usize) -> bool {
        self.all[number].driver.is_over()
    }

    /// Drives a session whose descriptor is readable.
    pub(super) fn drive(&mut self, number: usize, poller: &Poller) {
        let Some(driven) = self.all.get_mut(number) else { return };
        if let Some(deadline) = driven.deadline.take() {
            self.deadlines.remove(&(deadline, number));
        }
        driven.driver.try_drive();
        if driven.driver.is_over() {
            // From now on it would be readable for ever.
            if std::mem::take(&mut driven.watched) {
                poller.remove(driven.driver.as_fd());
            }
        } else if !std::mem::replace(&mut driven.awake, true) {
            self.awake.push(number);
        }
    }

    /// Drives those whose deadline has passed.
    pub(super) fn drive_due(&mut self, poller: &Poller) {
        if self.deadlines.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(&(deadline, number)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(deadline, number));
            self.drive(number, poller);
        }
    }

    /// Arms those that are quiet, and drives those that are not. True if all are armed.
    pub(super) fn arm(&mut self) -> bool {
        let Self { all, awake, deadlines, .. } = self;
        awake.retain(|&number| {
            let Some(driven) = all.get_mut(number).filter(|driven| driven.awake) else {
                return false;
            };
            if let Some(deadline) = driven.driver.next_deadline() {
                if let Some(old) = driven.deadline.replace(deadline) {
                    deadlines.remove(&(old, number));
                }
                deadlines.insert((deadline, number));
            }
            driven.awake = !driven.driver.arm();
            if driven.awake {
                driven.driver.try_drive();
            }
            driven.awake
        });
        awake.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}
