//! What `ipcbench` measures beside round trips and streams, and what it makes of figures: real processes, short
//! blocks. No duration is judged.

mod program;

use serde_json::Value;

use program::{check, has_tcp, ipcbench, lines, run};

#[test]
fn both_directions_at_once_and_clients_with_a_session_each() {
    let short = ["--blocks", "1", "--block-ms", "20", "--json", "--size", "64,64K,8M"];
    let both =
        lines(&run(&[&["both"], &short[..], &["--transport", "futex,tcp,shm-sync"]].concat()));
    let tcp = usize::from(has_tcp());
    assert_eq!(both.len(), (2 + tcp) * 3);
    both.iter().for_each(check);
    let what = ["--transport", "uds,shm-sync,shm-async", "--clients", "1,5"];
    let clients = lines(&run(&[&["fan-in"], &short[..5], &["--size", "64"], &what].concat()));
    assert_eq!(clients.len(), 3 * 2);
    clients.iter().for_each(check);
}

#[test]
fn every_transport_is_given_the_same_rate() {
    let short = ["load", "--blocks", "2", "--block-ms", "20", "--json", "--size", "64,4k"];
    let output = run(&[&short[..], &["--percent", "1,5"]].concat());
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(told.contains("4K: a Unix socket carries "), "{told}");
    let loads = lines(&output);
    assert_eq!(loads.len(), (5 + usize::from(has_tcp())) * 2 * 2);
    for line in &loads {
        check(line);
        let same = loads
            .iter()
            .find(|first| first["size"] == line["size"] && first["percent"] == line["percent"]);
        assert_eq!(same.unwrap()["rate"], line["rate"], "{line}");
        assert!(line["rate"].as_u64().unwrap() > 0);
    }
}

#[test]
fn mixed_sizes_a_quiet_time_and_a_connection_for_each_round_trip() {
    let short = ["--blocks", "1", "--block-ms", "20", "--json"];
    let what =
        ["--transport", "futex,uds,seqpacket,shm-sync,shm-async", "--size", "64K", "--mixed"];
    let mixed = lines(&run(&[&["latency"], &short[..], &what].concat()));
    assert_eq!(mixed.len(), 5);
    assert!(mixed.iter().all(|line| line["mixed"] == true));
    mixed.iter().for_each(check);
    let what = ["--transport", "uds,shm-sync,shm-async", "--size", "64", "--quiet-ms", "30"];
    let quiet = lines(&run(&[&["quiet"], &short[..], &what].concat()));
    assert_eq!(quiet.len(), 3);
    assert!(quiet.iter().all(|line| line["mean_ns"].as_f64().unwrap() > 30e6), "{quiet:?}");
    let what = ["--transport", "uds-connect,tcp-connect,shm-connect", "--size", "64,64K"];
    let connections = lines(&run(&[&["latency"], &short[..], &what].concat()));
    let tcp = usize::from(has_tcp());
    assert_eq!(connections.len(), (2 + tcp) * 2);
    connections.iter().for_each(check);
    let what = ["--transport", "uds-connect,tcp-connect,shm-streams", "--size", "64"];
    let many = ["parallel", "--streams", "1,20"];
    let side_by_side = lines(&run(&[&many, &short[..], &what].concat()));
    assert_eq!(side_by_side.len(), (2 + tcp) * 2);
    side_by_side.iter().for_each(check);
}

