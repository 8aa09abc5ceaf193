//! Round trips of 64 bytes, over anything.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;

/// Round trips measured, after as many to warm up.
pub const ROUNDS: usize = 10_000;

/// The median duration of a round trip. Requests differ, and every reply is checked.
///
/// # Errors
/// Those of `round_trip`, or a reply that is not its request.
pub fn measure(
    mut round_trip: impl FnMut(&[u8; 64], &mut [u8; 64]) -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let (mut request, mut reply) = ([0; 64], [0; 64]);
    let mut times = Vec::with_capacity(2 * ROUNDS);
    for round in 0..2 * ROUNDS {
        request.fill(round as u8);
        let start = Instant::now();
        round_trip(&request, &mut reply)?;
        times.push(start.elapsed());
        if reply != request {
            bail!("a reply differs from its request");
        }
    }
    let times = &mut times[ROUNDS..];
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// The same over a Unix socket, with `cat` as the other process.
///
/// # Errors
/// If `cat` cannot be started or the socket fails.
pub fn unix_socket() -> anyhow::Result<Duration> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let theirs = std::os::fd::OwnedFd::from(theirs);
    let mut echo =
        Command::new("cat").stdin(Stdio::from(theirs.try_clone()?)).stdout(theirs).spawn()?;
    let median = measure(|request, reply| {
        ours.write_all(request)?;
        ours.read_exact(reply)?;
        Ok(())
    });
    drop(ours);
    echo.wait()?;
    median
}
