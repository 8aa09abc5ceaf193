//! `ipcbench` as a user runs it: real processes, short blocks. No duration is judged.

mod program;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use program::{check, has_tcp, ipcbench, lines, not_tried, run, unpinned};

const CONTROLS: &str = "cacheline,bare-map,bare-ring,eventfd,futex,pipe,uds,seqpacket,tcp";

#[test]
fn controls_measure_latency() {
    let short = ["latency", "--blocks", "2", "--block-ms", "20", "--json"];
    let output = run(&[&short[..], &["--transport", CONTROLS, "--size", "64,4k,64K"]].concat());
    let lines = lines(&output);
    // The cache line has one size, and the ring has no room for 64 KiB.
    let streams = 5 + usize::from(has_tcp());
    assert_eq!(lines.len(), 1 + 3 + 2 + streams * 3);
    for line in &lines {
        check(line);
        assert_eq!(line["bench"], "latency");
    }
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("bare-ring 64K: not supported"), "{told}");
    assert!(told.contains("these figures do not count"), "{told}");
    assert!(!told.contains("NO PAYLOAD"), "{told}");
}

#[test]
fn controls_measure_throughput_in_batches() {
    for batch in ["1", "32"] {
        let short = ["throughput", "--blocks", "2", "--block-ms", "20", "--json"];
        let what = ["--transport", CONTROLS, "--size", "100,4k", "--batch", batch];
        let lines = lines(&run(&[&short[..], &what].concat()));
        assert_eq!(lines.len(), 1 + (7 + usize::from(has_tcp())) * 2);
        lines.iter().for_each(check);
    }
}

#[test]
fn what_a_limit_of_the_kernel_forbids_is_told() {
    let short = ["latency", "--blocks", "1", "--block-ms", "20", "--json", "--size", "64,16M"];
    let output = run(&[&short[..], &["--transport", "uds,mqueue,seqpacket"]].concat());
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    for line in ["mqueue 16M: not supported: no 2 queues", "seqpacket 16M: not supported: a packet"]
    {
        assert!(told.contains(line), "{told}");
    }
    let measured = lines(&output);
    let uds = measured.iter().filter(|line| line["transport"] == "uds").count();
    let packets = measured.iter().filter(|line| line["transport"] == "seqpacket").count();
    assert_eq!((uds, packets), (2, 1), "{told}");
    // A kernel may have no message queues at all; then it says so above, for 64 bytes as well.
    let queues = measured.iter().filter(|line| line["transport"] == "mqueue").count();
    assert_eq!(queues == 1, !told.contains("mqueue 64: not supported"), "{told}");
}

#[test]
fn more_lanes_than_descriptors_in_a_packet() {
    let short = ["parallel", "--blocks", "1", "--block-ms", "20", "--json", "--size", "64"];
    let arguments = [&short[..], &["--transport", "uds", "--streams", "300"]].concat();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < 1024 {
        let output = ipcbench(&arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("(RLIMIT_NOFILE)"), "{told}");
        return not_tried(&format!(
            "300 lanes, which need more descriptors than {hard} (`ulimit -Hn`)"
        ));
    }
    let lines = lines(&run(&arguments));
    assert_eq!(lines.len(), 1);
    check(&lines[0]);
}

#[test]
fn shm_sync_measures_in_every_way() {
    let ways: [&[&str]; 4] = [
        &["latency", "--wait", "adaptive", "--parked", "3"],
        &["latency", "--wait", "block", "--trust", "trusted", "--bell", "eventfd"],
        &["throughput", "--trust", "trusted"],
        &["throughput", "--wait", "block", "--batch", "8"],
    ];
    for way in ways {
        let short = ["--blocks", "2", "--block-ms", "20", "--json", "--transport", "shm-sync"];
        let lines = lines(&run(&[way, &short, &["--size", "64,4k,64K,1M"]].concat()));
        assert_eq!(lines.len(), 4);
        lines.iter().for_each(check);
    }
}

