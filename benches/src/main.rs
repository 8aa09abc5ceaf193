//! `ipcbench`: how fast two processes exchange messages, through shmipc and through what else a
//! user might pick.
//!
//! ```text
//! ipcbench latency    --transport cacheline,bare-ring,shm-sync --size 64,4k
//! ipcbench throughput --transport bare-ring,shm-sync --size 64 --batch 32 --json
//! ipcbench latency    --transport shm-sync,shm-streams --size 64 --open 0,10000
//! ipcbench parallel   --transport uds,shm-sync --size 64 --streams 1,8
//! ipcbench parallel   --transport uds-async,shm-async --runtime current,multi --streams 200
//! ipcbench latency    --transport tonic-shm,tonic-uds,tonic-duplex --size 64
//! ipcbench both       --transport tcp,shm-sync --size 64,64k
//! ipcbench fan-in     --transport uds,shm-sync --size 64 --clients 1,16
//! ipcbench load       --size 64 --percent 10,50,90
//! ipcbench load       --transport uds,shm-sync --size 64 --every-us 50,100,140,200,500,1000
//! ipcbench quiet      --transport uds,shm-sync --size 64
//! ipcbench latency    --transport uds-connect,tcp-connect,shm-connect,shm-streams --size 64
//! ipcbench latency    --transport uds,shm-sync --size 1M --mixed
//! ipcbench timers     --size 64 --runtime current,multi,main
//! ipcbench limits
//! ipcbench report
//! ipcbench kills      --count 1000
//! ```
//!
//! # Two processes
//!
//! The process that the user starts lets the arms take turns and reports ([`turns`]). It executes itself once
//! more as the [`driver`], and that as the [`peer`]. These two measure, each pinned to a CPU. They share a control
//! channel ([`control`]) over which the driver says what to do next, and one link ([`transport`]) at a time, which
//! is what is measured:
//!
//! ```text
//!   driver (CPU A) ── control: Open, Leg, Close ──▶ peer (CPU B)
//!          │  ◀──────────── Ready, Done ──────────────  │
//!          └──────────── the link under test ───────────┘
//! ```
//!
//! In `fan-in` the driver has a process for each client ([`clients`]), on its own CPU.
//!
//! # How a figure comes about
//!
//! * The arms of a comparison (a transport at a size) take turns: a *round* gives each arm one
//!   *block*, and every other round runs them in reverse. Each round begins with two probes,
//!   `cacheline` and `eventfd`, whose medians are printed beside every figure.
//! * A block opens its link, warms it up, and measures for at least `--block-ms`. Nothing of an
//!   arm lives on while another one is measured.
//! * A block consists of *legs*: the driver announces how many operations come, so both sides know
//!   without a word on the link when to stop. CPU time and bells are read at the ends of a leg.
//! * The figure is the median over the blocks of the block's own median. Its `spread` is the
//!   distance between the quartiles of those block values divided by their median. The higher
//!   percentiles come from all blocks merged.
//!
//! # What an operation is
//!
//! * `latency`: one round trip at depth one, a request and a reply of `size` bytes. It counts as
//!   one in `n`, `cpu_ns_per_op` and `bells_per_op` and as two messages in `msgs_per_s`.
//! * `throughput`: one message from the peer to the driver, `--batch` of them per publication. The
//!   receiver measures. Percentiles are of the nanoseconds per message in short runs of messages
//!   ([`measure::Samples`]), the rate is the median of the blocks' rates, and so is its spread.
//!
//! * `parallel`: the same round trips, `--streams` of them side by side: a thread of each process
//!   for each, or a task of each runtime. shmipc carries all in one session, a stream each. The figure is
//!   the rate, the durations are those that a thread sees. What is timed ends when the first is through.
//! * With the transports `tonic-*` the round trip is a unary gRPC call, and those side by side are calls in
//!   flight on one connection. They do not count bells (`bells_per_op` is null).
//! * `both`: `throughput` in both directions at once, a link, a sending and a receiving thread of each process
//!   for each direction. The time ends when the slower side is through.
//! * `fan-in`: as `parallel`, each client being a process with one link; shmipc has a session for each. The server
//!   has a thread for each client, or tasks of one runtime; that of iceoryx2 asks them in turn. All clients
//!   are on one CPU: those that poll take it from each other.
//! * `load`: one way at a fixed rate, an open loop: message `n` is due `n` intervals after the start, whatever
//!   became of those before, and the durations are from when it was due until it was checked. The peer sends and
//!   spins until the next is due; so the CPU is that of the receiver alone. The rates are parts of what a Unix
//!   socket carries here at this size, measured first, and the same for all.
//! * `quiet`: nothing for a second, then one round trip. The CPU includes that second's.
//! * `uds-connect`, `tcp-connect`, `shm-connect`, `shm-streams`: a round trip with a connection (a session, a
//!   stream) of its own; half of the messages a second is the connections, or streams, a second. In `parallel`
//!   many are made side by side.
//! * Switches are those that `getrusage` counts, of both processes.
//! * System calls are counted by the kernel, in a further leg of the first block of each arm, which is not timed
//!   since counting slows them down ([`meter`]). `calls/op` is of both processes (in `load` of the receiver) with
//!   what a leg takes to start its threads; `-` or null where the kernel does not allow it, and then a line says
//!   why.
//! * `timers`: the round trips of `latency` between tasks, and beside them a task of the same runtime in
//!   the driver that sleeps until a millisecond of the runtime's clock has come, and the next. The durations
//!   are how late it is, less what it is late at its most punctual tick of the leg.
//! * `kills`, `limits` and `report` are of other kinds; see [`kills`], [`limits`] and [`report`].
//!
//! # Crates to compare with
//!
//! Built with `--features peers`: shmipc-rs, iceoryx2, ZeroMQ, ipc-channel ([`transport`]). All processes are
//! pinned to one CPU, the threads that a library starts too.
//!
//! # What a comparison is worth
//!
//! A ratio is printed only if its margin exceeds the spread of both figures, and there were enough blocks
//! ([`measure::Verdict`]).
//!
//! Every payload byte is written by the sender and checked by the receiver ([`payload`]), with the
//! same code for every transport, in place where the transport allows it.
//!
//! # Nothing hangs
//!
//! The death of one process ends the other ([`process`]); a message with a wrong byte panics; a
//! block without progress is ended by a watchdog. Each of these ends the arm, which is reported as failed with the
//! reason, and its processes. The other arms go on with new ones, and the status is other than zero.

