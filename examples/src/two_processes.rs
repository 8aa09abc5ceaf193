//! Runs both ends of an example as processes of their own.

use std::process::Command;

use anyhow::{anyhow, bail};

/// Starts this program twice, as `first PATH` and `second PATH`, and waits for both.
///
/// # Errors
/// If either cannot be started or fails.
pub fn run(first: &str, second: &str) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let program = std::env::current_exe()?;
    let mut server = Command::new(&program).arg(first).arg(&path).spawn()?;
    while !path.exists() {
        if let Some(status) = server.try_wait()? {
            bail!("{first} ended before it listened: {status}");
        }
        std::thread::yield_now();
    }
    let client = Command::new(&program).arg(second).arg(&path).status();
    if !matches!(&client, Ok(status) if status.success()) {
        server.kill()?;
    }
    let (client, server) = (client?, server.wait()?);
    if client.success() && server.success() {
        Ok(())
    } else {
        Err(anyhow!("{first}: {server}, {second}: {client}"))
    }
}
