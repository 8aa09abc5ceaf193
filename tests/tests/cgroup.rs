//! Payload memory that is committed upfront in a memory cgroup of the kernel's, of either version. Whoever may not
//! make one is told so, and nothing is tried.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use shmipc_core::mem::left_in_cgroup;
use shmipc_sync::{Commit, Config, ConfigBuilder, ConnectError, HandshakeError};
use tests::deadline::{until, within};
use tests::meeting::{exchange, meet};
use tests::needs::not_tried;

const LIMIT: u64 = 96 << 20;
/// Set in the process that is in the cgroup.
const INSIDE: &str = "SHMIPC_INSIDE_OF_A_CGROUP";

#[test]
fn an_arena_that_the_cgroup_cannot_hold() {
    if std::env::var_os(INSIDE).is_some() {
        return within("a process in a cgroup", inside);
    }
    let group = match Group::make() {
        Ok(group) => group,
        Err(reason) => return not_tried(&format!("no memory cgroup can be made: {reason}")),
    };
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.0.join("cgroup.procs"));
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "an_arena_that_the_cgroup_cannot_hold", "--nocapture"]);
    let status = command.env(INSIDE, "yes").status().unwrap();
    assert!(status.success(), "{status}");
}

fn inside() {
    let left = left_in_cgroup().expect("a limit");
    assert!(left > LIMIT / 2 && left <= LIMIT, "{left} bytes are left");
    let (refused, _) = meet(upfront(128 << 20), config(128 << 20));
    match refused.unwrap_err() {
        ConnectError::Handshake(HandshakeError::NoMemory { needs, left }) => {
            assert!(needs == 128 << 20 && left <= LIMIT, "{needs} bytes do not fit into {left}");
        }
        other => panic!("{other:?}"),
    }
    // The server's is asked as well: it drops a client that it has no memory for.
    let (lonely, dropped) = meet(config(128 << 20), upfront(128 << 20));
    assert!(dropped.is_none());
    lonely.unwrap().closed();
    // What fits is there, and paid for here.
    let before = left_in_cgroup().unwrap();
    let (client, server) = meet(upfront(16 << 20), config(16 << 20));
    let (client, server) = (client.unwrap(), server.unwrap());
    assert!(client.stats().arena_bytes > 12 << 20);
    let paid = before.saturating_sub(left_in_cgroup().unwrap());
    assert!(paid > 8 << 20, "{paid} bytes were taken from the cgroup");
    exchange(&client, &server);
}

fn upfront(arena: u32) -> Config {
    arena_of(arena).commit(Commit::Upfront).build().unwrap()
}

/// What both sides agree on is the smaller arena.
fn config(arena: u32) -> Config {
    arena_of(arena).build().unwrap()
}

fn arena_of(bytes: u32) -> ConfigBuilder {
    Config::builder().arena_max(bytes).max_message(1 << 20)
}

/// A cgroup below the one of this process.
struct Group(PathBuf);

impl Group {
    fn make() -> Result<Self, String> {
        let membership = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
        let mut reasons = Vec::new();
        for line in membership.lines() {
            let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else {
                continue;
            };
            let path = path.trim_start_matches('/');
            let (root, version_2) = match controllers {
                "" => (Path::new("/sys/fs/cgroup"), true),
                "memory" => (Path::new("/sys/fs/cgroup/memory"), false),
                _ => continue,
            };
            match Self::make_below(&root.join(path), version_2) {
                Ok(group) => return Ok(group),
                Err(error) => reasons.push(format!("`{line}`: {error}")),
            }
        }
        Err(reasons.join(", "))
    }

    fn make_below(parent: &Path, version_2: bool) -> io::Result<Self> {
        if version_2 {
            fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
        }
        let group = parent.join(format!("shmipc-test-{}", std::process::id()));
        fs::create_dir(&group)?;
        let group = Self(group);
        let limit = if version_2 { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(group.0.join(limit), LIMIT.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty as soon as the kernel has forgotten the process.
        until("the cgroup can be removed", || fs::remove_dir(&self.0).is_ok());
    }
}
