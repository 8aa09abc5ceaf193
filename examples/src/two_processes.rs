//! Runs both ends of an example as processes of their own.

use std::error::Error;
use std::process::Command;

/// Starts this program twice, as `first PATH` and `second PATH`, and waits for both.
///
/// # Errors
/// If either cannot be started or fails.
pub fn run(first: &str, second: &str) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let program = std::env::current_exe()?;
    let mut server = Command::new(&program).arg(first).arg(&path).spawn()?;
    while !path.exists() {
        if let Some(status) = server.try_wait()? {
            return Err(format!("{first} ended before it listened: {status}").into());
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
        Err(format!("{first}: {server}, {second}: {client}").into())
    }
}
