//! How many sessions the limit of open files allows.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that a session has, with room for those of its handshake, and that a process has beside sessions.
const EACH: u64 = 8;
const BESIDE: u64 = 50;

/// Raises the limit of open files (`ulimit -n`) as far as `wanted` sessions need it and this process may, and returns
/// how many of them it can have. Prints it if these are fewer.
///
/// # Errors
/// If the limit cannot be read or set.
pub fn sessions(wanted: usize) -> anyhow::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = soft.max(hard.min(BESIDE + EACH * wanted as u64));
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard)?;
    let most = (limit.saturating_sub(BESIDE) / EACH) as usize;
    if most < wanted {
        eprintln!("{most} sessions instead of {wanted}: raise `ulimit -Hn`, which is {hard}");
    }
    Ok(most.min(wanted))
}