#[test]
fn many_streams_are_open_and_a_stream_serves_once() {
    let short = ["latency", "--blocks", "1", "--block-ms", "20", "--json", "--size", "64,64K"];
    let what = ["--transport", "shm-sync,shm-streams", "--open", "0,3000", "--parked", "1"];
    let lines = lines(&run(&[&short[..], &what].concat()));
    let arms: Vec<_> = lines.iter().map(|line| (&line["transport"], &line["open"])).collect();
    assert_eq!(arms.len(), 2 * 2 * 2, "{arms:?}");
    assert!(arms.iter().filter(|(_, open)| **open == 3000).count() == 4, "{arms:?}");
    lines.iter().for_each(check);
}

#[test]
fn ping_pongs_run_side_by_side() {
    for wait in ["adaptive", "block"] {
        let short = ["parallel", "--blocks", "2", "--block-ms", "20", "--json", "--wait", wait];
        let what = ["--transport", "pipe,uds,shm-sync", "--size", "64,64K", "--streams", "1,5"];
        let lines = lines(&run(&[&short[..], &what].concat()));
        assert_eq!(lines.len(), 3 * 2 * 2);
        for line in &lines {
            check(line);
            assert_eq!(line["bench"], "parallel");
        }
        assert_eq!(lines.iter().filter(|line| line["streams"] == 5).count(), 6);
    }
    let short = ["parallel", "--blocks", "1", "--block-ms", "20", "--size", "64"];
    let output = run(&[&short[..], &["--transport", "bare-ring,uds", "--streams", "2"]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("bare-ring 64: not supported: it is one link"), "{told}");
}

#[test]
fn calls_and_a_bare_mapping_are_measured() {
    for what in [&["latency"][..], &["parallel", "--streams", "20"]] {
        let short = ["--blocks", "1", "--block-ms", "20", "--json", "--size", "64"];
        let names = ["--transport", "bare-map,tonic-shm,tonic-uds,tonic-duplex"];
        let lines = lines(&run(&[what, &short[..], &names].concat()));
        let measured: Vec<_> = lines.iter().map(|line| line["transport"].as_str()).collect();
        let expected = ["bare-map", "tonic-shm", "tonic-uds", "tonic-duplex"].map(Some);
        assert_eq!(measured, expected);
        lines.iter().for_each(check);
    }
}

#[test]
fn tasks_measure_on_every_runtime() {
    let short = ["--blocks", "1", "--block-ms", "20", "--json", "--runtime", "current,multi,main"];
    let what = ["--transport", "uds,uds-async,shm-async", "--size", "64,64K"];
    let ways: [&[&str]; 3] = [
        &["latency", "--open", "0,300", "--parked", "3"],
        &["latency", "--wait", "block", "--trust", "trusted"],
        &["parallel", "--streams", "1,200", "--ring", "1M"],
    ];
    for (way, combinations) in ways.into_iter().zip([2, 1, 2]) {
        let lines = lines(&run(&[way, &short, &what].concat()));
        let on = |transport: &str| {
            lines.iter().filter(|line| line["transport"] == transport).collect::<Vec<_>>()
        };
        assert!(on("uds").iter().all(|line| line["runtime"] == "none"));
        for runtime in ["current", "multi", "main"] {
            let shm = on("shm-async");
            let there = shm.iter().filter(|line| line["runtime"] == runtime).count();
            assert_eq!(there, 2 * combinations, "{runtime} in {way:?}");
        }
        lines.iter().for_each(check);
    }
}

#[test]
fn timers_are_watched_beside_a_ping_pong() {
    let short = ["timers", "--blocks", "1", "--block-ms", "50", "--json", "--size", "64"];
    let output = run(&[&short[..], &["--runtime", "current,multi,main"]].concat());
    let timers = lines(&output);
    assert_eq!(timers.len(), 2 * 3);
    for line in &timers {
        assert_eq!(line["bench"], "timers");
        assert!(line["p99_ns"].as_f64().unwrap() > 0.0, "{line}");
    }
    let output = run(&[&short[..], &["--transport", "uds,uds-async"]].concat());
    assert_eq!(lines(&output).len(), 1);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("uds 64: not supported: it has no tasks"), "{told}");
}

#[test]
fn every_call_ends_with_the_killed_peer() {
    let lines = lines(&run(&["kills", "--count", "3", "--json"]));
    assert_eq!(lines.len(), 3 * 5);
    for line in &lines {
        assert_eq!(line["n"], 3, "{line}");
        assert_eq!((&line["hangs"], &line["wrong"]), (&Value::from(0), &Value::from(0)), "{line}");
    }
}

