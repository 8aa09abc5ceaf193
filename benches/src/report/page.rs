//! The page: the machine, the tables, the plots, and what may be concluded from them.

use std::fmt::Write;

use super::{Results, Section};
use crate::args::{Bench, Size, Transport, Wait};
use crate::limits::Machine;
use crate::measure::{ENOUGH_BLOCKS, Figures, Verdict, counted, duration, quantity};

pub(super) fn page(results: &Results, plots: &[(&'static str, &'static str)]) -> String {
    let mut page = format!(
        "# Measured by `ipcbench report`\n\n\
         Arms of a section take turns in blocks; two processes, every payload byte written and checked. p50 is the\n\
         median of the blocks' medians, the other percentiles are of all blocks. CPU, bells, switches and calls are\n\
         those of both processes an operation: a round trip, or a message one way. A switch is a voluntary or forced\n\
         change of threads by the kernel. System calls are counted in a leg that is not timed.\n\n\
         The ratio is to the Unix socket of the same row: of p50, or of messages a second where those are what a\n\
         section is about. It stands only where the margin exceeds the spread of both and there were at least\n\
         {ENOUGH_BLOCKS} blocks; elsewhere there is *no verdict*.\n"
    );
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
        "\n## {title}\n\n`ipcbench report --only {name} --blocks {} --block-ms {}` on {}.\n",
        section.blocks,
        section.block_ms,
        place(machine),
    );
    let mut bench = None;
    for line in figures {
        if bench.replace(line.bench) != Some(line.bench) {
            page.push_str(
                "\n| transport | at | p50 | p90 | p99 | p99.9 | max | messages/s | bytes/s | CPU | bells | switches \
                 | calls | spread | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
            );
        }
        row(page, section, line);
    }
    list(page, "Not measured:", &section.left_out);
    let failures = section.failures.iter().map(|failure| {
        let blocks = failure.blocks;
        format!("{}, after {blocks} of {} blocks: {}", failure.arm, section.blocks, failure.reason)
    });
    list(page, "Failed:", &failures.collect::<Vec<_>>());
}

/// The machine and what ran there.
fn place(machine: &Machine) -> String {
    format!(
        "{}, {} CPUs of a {}; Linux {}, idle driver {}; {}; {}; commit {}",
        machine.cpu,
        machine.cpus,
        if machine.virtual_machine { "virtual machine" } else { "machine" },
        machine.kernel,
        machine.idle_driver,
        machine.rustc,
        machine.crates,
        machine.commit,
    )
}

fn row(page: &mut String, section: &Section, line: &Figures) {
    let _ = writeln!(
        page,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {} | {:.0} % | {} |",
        label(line),
        point(line),
        duration(line.p50_ns),
        duration(line.p90_ns),
        duration(line.p99_ns),
        duration(line.p999_ns),
        duration(line.max_ns),
        quantity(line.msgs_per_s),
        quantity(line.bytes_per_s),
        duration(line.cpu_ns_per_op),
        counted(line.bells_per_op),
        line.switches_per_op,
        counted(line.syscalls_per_op),
        line.spread * 100.0,
        ratio(&section.figures, line),
    );
}

fn list(page: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = write!(page, "\n{title}\n\n");
        lines.iter().for_each(|line| _ = writeln!(page, "* {line}"));
    }
}

/// A transport, and how it waits where it has a choice.
fn label(line: &Figures) -> String {
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
        Bench::Parallel => format!("{} side by side", line.streams),
        Bench::FanIn => format!("{} clients", line.streams),
        Bench::Load => format!("{} %, {}/s", line.percent, quantity(line.rate as f64)),
        _ => size,
    }
}

/// Beside the Unix socket at the same point.
fn ratio(figures: &[Figures], line: &Figures) -> String {
    let point = |line: &Figures| (line.bench, line.size, line.streams, line.percent);
    let same = |other: &&Figures| {
        matches!(other.transport, Transport::Uds | Transport::UdsConnect)
            && point(other) == point(line)
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
