//! What is known of the machine without measuring.

use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};
use shmipc_core::mem;

/// Facts that a reader of a figure wants to know. What cannot be found out is empty, or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) virtual_machine: bool,
    pub(crate) kernel: String,
    /// CPUs that this process may use, by affinity and quota.
    pub(crate) cpus: usize,
    pub(crate) cpus_online: String,
    /// `cpu.max` of the nearest cgroup that has one.
    pub(crate) quota: String,
    pub(crate) idle_driver: String,
    pub(crate) governor: String,
    pub(crate) memory_bytes: u64,
    /// The seals without which untrusted peers are refused.
    pub(crate) seals: bool,
    pub(crate) pidfd: bool,
    /// Of shared memory: the setting in force.
    pub(crate) huge_pages: String,
    /// The compiler that has built this program.
    pub(crate) rustc: String,
    /// The crates that are compared, with their versions.
    #[serde(default)]
    pub(crate) crates: String,
    /// Of the sources, if they are there.
    pub(crate) commit: String,
}

impl Machine {
    /// Looks around. To be called before this process is pinned.
    pub(crate) fn look() -> Self {
        let cpuinfo = text("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        Self {
            cpu: field("model name").unwrap_or_default(),
            virtual_machine: cpuinfo.contains(" hypervisor"),
            kernel: text("/proc/sys/kernel/osrelease"),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            cpus_online: text("/sys/devices/system/cpu/online"),
            quota: quota(),
            idle_driver: text("/sys/devices/system/cpu/cpuidle/current_driver"),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_bytes: memory(),
            seals: mem::probe().is_ok(),
            pidfd: mem::pidfd_of_self().is_ok_and(|pidfd| pidfd.is_some()),
            huge_pages: in_force(&text("/sys/kernel/mm/transparent_hugepage/shmem_enabled")),
            rustc: env!("IPCBENCH_RUSTC").to_owned(),
            crates: env!("IPCBENCH_CRATES").to_owned(),
            commit: commit(),
        }
    }
}

/// The contents of a small file, without the end of the line.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The word in brackets.
fn in_force(setting: &str) -> String {
    let word = setting.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word.map_or_else(String::new, |(word, _)| word.to_owned())
}

fn memory() -> u64 {
    let text = text("/proc/meminfo");
    let total = text.lines().next().and_then(|line| line.split_whitespace().nth(1));
    total.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// From our own cgroup towards the root.
fn quota() -> String {
    let groups = text("/proc/self/cgroup");
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let mut path = own.trim_end_matches('/').to_owned();
    loop {
        let max = text(&format!("/sys/fs/cgroup{path}/cpu.max"));
        if !max.is_empty() {
            return max;
        }
        match path.rfind('/') {
            Some(end) => path.truncate(end),
            None => return String::new(),
        }
    }
}

fn commit() -> String {
    let git = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_in_force_is_the_one_in_brackets() {
        assert_eq!(in_force("always within_size [advise] never"), "advise");
        assert_eq!(in_force(""), "");
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_cpu() {
        let machine = Machine::look();
        assert!(!machine.kernel.is_empty() && machine.cpus >= 1 && machine.memory_bytes > 0);
    }
}
