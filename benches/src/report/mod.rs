//! `ipcbench report`: the agreed matrix, as JSON, as a page and as plots, with the machine it ran on.
//!
//! What an earlier run has left in the same place stays, section by section, until it is measured again: a long
//! matrix may be measured in parts.

mod page;
mod plots;

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::args::{Bench, Options, Report, Runtime, Size, Transport, Wait};
use crate::driver;
use crate::limits::Machine;
use crate::measure::Figures;
use crate::plan::Plan;

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
}

/// One line of the matrix.
struct Entry {
    name: &'static str,
    title: &'static str,
    plan: Plan,
}

pub(crate) fn run(report: &Report) -> io::Result<()> {
    // Before a measurement pins this process.
    let machine = Machine::look();
    let matrix = matrix(report);
    let order: Vec<&str> = matrix.iter().map(|entry| entry.name).collect();
    if let Some(wrong) = report.only.iter().find(|name| !order.contains(&name.as_str())) {
        return Err(io::Error::other(format!("`{wrong}` is none of {}", order.join(", "))));
    }
    let mut results = earlier(&report.out)?;
    let wanted = |entry: &&Entry| {
        report.only.is_empty() || report.only.iter().any(|name| name == entry.name)
    };
    for Entry { name, title, plan } in matrix.iter().filter(wanted) {
        eprintln!("{name}: {title}");
        let section = Section {
            name: (*name).to_owned(),
            title: (*title).to_owned(),
            machine: machine.clone(),
            blocks: report.options.blocks,
            block_ms: report.options.block_ms,
            figures: driver::measure(plan)?,
        };
        results.sections.retain(|other| other.name != section.name);
        results.sections.push(section);
    }
    results.sections.sort_by_key(|section| order.iter().position(|name| *name == section.name));
    write(&report.out, &results)
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
    fs::write(out.join("report.md"), page::page(results, &plots))?;
    eprintln!("written to {}", out.display());
    Ok(())
}

/// What is measured. Arms of one entry take turns.
fn matrix(report: &Report) -> Vec<Entry> {
    let sizes = |text: &[usize]| text.iter().map(|&size| Size(size)).collect::<Vec<_>>();
    let by_size = sizes(&[64, 1 << 10, 4 << 10, 64 << 10, 1 << 20, 16 << 20]);
    let options = |transport: Vec<Transport>, size: &[Size]| Options {
        transport,
        size: size.to_vec(),
        wait: vec![Wait::Adaptive, Wait::Block],
        runtime: vec![Runtime::Current],
        ..report.options.clone()
    };
    let kernel = [Transport::Pipe, Transport::Uds, Transport::Tcp];
    let with = |others: &[Transport]| {
        let mut all = kernel.to_vec();
        all.extend(others);
        all.extend(Transport::CRATES.iter().filter(|_| cfg!(feature = "peers")));
        all
    };
    use Transport::{
        BareRing, Cacheline, Eventfd, Futex, Mqueue, Seqpacket, ShmAsync, ShmConnect, ShmStreams,
        ShmSync, TcpConnect, UdsAsync, UdsConnect,
    };
    let controls = [Cacheline, BareRing, Futex, Eventfd, Seqpacket, Mqueue];
    let everything = |ours: &[Transport]| with(&[&controls[..], ours].concat());
    let plan = Plan::new;
    vec![
        Entry {
            name: "latency",
            title: "Round trips, one at a time",
            plan: plan(
                Bench::Latency,
                options(everything(&[ShmSync, UdsAsync, ShmAsync]), &by_size),
            ),
        },
        Entry {
            name: "throughput",
            title: "One way, a message a publication",
            plan: plan(Bench::Throughput, options(everything(&[ShmSync]), &by_size)),
        },
        Entry {
            name: "both",
            title: "One way in both directions at once",
            plan: Plan {
                streams: vec![2],
                ..plan(Bench::Both, options(with(&[Futex, ShmSync]), &by_size[..5]))
            },
        },
        Entry {
            name: "parallel",
            title: "Round trips side by side, 64 B",
            plan: Plan {
                streams: vec![1, 16, 200, 2000],
                ..plan(
                    Bench::Parallel,
                    options(with(&[ShmSync, UdsAsync, ShmAsync]), &sizes(&[64])),
                )
            },
        },
        Entry {
            name: "load",
            title: "At a fixed rate, 64 B: from when a message was due until it was checked",
            plan: Plan {
                percent: vec![10, 50, 90],
                ..plan(Bench::Load, options(with(&[Futex, ShmSync]), &sizes(&[64])))
            },
        },
        Entry {
            name: "fan-in",
            title: "Clients of one server, 64 B",
            plan: Plan {
                streams: vec![1, 4, 16],
                ..plan(Bench::FanIn, options(with(&[ShmSync, UdsAsync, ShmAsync]), &sizes(&[64])))
            },
        },
        Entry {
            name: "connect",
            title: "A connection, or a stream of one, for each round trip, 64 B",
            plan: plan(
                Bench::Latency,
                options(vec![UdsConnect, TcpConnect, ShmConnect, ShmStreams], &sizes(&[64])),
            ),
        },
        Entry {
            name: "mixed",
            title: "Messages of 64 B to 1 MiB, each double as long half as often",
            plan: plan(
                Bench::Latency,
                Options { mixed: true, ..options(with(&[ShmSync, ShmAsync]), &sizes(&[1 << 20])) },
            ),
        },
        Entry {
            name: "quiet",
            title: "A quiet second, then one round trip of 64 B",
            plan: Plan {
                quiet_ms: report.quiet_ms,
                ..plan(Bench::Quiet, options(with(&[ShmSync, ShmAsync]), &sizes(&[64])))
            },
        },
    ]
}
