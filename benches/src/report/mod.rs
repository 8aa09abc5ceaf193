//! `ipcbench report`: the agreed matrix, as JSON, as a page and as plots, with the machine it ran on.
//!
//! What an earlier run has left in the same place stays, section by section, until it is measured again: a long
//! matrix may be measured in parts, and one that ends early has what came before.

mod matrix;
mod page;
mod plots;

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::HumanDuration;
use serde::{Deserialize, Serialize};

use crate::args::Report;
use crate::limits::Machine;
use crate::measure::Figures;
use crate::turns::{self, Failure, Outcome};

use matrix::{Entry, matrix};

/// All that was measured. The names are those of the JSON object.
#[derive(Debug, Serialize, Deserialize)]
struct Results {
    sections: Vec<Section>,
}

/// Arms that took turns with each other.
#[derive(Debug, Serialize, Deserialize)]
struct Section {
    name: String,
    title: String,
    machine: Machine,
    blocks: u32,
    block_ms: u64,
    figures: Vec<Figures>,
    /// What cannot be measured here, and why.
    left_out: Vec<String>,
    failures: Vec<Failure>,
}

pub(crate) fn run(report: &Report) -> io::Result<()> {
    let machine = Machine::look();
    let matrix = matrix(report);
    let order: Vec<&str> = matrix.iter().map(|entry| entry.name).collect();
    if let Some(wrong) = report.only.iter().find(|name| !order.contains(&name.as_str())) {
        return Err(io::Error::other(format!("`{wrong}` is none of {}", order.join(", "))));
    }
    let mut results = earlier(&report.out)?;
    let wanted: Vec<&Entry> = matrix.iter().filter(|entry| entry.is_wanted(report)).collect();
    announce(&wanted);
    let (start, mut failures) = (Instant::now(), 0);
    for entry in wanted {
        eprintln!("{}: {}", entry.name, entry.title);
        let outcome = measured(entry)?;
        failures += outcome.failures.len();
        let section = Section {
            name: entry.name.to_owned(),
            title: entry.title.to_owned(),
            machine: machine.clone(),
            blocks: report.options.blocks,
            block_ms: report.options.block_ms,
            figures: outcome.figures,
            left_out: outcome.left_out,
            failures: outcome.failures,
        };
        results.sections.retain(|other| other.name != section.name);
        results.sections.push(section);
        results.sections.sort_by_key(|section| order.iter().position(|name| *name == section.name));
        write(&report.out, &results)?;
    }
    eprintln!("written to {} after {}", report.out.display(), HumanDuration(start.elapsed()));
    match failures {
        0 => Ok(()),
        some => Err(io::Error::other(format!("{some} arms failed; the page says which and why"))),
    }
}

/// How long it will take.
fn announce(entries: &[&Entry]) {
    let mut all = Duration::ZERO;
    for entry in entries {
        let (arms, expected) = entry.expected();
        eprintln!("{:>10}: {arms:3} arms, about {}", entry.name, HumanDuration(expected));
        all += expected;
    }
    eprintln!("together about {}", HumanDuration(all));
}

/// The plans of an entry, one after the other.
fn measured(entry: &Entry) -> io::Result<Outcome> {
    let mut all = Outcome::default();
    for plan in &entry.plans {
        let outcome = turns::measure(plan)?;
        all.figures.extend(outcome.figures);
        all.left_out.extend(outcome.left_out);
        all.failures.extend(outcome.failures);
    }
    Ok(all)
}

/// What is there already.
fn earlier(out: &Path) -> io::Result<Results> {
    match fs::read(out.join("report.json")) {
        Ok(json) => Ok(serde_json::from_slice(&json)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Results { sections: Vec::new() })
        }
        Err(error) => Err(error),
    }
}

fn write(out: &Path, results: &Results) -> io::Result<()> {
    fs::create_dir_all(out)?;
    fs::write(out.join("report.json"), serde_json::to_string_pretty(results)? + "\n")?;
    let plots = plots::draw(out, results)?;
    fs::write(out.join("report.md"), page::page(results, &plots))
}