#[test]
fn a_table_says_what_was_not_touched() {
    let short = ["latency", "--blocks", "1", "--block-ms", "20", "--size", "1M"];
    let output = run(&[&short[..], &["--transport", "bare-map,uds", "--touch", "none"]].concat());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("bare-map") && line.contains("1M")));
    assert!(String::from_utf8(output.stderr).unwrap().contains("NO PAYLOAD"));
}

#[test]
fn nonsense_is_refused() {
    for wrong in [
        ["--size", "12q"],
        ["--pin", "0"],
        ["--open", "x"],
        ["--transport", "smoke"],
        ["--batch", "0"],
    ] {
        let output = ipcbench(&["latency"]).args(wrong).output().unwrap();
        assert!(!output.status.success(), "{wrong:?}");
    }
    let output = unpinned(&["latency", "--size", "64", "--pin", "0,1023"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot run on CPU 1023"));
}

/// Returns the process id of the peer, if `line` names it. Lines about what this machine lacks may come before
/// the line that does.
fn peer_in(line: &str) -> Option<Pid> {
    let (_, rest) = line.split_once("; ")?.0.split_once(": driver ")?.1.split_once(", peer ")?;
    rest.split(' ').next()?.parse().ok().map(Pid::from_raw)
}

/// Starts a run that would take minutes, and returns it with its peer once it measures.
fn long_run(transport: &str) -> (Child, Pid) {
    let long = ["latency", "--blocks", "1000", "--size", "64", "--transport", transport];
    let mut driver = ipcbench(&long).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(driver.stderr.take().unwrap());
    let (mut peer, mut all) = (None, String::new());
    // After the first round both are at work.
    while !all.lines().last().is_some_and(|line| line.starts_with("round ")) {
        let before = all.len();
        assert!(told.read_line(&mut all).unwrap() > 0, "no round was begun:\n{all}");
        peer = peer.or_else(|| peer_in(&all[before..]));
    }
    thread::spawn(move || told.read_to_end(&mut Vec::new()));
    (driver, peer.expect(&all))
}

#[test]
fn the_peer_is_found_in_whatever_line_names_it() {
    let line = "latency: driver 12 on CPU 0, peer 34 on any CPU; batches of 1; shmipc waits spin";
    assert_eq!(peer_in(line), Some(Pid::from_raw(34)));
    assert_eq!(peer_in("system calls are not counted: no tracefs"), None);
}

fn within_ten_seconds(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_killed_peer_ends_the_driver() {
    for transport in ["cacheline", "eventfd", "uds"] {
        let (mut driver, peer) = long_run(transport);
        kill(peer, Signal::SIGKILL).unwrap();
        let mut status = None;
        within_ten_seconds("the driver lives on", || {
            status = driver.try_wait().unwrap();
            status.is_some()
        });
        assert!(!status.unwrap().success(), "{transport}");
    }
}

#[test]
fn an_arm_whose_process_dies_fails_alone() {
    let two = ["latency", "--blocks", "3", "--block-ms", "300", "--json", "--size", "64"];
    let mut command = ipcbench(&[&two[..], &["--transport", "uds,pipe"]].concat());
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(run.stderr.take().unwrap());
    let (mut peer, mut all) = (None, String::new());
    for line in told.lines() {
        let line = line.unwrap();
        peer = peer.or_else(|| peer_in(&line));
        if line.starts_with("round 1/") {
            kill(peer.expect("it is named before the first round"), Signal::SIGKILL).unwrap();
        }
        all += &(line + "\n");
    }
    let output = run.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(all.contains(" failed after 0 blocks: "), "{all}");
    let measured = lines(&output);
    assert_eq!(measured.len(), 1, "{all}");
    assert_eq!(measured[0]["blocks"], 3);
}

#[test]
fn a_killed_driver_ends_the_peer() {
    let (mut driver, peer) = long_run("cacheline");
    driver.kill().unwrap();
    driver.wait().unwrap();
    within_ten_seconds("the peer lives on", || {
        // Nobody may wait for the orphan; then it stays as a zombie.
        let stat = std::fs::read_to_string(format!("/proc/{peer}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
    });
}