mod args;
mod clients;
mod control;
mod driver;
mod kills;
mod legs;
mod limits;
mod measure;
mod mem;
mod meter;
mod payload;
mod peer;
mod plan;
mod process;
mod report;
mod transport;
mod turns;

use std::process::ExitCode;

use clap::Parser;

use args::{Bench, Cli, Command};
use plan::Plan;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Latency(options) => turns::run(&Plan::new(Bench::Latency, options)),
        Command::Throughput(options) => turns::run(&Plan::new(Bench::Throughput, options)),
        Command::Both(options) => {
            turns::run(&Plan { streams: vec![2], ..Plan::new(Bench::Both, options) })
        }
        Command::Parallel { options, streams } => {
            turns::run(&Plan { streams, ..Plan::new(Bench::Parallel, options) })
        }
        Command::FanIn { options, clients } => {
            turns::run(&Plan { streams: clients, ..Plan::new(Bench::FanIn, options) })
        }
        Command::Load { options, percent, every_us } if every_us.is_empty() => {
            turns::run(&Plan { percent, ..Plan::new(Bench::Load, options) })
        }
        Command::Load { options, every_us, .. } => {
            let rates = every_us.into_iter().map(|us| 1_000_000 / u64::from(us)).collect();
            turns::run(&Plan { rates, ..Plan::new(Bench::Load, options) })
        }
        Command::Quiet { options, quiet_ms } => {
            turns::run(&Plan { quiet_ms, ..Plan::new(Bench::Quiet, options) })
        }
        Command::Timers(options) => turns::run(&Plan::new(Bench::Timers, options)),
        Command::Limits(limits) => limits::run(&limits),
        Command::Report(report) => report::run(&report),
        Command::Kills(options) => kills::run(&options),
        Command::Driver { parent, cpu, peer_cpu, patience_ms } => {
            driver::run(parent, cpu, peer_cpu, patience_ms)
        }
        Command::Peer { parent, cpu } => peer::run(parent, cpu),
        Command::Client { parent, cpu } => clients::run(parent, cpu),
        Command::Victim { parent, cpu, socket, wait, call } => {
            kills::victim::run(parent, cpu, &socket, wait, call)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ipcbench: {error}");
            ExitCode::FAILURE
        }
    }
}
