//! What the kernel says of a process.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::needs::not_tried;

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Mappings of shmipc's memory.
    pub mappings: usize,
}

impl Held {
    /// By this process, now.
    pub fn by(pid: u32) -> Self {
        Self { descriptors: descriptors(pid), mappings: mappings(pid) }
    }
}

/// Raises the limit of open files (`ulimit -n`) of this process, and of those that it starts, as far as `wanted` sessions
/// need it, and returns how many of them each can have. Says on standard error if these are fewer.
pub fn allow_sessions(wanted: usize) -> usize {
    const EACH: u64 = 8;
    const BESIDE: u64 = 100;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    let limit = soft.max(hard.min(BESIDE + EACH * wanted as u64));
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard).expect("setrlimit");
    let most = (limit.saturating_sub(BESIDE) / EACH) as usize;
    if most < wanted {
        not_tried(&format!("more than {most} of {wanted} sessions, `ulimit -Hn` is {hard}"));
    }
    most.min(wanted)
}

/// Lets that process open so many descriptors more; `None`: as many as it may.
#[allow(unsafe_code)]
pub fn limit_descriptors(pid: u32, more: Option<usize>) {
    use nix::libc::{RLIMIT_NOFILE, prlimit, rlimit};
    let mut limits = rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to `limits`, and reads nothing.
    let read = unsafe { prlimit(pid.cast_signed(), RLIMIT_NOFILE, std::ptr::null(), &mut limits) };
    assert_eq!(read, 0, "prlimit");
    limits.rlim_cur = more.map_or(limits.rlim_max, |more| {
        // The limit is one of their numbers.
        let free = |number: &u64| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
        (0..).filter(free).nth(more).expect("there is no last number")
    });
    // SAFETY: the kernel reads `limits`, and writes nothing.
    let set = unsafe { prlimit(pid.cast_signed(), RLIMIT_NOFILE, &limits, std::ptr::null_mut()) };
    assert_eq!(set, 0, "prlimit");
}

/// Whether the memory of a process is also that of an emulator, which keeps what it has translated. Says what is
/// skipped for it.
pub fn is_emulated(skipped: &str) -> bool {
    let emulated = std::env::var_os("SHMIPC_EMULATED").is_some();
    if emulated {
        eprintln!("skipped under an emulator (SHMIPC_EMULATED): {skipped}");
    }
    emulated
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Open descriptors of one kind, which is what their links in `/proc/PID/fd` begin with: `socket:`, `/memfd:`.
pub fn descriptors_of(pid: u32, kind: &str) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_str().is_some_and(|link| link.starts_with(kind))).count()
}

/// Mappings of shmipc's memory.
pub fn mappings(pid: u32) -> usize {
    maps(pid).lines().filter(|line| line.contains("memfd:shmipc")).count()
}

/// `/proc/PID/maps`.
pub fn maps(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default()
}

/// Proportional memory of the whole process, KiB, without that of files: pages of code weigh more or less
/// as other processes that run it come and go.
pub fn pss(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    field(&text, "Pss_Anon:") + field(&text, "Pss_Shmem:")
}

/// Proportional memory of shmipc's mappings, KiB.
pub fn pss_of_mappings(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("smaps");
    let (mut inside, mut sum) = (false, 0);
    for line in text.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !first.ends_with(':') {
            inside = line.contains("memfd:shmipc");
        } else if inside && first == "Pss:" {
            sum += field(line, "Pss:");
        }
    }
    sum
}

/// Has this process, and those that it starts, use pages of the ordinary size. Otherwise the kernel may at any moment put
/// 2 MiB in the place of a few pages that were asked for, and [`resident`] grows by what no code holds.
pub fn only_small_pages() {
    if let Err(errno) = nix::sys::prctl::set_thp_disable(true) {
        // An emulator, or a filter of system calls.
        eprintln!("large pages stay on, and memory may seem to grow: prctl: {errno}");
    }
}

/// Memory in use by the whole process, KiB.
pub fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    field(&text, "VmRSS:")
}

/// CPU time of all threads, nanoseconds.
pub fn cpu_nanos(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let schedstats = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    schedstats.sum()
}

/// Voluntary context switches of one thread.
pub fn voluntary_switches(pid: u32, thread: u32) -> u64 {
    let status = format!("/proc/{pid}/task/{thread}/status");
    field(&fs::read_to_string(status).expect("the thread lives"), "voluntary_ctxt_switches:")
}

/// Voluntary context switches of all threads.
pub fn all_voluntary_switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let threads = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
    threads.map(|thread| voluntary_switches(pid, thread)).sum()
}

/// Threads of that name.
pub fn threads(pid: u32, name: &str) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let named = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let number = |task: fs::DirEntry| task.file_name().to_str()?.parse().ok();
    tasks.filter(named).filter_map(number).collect()
}

/// Whether a thread sleeps.
pub fn sleeps(pid: u32, thread: u32) -> bool {
    state(pid, thread) == Some('S')
}

/// Whether every thread is stopped, as SIGSTOP asks for.
pub fn is_stopped(pid: u32) -> bool {
    is_all(pid, 'T')
}

/// Whether every thread sleeps: none is in the middle of anything.
pub fn is_asleep(pid: u32) -> bool {
    is_all(pid, 'S')
}

fn is_all(pid: u32, wanted: char) -> bool {
    let mut tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.all(|task| {
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok());
        thread.is_some_and(|thread| state(pid, thread) == Some(wanted))
    })
}

fn state(pid: u32, thread: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).ok()?;
    // The state follows the name, which may hold anything but ends with the last parenthesis.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}
