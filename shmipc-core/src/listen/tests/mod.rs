//! Listeners: their files, and their handshakes.

mod accepting;
mod crowded;
mod files;
mod locks;
mod upgrading;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Acceptor, ListenOptions};
use crate::config::Config;
use crate::error::ListenError;

/// A directory of one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shmipc-listen-{}-{next}", std::process::id());
        let usual = std::env::temp_dir();
        // For `std::os::unix::net`, which takes at most 107 bytes of a path.
        let is_long = usual.as_os_str().len() + name.len() > 80;
        let path = if is_long { "/tmp".into() } else { usual }.join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }

    /// Names of what is in it.
    fn list(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bind(path: impl AsRef<Path>) -> Result<Acceptor, ListenError> {
    Acceptor::bind(path, &ListenOptions::new(), Config::default())
}
