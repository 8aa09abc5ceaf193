//! Many cases, and the table of what they gave.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shmipc_core::config::BellKind;
use shmipc_core::steps::Step;

use super::case::{Account, Blow, Case, Learned, Twin, is_reached_by};
use super::neighbour::Neighbour;
use super::{Ending, Manner, Side};
use crate::blocking::Blocking;
use crate::flavour::Flavour;
use crate::payload::Random;
use crate::proc::{Held, is_emulated, resident};
use crate::times::Times;
use crate::tokio::{CurrentThread, Kind, MultiThread};

/// Flavours, of the victim and of the survivor.
type Pair = [&'static str; 2];

const ALIKE: [Pair; 2] = [[Blocking::NAME; 2], [MultiThread::NAME; 2]];
const ALL: [&str; 3] = [Blocking::NAME, MultiThread::NAME, CurrentThread::NAME];

/// Failures after which it makes no sense to go on.
const ENOUGH: usize = 10;
/// Cases between two looks at how much memory this process has.
const ROUND: usize = 200;
/// What heaps of threads that come and go may differ by, KiB.
const HEAPS: u64 = 16 << 10;

/// What all cases have come to.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases in which the victim was killed where it stopped, and where it went on first.
    pub kills: u64,
    /// See [`kills`](Self::kills).
    pub stalls: u64,
    /// How often each step was reached, by client and server.
    reached: BTreeMap<usize, [u64; 2]>,
    /// How many cases were of each manner.
    manners: BTreeMap<String, u64>,
    learned: Vec<Learned>,
    whole: u64,
    /// What was wrong, and in which case.
    pub failures: Vec<String>,
    held: Option<[Held; 2]>,
    memory: Vec<u64>,
}

/// Whether a step has to do with a manner.
type Concerns = fn(Step) -> bool;

/// Every step and side once with each blow, in pairs of the same flavour. What depends on the bell, once more
/// with the other one.
pub fn once() -> Vec<Case> {
    use Step::{BellRung, BellUnrung, OutboxSent, OutboxUnsent, ResetWritten, StopWritten, Woken};
    let with = |bell, ending| Manner { bell, ending, ..Manner::PLAIN };
    let manners: [(Manner, Concerns); 4] = [
        (Manner::PLAIN, |_| true),
        (with(BellKind::Socket, Ending::Reset), |step| step == ResetWritten),
        (with(BellKind::Socket, Ending::Stop), |step| step == StopWritten),
        (with(BellKind::Eventfd, Ending::Finish), |step| {
            [OutboxUnsent, OutboxSent, BellUnrung, BellRung, Woken].contains(&step)
        }),
    ];
    let mut cases = Vec::new();
    for (flavours, (manner, concerns)) in
        ALIKE.into_iter().flat_map(|pair| manners.map(|manner| (pair, manner)))
    {
        for (step, side, blow) in kinds() {
            if concerns(step) && is_reached_by(step, side, manner.ending) {
                let (nth, rest, whole) = (1, Duration::ZERO, 1);
                cases.push(Case {
                    step,
                    nth,
                    side,
                    blow,
                    flavours,
                    manner,
                    rest,
                    whole,
                    twin: None,
                });
            }
        }
    }
    cases
}

/// Some cases of [`once`] with a mistake, each of which is to go wrong.
pub fn with(twin: Twin) -> Vec<Case> {
    let shows = |case: &Case| {
        let step = matches!(case.step, Step::InlineWritten | Step::RecordTaken);
        step && case.blow == Blow::Kill && case.flavours == ALIKE[0]
    };
    let cases = once().into_iter().filter(shows);
    cases.map(|case| Case { twin: Some(twin), ..case }).collect()
}

