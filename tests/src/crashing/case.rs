//! One case: a victim that stops at a step, and is killed there or goes on.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::ECONNRESET;
use nix::sys::signal::Signal;
use shmipc_core::error::{ConnectError, HandshakeError, OsError, SessionError};
use shmipc_core::steps::Step;

use super::ledger::{Counts, Ledger};
use super::neighbour::Neighbour;
use super::survivor::{Survivor, Testimony, start_survivor};
use super::talk::{Failure, probe};
use super::victim::Orders;
use super::{Ending, Manner, Side};
use crate::blocking::Blocking;
use crate::child::Peer;
use crate::deadline::patience;
use crate::flavour::Flavour;
use crate::proc::Held;
use crate::tokio::{CurrentThread, Kind, MultiThread, Tokio};

/// What happens where the victim stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// `SIGKILL`.
    Kill,
    /// `SIGCONT` after a while; `SIGKILL` after some more sessions, at whatever moment.
    Stall,
}

/// A mistake that the test is to find: each must make it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// The survivor does not learn of the death (nobody dies).
    Deaf,
    /// The survivor keeps its session.
    Leaks,
    /// A message that the dead has sent is missing.
    Loses,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where the victim stops.
    pub step: Step,
    /// How often it gets there before it does.
    pub nth: u32,
    /// Which end it is.
    pub side: Side,
    /// What happens then.
    pub blow: Blow,
    /// Its flavour, and the survivor's.
    pub flavours: [&'static str; 2],
    /// What both have in common.
    pub manner: Manner,
    /// How long it stands still, at least.
    pub rest: Duration,
    /// Sessions that are to be whole after it went on, the one in which it stopped first.
    pub whole: u64,
    /// What is to be found.
    pub twin: Option<Twin>,
}

/// What a case has come to.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// How long it took the survivor's call to fail; none if no call of it was concerned.
    pub learned: Option<Learned>,
    /// Sessions that were whole.
    pub whole: u64,
}

/// How long it took a survivor to learn of a death.
#[derive(Clone, Copy, Debug)]
pub struct Learned {
    /// Since before the kill.
    pub since_kill: Duration,
    /// Since the victim was dead and reaped.
    pub since_death: Duration,
}

/// Whether a victim on that side comes to that step in such sessions.
pub fn is_reached_by(step: Step, side: Side, ending: Ending) -> bool {
    use Step::*;
    match step {
        ResetWritten => ending == Ending::Reset,
        StopWritten => ending == Ending::Stop,
        ReadyUnsent | ReadySent => side == Side::Client,
        ClaimUnsent | ClaimSent | OfferUnsent | OfferSent | YieldUnsent | YieldSent
        | ServingUnsent | ServingSent | ReleaseUnsent | ReleaseSent => false,
        _ => true,
    }
}