#[test]
fn system_calls_of_both_processes_are_counted_where_the_kernel_allows_it() {
    let short = ["latency", "--blocks", "1", "--block-ms", "20", "--json", "--size", "64"];
    let output = run(&[&short[..], &["--transport", "cacheline,uds"]].concat());
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    let calls = |line: &Value| line["syscalls_per_op"].as_f64();
    match &lines(&output)[..] {
        both if told.contains("system calls are not counted: ") => {
            assert!(both.iter().all(|line| calls(line).is_none()), "{both:?}");
        }
        [spins, sleeps] => {
            assert!(calls(spins).is_some_and(|calls| calls < 1.0), "{spins}");
            // Each side writes and reads.
            assert!(calls(sleeps).is_some_and(|calls| calls >= 4.0), "{sleeps}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_tell_what_a_wake_costs_and_what_the_library_makes_of_it() {
    let output = run(&["limits", "--blocks", "2", "--block-ms", "20", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sleepers = 4 + usize::from(has_tcp());
    assert_eq!(found["on_one"].as_array().unwrap().len(), sleepers, "{found}");
    assert!(found["system_call_ns"].as_f64().unwrap() > 0.0);
    assert!(found["shmipc"].as_array().unwrap().len() >= 2, "{found}");
    let output = run(&["limits", "--blocks", "1", "--block-ms", "20"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("spins for 50.00 us at first"), "{told}");
}

#[test]
fn a_report_has_pages_plots_and_no_verdict_of_few_blocks() {
    let out = tempfile::tempdir().unwrap();
    let place = out.path().to_str().unwrap();
    let short = ["report", "--blocks", "1", "--block-ms", "20", "--only", "connect,load,quiet"];
    let output = run(&[&short[..], &["--out", place, "--quiet-ms", "20"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("together about "));
    let page = std::fs::read_to_string(out.path().join("report.md")).unwrap();
    assert!(page.contains("| **shm-connect** | 64 |"), "{page}");
    assert!(page.contains("| no verdict |"), "{page}");
    assert!(page.contains("| **shm-streams** | 200 side by side |"), "{page}");
    assert!(page.contains("| calls |") && page.contains("; rustc "), "{page}");
    assert!(std::fs::read_to_string(out.path().join("load.svg")).unwrap().contains("<svg"));
    let json = std::fs::read(out.path().join("report.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let kernel = &json["sections"][0]["machine"]["kernel"];
    assert!(kernel.as_str().is_some_and(|kernel| !kernel.is_empty()));
    assert_eq!(json["sections"].as_array().unwrap().len(), 3);
    // Another part of the matrix joins what is there, and one that is measured again takes its place.
    run(&["report", "--blocks", "1", "--block-ms", "20", "--only", "connect", "--out", place]);
    let again = std::fs::read(out.path().join("report.json")).unwrap();
    let again: Value = serde_json::from_slice(&again).unwrap();
    assert_eq!(again["sections"].as_array().unwrap().len(), 3);
    let without = ipcbench(&["report", "--only", "nonsense", "--out", place]).output().unwrap();
    assert!(!without.status.success());
}

#[test]
#[cfg(not(feature = "peers"))]
fn crates_that_were_not_built_say_so() {
    let output = ipcbench(&["latency", "--size", "64", "--transport", "zmq"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("zmq 64: not built"));
}

#[test]
#[cfg(feature = "peers")]
fn crates_measure_what_they_can() {
    let crates = "shmipc-rs,shmipc-rs-eventfd,iceoryx2-pubsub,iceoryx2-pubsub-event,iceoryx2-reqres,\
                  iceoryx2-reqres-event,zmq,ipc-channel";
    let short = ["--blocks", "2", "--block-ms", "20", "--json", "--transport", crates];
    for (way, figures) in [
        (&["latency", "--size", "64,64k,1M"][..], 8 * 3),
        (&["latency", "--size", "64K", "--mixed"], 8),
        (&["throughput", "--size", "64,64K", "--batch", "8"], 4 * 2),
        (&["fan-in", "--size", "64", "--clients", "3"], 8),
        (&["parallel", "--size", "64", "--streams", "40"], 8),
        (&["load", "--size", "64", "--percent", "1"], 4),
    ] {
        let lines = lines(&run(&[way, &short].concat()));
        assert_eq!(lines.len(), figures, "{way:?}");
        lines.iter().for_each(check);
    }
}
