//! A control plane is started, asked and stopped. Slow and hungry, so each is
//! ignored by plain `cargo test`; `cargo xtask testbed test` runs them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::ControlPlane;

/// Set for the test that plays a starter which is killed.
const VICTIM: &str = "RHEOSTAT_TESTBED_VICTIM";

fn binary() -> Option<PathBuf> {
    testbed::or_skip(testbed::control_plane().build(&mut |line| eprintln!("{line}")))
}

/// What kubectl prints.
fn kubectl(plane: &ControlPlane, line: &str) -> String {
    let out = plane
        .kubectl()
        .args(line.split(' '))
        .output()
        .expect("kubectl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{line}: {}", text(&out.stderr));
    text(&out.stdout)
}

fn alive(pid: &u32) -> bool {
    // A zombie has a folder in /proc too, but no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
#[ignore = "starts a real control plane: cargo xtask testbed test"]
fn two_serve_side_by_side_and_leave_nothing() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &str| {
        let began = Instant::now();
        let plane = ControlPlane::start(&binary, &folder.path().join(name)).unwrap();
        println!("{name} serves after {:?}", began.elapsed());
        plane
    };
    let (first, second) = std::thread::scope(|s| {
        let other = s.spawn(|| start("second"));
        (start("first"), other.join().unwrap())
    });

    let version = kubectl(&first, "version");
    assert_eq!(version.matches("v1.37.2").count(), 2, "{version}");
    kubectl(&first, "create namespace here");
    let names = kubectl(&first, "get namespaces -o name");
    assert!(names.contains("namespace/here\n"), "{names}");
    let names = kubectl(&second, "get namespaces -o name");
    assert!(!names.contains("here"), "{names}");
    assert_eq!(kubectl(&second, "get nodes -o name"), "");
    // Controllers and scheduler work: a pod is made, and finds no node.
    kubectl(&second, "create deployment web --image=none");
    kubectl(&second, "wait --for=create --timeout=30s pod -l app=web");
    let wait = "wait --timeout=30s --for=condition=PodScheduled=false pod -l app=web";
    kubectl(&second, wait);
    // Aggregated APIs find whom to trust.
    let trust = "get configmap -n kube-system extension-apiserver-authentication -o yaml";
    assert!(kubectl(&first, trust).contains("requestheader-client-ca-file"));

    let pids: Vec<u32> = [&first, &second]
        .iter()
        .flat_map(|plane| plane.processes())
        .map(|(_, pid)| pid)
        .collect();
    assert_eq!(pids.len(), 8);
    assert!(pids.iter().all(alive));
    let began = Instant::now();
    std::thread::scope(|s| {
        s.spawn(|| first.stop());
        second.stop();
    });
    println!("stopped after {:?}", began.elapsed());
    assert!(!pids.iter().any(alive));
}

#[test]
#[ignore = "starts a real control plane: cargo xtask testbed test"]
fn it_ends_with_a_starter_that_is_killed() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("plane");
    if let Some(place) = std::env::var_os(VICTIM) {
        let plane = ControlPlane::start(&binary, Path::new(&place)).unwrap();
        let pids = plane.processes();
        let pids: Vec<String> = pids.iter().map(|(_, pid)| pid.to_string()).collect();
        println!("PIDS {}", pids.join(" "));
        // Until the pipe ends or, as here, the process does.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("it_ends_with_a_starter_that_is_killed")
        .env(VICTIM, &place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find_map(|line| {
        let at = line.find("PIDS ")?;
        Some(line[at + 5..].to_owned())
    });
    let pids: Vec<u32> = line
        .expect("it starts")
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 4);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while pids.iter().any(alive) {
        assert!(Instant::now() < until, "{pids:?} outlive their starter");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "starts a real control plane: cargo xtask testbed test"]
fn a_program_that_ends_is_named_with_its_last_words() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = || ControlPlane::start(&binary, &folder.path().join("plane"));
    let mut plane = start().unwrap();
    let (_, etcd) = plane
        .processes()
        .into_iter()
        .find(|p| p.0 == "etcd")
        .unwrap();
    let killed = Command::new("kill")
        .arg("-9")
        .arg(etcd.to_string())
        .status();
    assert!(killed.unwrap().success());
    let until = Instant::now() + Duration::from_secs(10);
    while plane.must_run().is_ok() {
        assert!(Instant::now() < until, "a killed etcd goes unseen");
    }
    let e = plane.must_run().unwrap_err().to_string();
    assert!(e.starts_with("etcd ended (signal: 9"), "{e}");
    // Somebody's folder is not written over.
    let e = start().err().unwrap().to_string();
    assert!(e.contains("plane"), "{e}");
}
