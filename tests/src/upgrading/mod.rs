//! Upgrades under load, every message of which is accounted for.
//!
//! ```text
//!   [`run`]  follows a [`plan`], makes a [`report`]: starts servers, one after the other, and two client processes, and kills some
//!     ├── [`server`]   notes each message that it acts on in the file `done`, then answers it
//!     ├── `disturb`    the upgrades in which somebody is killed
//!     ├── [`witness`]  a client of ours, who learns of the death of its server
//!     └── [`clients`]  send [`burst`]s of messages, note what has become of each in the file `outcomes`
//!   [`account`]  compares the two files
//! ```
//!
//! Records are appended to the files by one system call each, so that nothing is missing of a process that was
//! killed.

pub mod account;
pub mod burst;
pub mod clients;
mod disturb;
pub mod message;
pub mod plan;
pub mod report;
pub mod run;
pub mod server;
pub mod witness;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where everything of a run lies.
#[derive(Clone, Debug)]
pub struct Place(PathBuf);

impl Place {
    /// In this directory.
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    fn directory(&self) -> &str {
        self.0.to_str().expect("text")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn done(&self) -> PathBuf {
        self.0.join("done")
    }

    fn outcomes(&self) -> PathBuf {
        self.0.join("outcomes")
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a file")
}

fn append<const N: usize>(mut file: &File, record: [u32; N]) {
    let bytes: Vec<u8> = record.iter().flat_map(|number| number.to_ne_bytes()).collect();
    file.write_all(&bytes).expect("room in the directory");
}

fn records<const N: usize>(path: &Path) -> Vec<[u32; N]> {
    let bytes = std::fs::read(path).expect("a file");
    let number = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
    let record = |bytes: &[u8]| std::array::from_fn(|at| number(&bytes[4 * at..4 * at + 4]));
    assert_eq!(bytes.len() % (4 * N), 0, "whole records");
    bytes.chunks(4 * N).map(record).collect()
}
