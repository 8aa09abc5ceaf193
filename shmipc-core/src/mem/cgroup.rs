//! What the memory cgroup of this process has left.

use std::fs;
use std::path::Path;

/// Bytes that this process can still take before the kernel begins to kill in its memory cgroup, or in one
/// above it: the least of all limits, less what is in use and cannot be dropped. `None` without a limit, or where
/// cgroups cannot be read. Reads a few small files.
pub fn left_in_cgroup() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    left(Path::new("/sys/fs/cgroup"), &membership)
}

/// The same for the cgroups mounted at `root` and the contents of a `/proc/PID/cgroup`.
fn left(root: &Path, membership: &str) -> Option<u64> {
    let lines = membership.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?.trim_start_matches('/')))
    });
    let of_line = lines.flat_map(|(controllers, path)| {
        if controllers.is_empty() {
            // Version 2, alone or beside version 1.
            let roots = [root.to_owned(), root.join("unified")];
            roots.iter().filter_map(|root| least(root, path, &VERSION_2)).collect::<Vec<_>>()
        } else if controllers.split(',').any(|controller| controller == "memory") {
            least(&root.join("memory"), path, &VERSION_1).into_iter().collect()
        } else {
            Vec::new()
        }
    });
    of_line.min()
}

/// The names of what is read.
struct Version {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: pages of files, which the kernel drops before it kills. Shared memory is not among them.
    files: [&'static str; 2],
}

const VERSION_1: Version = Version {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    files: ["total_inactive_file ", "total_active_file "],
};

const VERSION_2: Version = Version {
    limit: "memory.max",
    usage: "memory.current",
    files: ["inactive_file ", "active_file "],
};

/// What version 1 says instead of a limit is a little less than this.
const NO_LIMIT: u64 = 1 << 62;

/// What is left in the cgroup and those above it, up to what is mounted. In a container the path may be that
/// of the host, which is not there: then what is mounted is the container's.
fn least(root: &Path, path: &str, version: &Version) -> Option<u64> {
    let own = root.join(path);
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(|group| left_of(group, version)).min()
}

fn left_of(group: &Path, version: &Version) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(group.join(name)).ok()?.trim().parse().ok()
    };
    // Version 2 says `max` instead of a number.
    let limit = number(version.limit).filter(|limit| *limit < NO_LIMIT)?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let of_files = |name: &&str| {
        let number = stat.lines().find_map(|line| line.strip_prefix(name));
        number.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let files = version.files.iter().map(of_files).fold(0, u64::saturating_add);
    let in_use = number(version.usage)?.saturating_sub(files);
    Some(limit.saturating_sub(in_use))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these files.
    fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn the_tightest_limit_counts() {
        let root = files(&[
            ("memory.current", "999\n"),
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "700\n"),
            ("a/b/memory.max", "900\n"),
            ("a/b/memory.current", "100\n"),
            ("a/c/memory.max", "max\n"),
            ("a/c/memory.current", "100\n"),
        ]);
        let left = |path| left(root.path(), &format!("0::{path}\n"));
        assert_eq!(left("/a/b"), Some(300));
        assert_eq!(left("/a/c"), Some(300));
        assert_eq!(left("/"), None);
        assert_eq!(left("/unknown"), None);
    }

    #[test]
    fn pages_of_files_are_dropped_first() {
        let root = files(&[
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "1000\n"),
            ("a/memory.stat", "anon 600\nfile 400\nshmem 100\ninactive_file 250\nactive_file 50\n"),
        ]);
        assert_eq!(left(root.path(), "0::/a\n"), Some(300));
    }

    #[test]
    fn version_1() {
        let root = files(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "5000\n"),
            ("memory/a/memory.limit_in_bytes", "4000\n"),
            ("memory/a/memory.usage_in_bytes", "4100\n"),
            ("memory/a/memory.stat", "inactive_file 0\ntotal_inactive_file 300\n"),
            ("unified/a/memory.current", "5\n"),
        ]);
        let membership = "9:name=systemd:/\n4:cpu,memory:/a\n0::/a\n";
        assert_eq!(left(root.path(), membership), Some(200));
        assert_eq!(left(root.path(), "4:memory:/\n"), None);
        // The path of the host, in a container.
        assert_eq!(left(&root.path().join("nothing"), membership), None);
    }

    /// Mounted is the container's cgroup, and the path is that of the host.
    #[test]
    fn a_container_without_a_namespace() {
        let root = files(&[("memory.max", "1000\n"), ("memory.current", "400\n")]);
        assert_eq!(left(root.path(), "0::/docker/0123\n"), Some(600));
    }

    /// Whatever the machine, the call gives an answer.
    #[test]
    fn of_this_process() {
        let _ = left_in_cgroup();
    }
}
