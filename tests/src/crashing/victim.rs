//! The process that is killed. It never ends by itself, unless something is wrong.

use std::path::{Path, PathBuf};

use shmipc_core::steps::{Step, stop_at};

use super::ledger::Ledger;
use super::talk::Talk;
use super::{Manner, Side, step_named};
use crate::blocking::Blocking;
use crate::flavour::Flavour;
use crate::tokio::{CurrentThread, Kind, MultiThread, Tokio};

/// What a victim is told.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Which end it is.
    pub side: Side,
    /// Its flavour's name.
    pub flavour: String,
    /// What it has in common with the survivor.
    pub manner: Manner,
    /// Where it stops.
    pub step: Step,
    /// How often it gets there before it does.
    pub nth: u32,
    /// Where the server listens.
    pub path: PathBuf,
    /// Its ledger.
    pub ledger: PathBuf,
}

impl Orders {
    /// As arguments of the program.
    pub fn to_arguments(&self) -> Vec<String> {
        let Self { side, flavour, manner, step, nth, path, ledger } = self;
        let [path, ledger] = [path, ledger].map(|path| path.to_str().expect("ASCII").to_owned());
        let words = [format!("{side:?}"), flavour.clone(), manner.name()];
        words.into_iter().chain([format!("{step:?}"), nth.to_string(), path, ledger]).collect()
    }

    /// Back from arguments.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let [side, flavour, manner, step, nth, path, ledger] = words else { return None };
        Some(Self {
            side: Side::ALL.into_iter().find(|one| format!("{one:?}") == *side)?,
            flavour: (*flavour).to_owned(),
            manner: Manner::named(manner)?,
            step: step_named(step)?,
            nth: nth.parse().ok()?,
            path: path.into(),
            ledger: ledger.into(),
        })
    }

    /// The process's side.
    pub fn obey(&self) {
        match self.flavour.as_str() {
            Blocking::NAME => self.talk::<Blocking>(),
            CurrentThread::NAME => self.talk::<Tokio<CurrentThread>>(),
            MultiThread::NAME => self.talk::<Tokio<MultiThread>>(),
            other => panic!("unknown flavour: {other}"),
        }
    }

    fn talk<F: Flavour>(&self) {
        let (path, config): (&Path, _) = (&self.path, self.manner.config());
        let mut ledger = Ledger::open(&self.ledger);
        let linger = matches!(self.step, Step::RetireSegmentUnsent | Step::RetireSegmentSent);
        let listener = (self.side == Side::Server).then(|| F::bind(path, &config));
        println!("ready");
        stop_at(self.step, self.nth);
        loop {
            ledger.next_session();
            let session = match &listener {
                Some(listener) => F::accept(listener),
                None => F::connect(path, &config),
            };
            let mut talk = Talk::new(session, self.side, self.manner.ending, &mut ledger, linger);
            if let Err(fault) = talk.talk() {
                panic!("{:?}", fault.error);
            }
        }
    }
}