impl Case {
    /// Does all of it. `program` is what obeys when it is told `victim`.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run(&self, program: &str, neighbour: &Neighbour) -> Result<Account, String> {
        match self.flavours[1] {
            Blocking::NAME => self.run_against::<Blocking>(program, neighbour),
            CurrentThread::NAME => self.run_against::<Tokio<CurrentThread>>(program, neighbour),
            _ => self.run_against::<Tokio<MultiThread>>(program, neighbour),
        }
    }

    /// Looks until `condition` holds.
    fn until(&self, what: &str, condition: impl FnMut() -> bool) -> Result<(), String> {
        self.until_unless(None, what, condition)
    }

    /// The same, of what never comes with this twin, and is not waited for as long.
    fn until_unless(
        &self,
        twin: Option<Twin>,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), String> {
        let in_vain = twin.is_some() && self.twin == twin;
        let patience = if in_vain { Duration::from_millis(300) } else { patience() };
        let deadline = Instant::now() + patience;
        while !condition() {
            if Instant::now() > deadline {
                return Err(format!("in vain: {what}"));
            }
            thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    fn run_against<F: Flavour>(
        &self,
        program: &str,
        neighbour: &Neighbour,
    ) -> Result<Account, String> {
        let us = std::process::id();
        let before = Held::by(us);
        let directory = tempfile::tempdir().expect("a directory");
        let (path, ledger) = (directory.path().join("socket"), directory.path().join("ledger"));
        std::fs::write(&ledger, []).expect("the ledger");
        let orders = Orders {
            side: self.side,
            flavour: self.flavours[0].to_owned(),
            manner: self.manner,
            step: self.step,
            nth: self.nth,
            path: path.clone(),
            ledger: ledger.clone(),
        };
        let arguments = orders.to_arguments();
        let arguments: Vec<&str> =
            ["victim"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let leaks = self.twin == Some(Twin::Leaks);
        let survivor =
            |path: &Path| start_survivor::<F>(self.side.other(), self.manner, path.into(), leaks);
        // The server first.
        let (mut victim, survivor) = match self.side {
            Side::Client => {
                let survivor = survivor(&path);
                (Peer::start(program, &arguments), survivor)
            }
            Side::Server => {
                let mut victim = Peer::start(program, &arguments);
                victim.line("ready");
                (victim, survivor(&path))
            }
        };
        let result = self.strike(&mut victim, survivor, &path, &ledger, neighbour);
        drop(victim);
        let account = result?;
        let mut now = before;
        self.until_unless(Some(Twin::Leaks), "descriptors and mappings are what they were", || {
            now = Held::by(us);
            now == before
        })
        .map_err(|error| format!("{error}: {before:?} before, {now:?} now"))?;
        Ok(account)
    }

    /// Waits for the victim to stop, and so on.
    fn strike(
        &self,
        victim: &mut Peer,
        survivor: Survivor,
        path: &Path,
        ledger: &Path,
        neighbour: &Neighbour,
    ) -> Result<Account, String> {
        let whole = || survivor.whole.load(std::sync::atomic::Ordering::Relaxed);
        let mut stopped = Ok(false);
        self.until("the victim reaches its step", || {
            stopped = victim.has_stopped();
            stopped != Ok(false)
        })?;
        stopped?;
        neighbour.goes_on();
        thread::sleep(self.rest);
        if self.blow == Blow::Stall {
            let goal = whole() + self.whole;
            victim.signal(Signal::SIGCONT);
            self.until("sessions go on when the victim does", || {
                whole() >= goal || survivor.thread.is_finished()
            })?;
        }
        // Whoever finds no socket learns of the death as well.
        let killed = Instant::now();
        if self.side == Side::Server {
            // Nobody can connect any more, so nobody tries again until its time-out.
            std::fs::remove_file(path).expect("the socket of the victim");
        }
        if self.twin != Some(Twin::Deaf) {
            victim.kill();
        }
        let dead = Instant::now();
        if self.side == Side::Client && self.twin != Some(Twin::Deaf) {
            probe(path, self.manner.bell);
        }
        self.until_unless(Some(Twin::Deaf), "the survivor learns of it", || {
            survivor.thread.is_finished()
        })?;
        let testimony =
            survivor.thread.join().map_err(|panic| format!("it panicked: {panic:?}"))?;
        neighbour.goes_on();
        let counts = Ledger::read(ledger);
        let learned = match &testimony {
            Some(testimony) => self.judge(testimony, counts, [killed, dead])?,
            // Of a handshake that nobody has asked for.
            None => None,
        };
        Ok(Account { learned, whole: whole() })
    }

    /// Whether what the survivor says goes with what the victim has noted; how long it took to learn.
    fn judge(
        &self,
        testimony: &Testimony,
        mut victim: Counts,
        [killed, dead]: [Instant; 2],
    ) -> Result<Option<Learned>, String> {
        let at = testimony.fault.at;
        let Some(since_kill) = at.checked_duration_since(killed) else {
            return Err(format!("before anybody died: {:?}", testimony.fault.error));
        };
        let learned = Learned { since_kill, since_death: at.saturating_duration_since(dead) };
        match &testimony.fault.error {
            // It is gone, and has nothing to say.
            Failure::Connect(ConnectError::Unreachable { .. }) => return Ok(None),
            Failure::Connect(ConnectError::Handshake(
                HandshakeError::Closed | HandshakeError::Os(OsError { code: ECONNRESET, .. }),
            )) => {}
            Failure::Session(SessionError::PeerDied) => {}
            error => return Err(format!("the wrong error: {error:?}")),
        }
        if self.twin == Some(Twin::Loses) {
            victim.sent += 1;
            victim.begun = victim.begun.max(victim.sent);
        }
        let ours = testimony.counts;
        let all = format!("victim {victim:?}, survivor {ours:?}");
        if matches!(testimony.fault.error, Failure::Connect(_)) {
            return Ok(Some(learned));
        }
        if victim.session != ours.session {
            return Err(format!("not in the same session: {all}"));
        }
        if ours.seen < victim.sent {
            return Err(format!("lost: {all}"));
        }
        if ours.seen > victim.begun || victim.seen > ours.begun {
            return Err(format!("never sent: {all}"));
        }
        if testimony.not_seen.is_some_and(|number| victim.seen > number) {
            return Err(format!("said not to be seen: {:?}, {all}", testimony.not_seen));
        }
        let in_send = victim.begun == victim.sent + 1 && self.blow == Blow::Kill;
        match self.step {
            // Inside of a call that sends a message, no other record is published.
            Step::TailPublished if in_send && ours.seen != victim.begun => {
                Err(format!("published and not delivered: {all}"))
            }
            Step::InlineWritten | Step::ExtentWritten if in_send && ours.seen != victim.sent => {
                Err(format!("delivered and not published: {all}"))
            }
            _ => Ok(Some(learned)),
        }
    }
}
