//! Peer processes that never outlive their test.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::deadline::{patience, until};

/// A process that is told what to do on its standard input and answers in lines. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Peer {
    /// Starts `program` with these arguments.
    ///
    /// Must be called on a thread that outlives the process, which dies with the thread that made it.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        Self::of(Command::new(program).args(arguments).stdin(Stdio::piped()))
    }

    /// The same with a standard input that is something else, so it cannot be told anything.
    pub fn inheriting(program: &str, arguments: &[&str], stdin: OwnedFd) -> Self {
        Self::of(Command::new(program).args(arguments).stdin(stdin))
    }

    /// Starts what was made ready, standard input included; as for [`start`](Self::start).
    pub fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, stdin, lines }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins with `word` and returns what follows.
    #[track_caller]
    pub fn line(&mut self, word: &str) -> String {
        let deadline = Instant::now() + patience();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return rest.trim().to_owned();
                    }
                }
                Err(error) => panic!("the peer never said `{word}`: {error}"),
            }
        }
    }

    /// The next line that it says.
    #[track_caller]
    pub fn next_line(&mut self) -> String {
        self.lines.recv_timeout(patience()).expect("the peer says something")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("our child");
    }

    /// Whether it has stopped.
    ///
    /// # Errors
    /// It has ended.
    pub fn has_stopped(&self) -> Result<bool, String> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED;
        let pid = Id::Pid(Pid::from_raw(self.pid().cast_signed()));
        match waitid(pid, flags | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
            Ok(WaitStatus::StillAlive | WaitStatus::Continued(_)) => Ok(false),
            Ok(WaitStatus::Stopped(..)) => Ok(true),
            ended => Err(format!("it has ended by itself: {ended:?}")),
        }
    }

    /// What follows `word` in all lines that it has said and nobody has read; after its end.
    pub fn said(&mut self, word: &str) -> Vec<String> {
        let lines = self.lines.iter();
        lines.filter_map(|line| Some(line.strip_prefix(word)?.trim().to_owned())).collect()
    }

    /// Says a line.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("not hung up yet");
        writeln!(stdin, "{line}").expect("the peer listens");
    }

    /// Closes its standard input, which ends its role.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end; fails the test if it failed.
    #[track_caller]
    pub fn succeed(mut self) {
        self.hang_up();
        let status = self.wait();
        assert!(status.success(), "the peer failed: {status}");
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the peer ends", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("just set")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// For a peer's `main`: it dies with the thread that started it.
pub fn die_with_parent() {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).expect("prctl");
}
