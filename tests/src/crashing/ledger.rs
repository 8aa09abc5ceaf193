//! What a process has sent and seen in its session, where it can be read when the process is dead.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Counts of the session that the victim is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Which one it is.
    pub session: u64,
    /// Messages begun to be sent.
    pub begun: u64,
    /// Messages of which is certain that they were sent: the call has returned.
    pub sent: u64,
    /// Messages of the other side that were received.
    pub seen: u64,
}

/// Keeps the counts of one end; in a file, if they are to outlive it.
#[derive(Debug)]
pub struct Ledger {
    counts: Counts,
    file: Option<File>,
}

impl Ledger {
    /// A ledger in memory.
    pub fn private() -> Self {
        Self { counts: Counts::default(), file: None }
    }

    /// A ledger in a file that exists.
    pub fn open(path: &Path) -> Self {
        let file = File::options().write(true).open(path).expect("the ledger");
        Self { counts: Counts::default(), file: Some(file) }
    }

    /// What the ledger of a process says. One system call writes all of it, so it is whole.
    pub fn read(path: &Path) -> Counts {
        let bytes = std::fs::read(path).expect("the ledger");
        let count = |at: usize| match bytes.get(8 * at..8 * at + 8) {
            Some(bytes) => u64::from_ne_bytes(bytes.try_into().expect("eight bytes")),
            None => 0,
        };
        Counts { session: count(0), begun: count(1), sent: count(2), seen: count(3) }
    }

    /// The counts.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next session begins.
    pub fn next_session(&mut self) {
        let session = self.counts.session + 1;
        self.write(Counts { session, ..Counts::default() });
    }

    /// A message is begun; its number.
    pub fn begin(&mut self) -> u64 {
        let number = self.counts.begun;
        self.write(Counts { begun: number + 1, ..self.counts });
        number
    }

    /// The message begun last was sent.
    pub fn sent(&mut self) {
        self.write(Counts { sent: self.counts.begun, ..self.counts });
    }

    /// The message begun last was not sent.
    pub fn take_back(&mut self) {
        self.write(Counts { begun: self.counts.begun - 1, ..self.counts });
    }

    /// A message was received; its number.
    pub fn see(&mut self) -> u64 {
        let number = self.counts.seen;
        self.write(Counts { seen: number + 1, ..self.counts });
        number
    }

    fn write(&mut self, counts: Counts) {
        self.counts = counts;
        if let Some(file) = &self.file {
            let words = [counts.session, counts.begun, counts.sent, counts.seen];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            file.write_all_at(&bytes, 0).expect("room for the ledger");
        }
    }
}