/// So many cases: every step, side and blow in turn, flavours in turn, manners and moments at random.
pub fn many(count: usize, seed: u64) -> Vec<Case> {
    let mut random = Random::new(seed);
    let kinds = kinds();
    let one = |number: usize| {
        let ((step, side, blow), round) = (kinds[number % kinds.len()], number / kinds.len());
        // Each kind meets each pair, whatever the number of kinds is.
        let pair = (number % kinds.len() + round) % (ALL.len() * ALL.len());
        let manners = Manner::all().filter(|manner| is_reached_by(step, side, manner.ending));
        let manners: Vec<Manner> = manners.collect();
        Case {
            step,
            nth: 1 + random.below(4) as u32,
            side,
            blow,
            flavours: [ALL[pair % ALL.len()], ALL[pair / ALL.len()]],
            manner: manners[random.below(manners.len())],
            rest: Duration::from_micros(random.below(5000) as u64),
            whole: 2,
            twin: None,
        }
    };
    (0..count).map(one).collect()
}

fn kinds() -> Vec<(Step, Side, Blow)> {
    let sides = Step::ALL.iter().flat_map(|&step| Side::ALL.map(|side| (step, side)));
    let reached = sides.filter(|&(step, side)| {
        Ending::ALL.into_iter().any(|ending| is_reached_by(step, side, ending))
    });
    reached
        .flat_map(|(step, side)| [Blow::Kill, Blow::Stall].map(|blow| (step, side, blow)))
        .collect()
}

/// Does all cases.
pub fn run(program: &str, cases: &[Case], talkative: bool) -> Report {
    let directory = tempfile::tempdir().expect("a directory");
    let neighbour = Neighbour::start(program, directory.path());
    let (us, began) = (std::process::id(), Instant::now());
    let mut report = Report::default();
    for (number, case) in cases.iter().enumerate() {
        match case.run(program, &neighbour) {
            Ok(account) => report.add(case, account),
            Err(error) => report.failures.push(format!("{error}, in {case:?}")),
        }
        if report.failures.len() >= ENOUGH {
            break;
        }
        if (number + 1) % ROUND == 0 {
            report.memory.push(resident(us));
            let now = Held::by(us);
            report.held.get_or_insert([now; 2])[1] = now;
            if talkative {
                println!("{} cases in {:.0} s", number + 1, began.elapsed().as_secs_f32());
            }
        }
    }
    neighbour.end();
    report
}

impl Report {
    fn add(&mut self, case: &Case, account: Account) {
        match case.blow {
            Blow::Kill => self.kills += 1,
            Blow::Stall => self.stalls += 1,
        }
        self.reached.entry(case.step as usize).or_default()[case.side as usize] += 1;
        *self.manners.entry(case.manner.name()).or_default() += 1;
        self.learned.extend(account.learned);
        self.whole += account.whole;
    }

    /// Survivors that learned of the death later than that.
    pub fn later_than(&self, limit: Duration) -> usize {
        self.learned.iter().filter(|learned| learned.since_kill > limit).count()
    }

    /// Whether this process holds what it held after the first round of cases.
    pub fn is_flat(&self) -> bool {
        let held = self.held.is_none_or(|[then, now]| then == now);
        let memory = match self.memory[..] {
            [first, .., last] => last <= first + HEAPS || is_emulated("memory after many crashes"),
            _ => true,
        };
        held && memory
    }

    /// Says all of it.
    pub fn print(&self) {
        println!("{:24}{:>8}{:>8}", "victims that stopped at", "client", "server");
        for (&step, [client, server]) in &self.reached {
            println!("{:24}{client:8}{server:8}", format!("{:?}", Step::ALL[step]));
        }
        self.manners.iter().for_each(|(manner, cases)| println!("{manner:24}{cases:8}"));
        println!(
            "{} killed at a step, {} stopped there for a while and killed later; {} sessions were whole",
            self.kills, self.stalls, self.whole
        );
        println!("{} survivors have learned of it in a call:", self.learned.len());
        let times = |since: fn(&Learned) -> Duration| Times::of(self.learned.iter().map(since));
        println!("  from the kill: {}", times(|learned| learned.since_kill));
        println!("  from the death: {}", times(|learned| learned.since_death));
        if let Some([then, now]) = self.held {
            println!("{then:?} after the first {ROUND}, {now:?} at the end");
            println!("memory after each {ROUND}, KiB: {:?}", self.memory);
        }
        println!("{} cases went wrong", self.failures.len());
        self.failures.iter().for_each(|failure| println!("  {failure}"));
    }
}
