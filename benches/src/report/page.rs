//! The page: the machine, the tables, the plots, and what may be concluded from them.

use std::fmt::Write;

use super::{Results, Section};
use crate::args::{Bench, Size, Transport, Wait};
use crate::measure::{Figures, Verdict, duration, quantity};

pub(super) fn page(results: &Results, plots: &[(&'static str, &'static str)]) -> String {
    let mut page = "# Measured by `ipcbench report`\n\n\
        Arms of a section take turns in blocks; two processes, every payload byte written and checked. p50 is the \
        median of the blocks' medians, the other percentiles are of all blocks. A ratio stands only where the \
        margin exceeds the spread of both. A voluntary or forced change of threads by the kernel is a switch; \
        system calls themselves are not counted, since whoever counts them slows them down.\n"
        .to_owned();
    for (file, title) in plots {
        let _ = write!(page, "\n![{title}]({file})\n");
    }
    for section in &results.sections {
        table(&mut page, section);
    }
    page
}

fn table(page: &mut String, section: &Section) {
    let Section { name, title, machine, figures, .. } = section;
    let _ = write!(
        page,
        "\n## {title}\n\n`ipcbench report --only {name} --blocks {} --block-ms {}`: {}, {} CPUs of a {}; Linux \
         {}, idle driver {}; {}; commit {}. The ratio is to {}.\n\n\
         | | | p50 | p90 | p99 | p99.9 | max | messages/s | CPU an operation | bells | switches | spread | ratio |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        section.blocks,
        section.block_ms,
        machine.cpu,
        machine.cpus,
        if machine.virtual_machine { "virtual machine" } else { "machine" },
        machine.kernel,
        machine.idle_driver,
        machine.rustc,
        machine.commit,
        match figures.first().map(|line| line.bench) {
            Some(Bench::Throughput | Bench::Both) => "the rate of the Unix socket",
            Some(bench) if bench.is_about_durations() => "the p50 of the Unix socket",
            _ => "the rate of Unix sockets",
        },
    );
    for line in figures {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {:.0} % | {} |",
            label(line),
            point(line),
            duration(line.p50_ns),
            duration(line.p90_ns),
            duration(line.p99_ns),
            duration(line.p999_ns),
            duration(line.max_ns),
            quantity(line.msgs_per_s),
            duration(line.cpu_ns_per_op),
            line.bells_per_op.map_or("-".to_owned(), |bells| format!("{bells:.2}")),
            line.switches_per_op,
            line.spread * 100.0,
            ratio(figures, line),
        );
    }
}

/// A transport, and how it waits where it has a choice.
pub(super) fn label(line: &Figures) -> String {
    match (line.transport.is_ours(), line.wait) {
        (true, Wait::Adaptive) => format!("**{}**", line.transport),
        (true, wait) => format!("**{}**, {wait}", line.transport),
        _ => line.transport.to_string(),
    }
}

/// What sets a line apart from others of its transport.
fn point(line: &Figures) -> String {
    let size = if line.mixed { "mixed".to_owned() } else { Size(line.size).to_string() };
    match line.bench {
        Bench::Parallel | Bench::FanIn => line.streams.to_string(),
        Bench::Load => format!("{} %, {}/s", line.percent, quantity(line.rate as f64)),
        _ => size,
    }
}

/// Beside the Unix socket at the same point.
fn ratio(figures: &[Figures], line: &Figures) -> String {
    let same = |other: &&Figures| {
        matches!(other.transport, Transport::Uds | Transport::UdsConnect)
            && (other.size, other.streams, other.percent) == (line.size, line.streams, line.percent)
    };
    match figures.iter().find(same) {
        Some(socket) if socket.transport != line.transport => {
            match Verdict::new(line, socket).counts() {
                Some(ratio) if ratio < 0.1 => format!("1/{:.0}", 1.0 / ratio),
                Some(ratio) => format!("{ratio:.2}"),
                None => "no verdict".to_owned(),
            }
        }
        _ => String::new(),
    }
}
