//! `rheostat replay` as a user runs it: exit codes, reports, a real Prometheus.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/replay");

fn replay(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .arg("replay")
        .args(args)
        .current_dir(EXAMPLES)
        .output()
        .unwrap()
}

fn code(out: &Output) -> i32 {
    out.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A day of load in steps of a minute: 2 GPUs, at noon 6.
fn day(folder: &Path) -> String {
    let mut csv = String::from("t,gpus\n");
    for minute in 0..1440 {
        let gpus = if (700..800).contains(&minute) { 6 } else { 2 };
        writeln!(csv, "{},{gpus}", minute * 60).unwrap();
    }
    let path = folder.join("day.csv");
    fs::write(&path, csv).unwrap();
    path.display().to_string()
}

const FILES: [&str; 4] = ["-f", "workload.yaml", "-f", "sum-70.yaml"];

#[test]
fn a_report_has_the_agreed_numbers_for_each_policy() {
    let folder = tempfile::tempdir().unwrap();
    let demand = day(folder.path());
    let page = folder.path().join("out.html").display().to_string();
    let more = [
        "--demand",
        &demand,
        "--pool",
        "name=gpu,gpus=1,min=0,max=20,price=2",
        "--compare",
        "article.yaml",
        "--sweep",
        "threshold=50..90/20",
        "--actuation",
        "hpa,direct",
        "--format",
        "json",
        "--timeline",
        "--report",
        &page,
    ];
    let out = replay(&[&FILES[..], &more[..]].concat());
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let policies = report["policies"].as_array().unwrap();
    assert_eq!(policies.len(), 10);
    for policy in policies {
        for key in [
            "gpu_hours",
            "node_gpu_hours",
            "unmet_fraction",
            "overloaded_fraction",
            "scale_events",
            "cost",
            "oracle_gpu_hours",
            "mean_replicas",
            "max_replicas",
            "max_nodes",
        ] {
            assert!(policy[key].is_number(), "{key}: {policy}");
        }
    }
    let numbers =
        |key: &str| -> Vec<f64> { policies.iter().map(|p| p[key].as_f64().unwrap()).collect() };
    for (mine, ideal) in numbers("gpu_hours").iter().zip(numbers("oracle_gpu_hours")) {
        assert!(ideal <= *mine && ideal > 0.0);
    }
    // A course is kept of the policies, not of a sweep's variants.
    let courses = policies.iter().filter(|p| p["timeline"].is_array());
    let ends: Vec<&Value> = courses.map(|p| &p["timeline"][0]).collect();
    assert_eq!(ends.len(), 4);
    assert_eq!(ends[0], &serde_json::json!([0.0, 1, 0, 1.0]), "{ends:?}");
    assert_eq!(policies[0]["max_replicas"], 8);
    let model = report["model"].to_string();
    for stated in [
        "policy: ScaledObject default/my-gpu-workload (sum-70.yaml), ScaledObject \
         default/my-gpu-workload (article.yaml) and 3 more: polled each 30 s; up to twice the \
         replicas, or 4, a sync; down after 300 s of stabilization",
        "polled with each scrape",
        "scheduler: kube-scheduler's filters",
    ] {
        assert!(model.contains(stated), "{stated}: {model}");
    }
    looked_at(Path::new(&page), folder.path());
}

/// Opens a report in a browser, as wide as a desk's and as a phone's: its charts
/// are drawn, nothing sticks out to the side, and no script fails.
fn looked_at(report: &Path, folder: &Path) {
    let page = fs::read_to_string(report).unwrap();
    assert!(page.contains("default-src 'none'"), "it asks nobody");
    if Command::new("chromium").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no chromium");
        println!("skipped: no chromium to open the report in");
        return;
    }
    // A frame of another width whose document can be asked: it has the same origin.
    let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
    let mut frames = String::new();
    for width in [390, 1200] {
        write!(
            frames,
            "<iframe width={width} height=2000 srcdoc=\"{quoted}\"></iframe>"
        )
        .unwrap();
    }
    let script = "<script>onload = () => { for (const frame of document.querySelectorAll('iframe')) {
        const page = frame.contentDocument;
        const drawn = [...page.querySelectorAll('.chart canvas')].filter((c) => c.width > 300).length;
        const wide = page.documentElement.scrollWidth;
        document.title += `${frame.width}: ${drawn} drawn, ${wide <= frame.width ? 'fits' : wide};`;
    } }</script>";
    let around = folder.join("around.html");
    fs::write(&around, format!("<title></title>{frames}{script}")).unwrap();
    let out = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("browser").display()
        ))
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("file://{}", around.display()))
        .output()
        .unwrap();
    let dom = text(&out.stdout);
    let title = dom
        .split("<title>")
        .nth(1)
        .and_then(|t| t.split("</title>").next());
    // A chart each of two policies under both actuations.
    assert_eq!(
        title,
        Some("390: 4 drawn, fits;1200: 4 drawn, fits;"),
        "{dom:.500}"
    );
    let said = text(&out.stderr);
    let errors: Vec<&str> = said.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn explain_reads_the_log_of_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let demand = day(folder.path());
    let log = folder.path().join("log.jsonl").display().to_string();
    let out = replay(&[&FILES[..], &["--demand", &demand, "--log", &log]].concat());
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    let lines = fs::read_to_string(&log).unwrap();
    let by = |kind: &str| {
        let records = lines.lines().map(|l| serde_json::from_str(l).unwrap());
        records
            .filter(|r: &Value| r["explanation"]["by"] == kind)
            .count()
    };
    // A poll each 30 s of the day, a sync each 15.03 s.
    assert_eq!((by("scaledObject"), by("hpa")), (2880, 5749));
    let explain = |more: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_rheostat"))
            .args(["explain", "--log", &log])
            .args(more)
            .output()
            .unwrap();
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
        text(&out.stdout)
    };
    // 6 GPUs of work at noon: 600 / 70 is 8.6, and 8 is within the tolerance.
    let noon = explain(&["so/my-gpu-workload", "--at", "1970-01-01T12:30:00Z"]);
    assert!(
        noon.contains("stays at 8 replicas") && noon.contains("9 without the tolerance"),
        "{noon}"
    );
    let morning = explain(&["deploy/my-gpu-workload", "--at", "1970-01-01T06:00:00Z"]);
    assert!(morning.contains("stays at 3 replicas"), "{morning}");
}

#[test]
fn decisions_between_syncs_are_explained_too() {
    let folder = tempfile::tempdir().unwrap();
    let demand = day(folder.path());
    let log = folder.path().join("log.jsonl").display().to_string();
    let direct = ["--demand", &demand, "--log", &log, "--actuation", "direct"];
    let out = replay(&[&FILES[..], &direct].concat());
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    let lines = fs::read_to_string(&log).unwrap();
    let records = lines
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let told: Vec<Value> = records
        .map(|r| r["explanation"].clone())
        .filter(|e| e["by"] == "hpa")
        .collect();
    // Each sync and each scrape.
    assert_eq!(told.len(), 5749 + 5759);
    let waits = |e: &&Value| e["steps"][0]["rule"] == "betweenSyncs" && e["reason"].is_null();
    let waits = told.iter().find(waits).unwrap();
    assert_eq!(waits["desired"], waits["current"]);
    let otherwise = &waits["otherwise"][0];
    assert_eq!(otherwise["without"], "betweenSyncs", "{waits}");
    assert!(
        otherwise["replicas"].as_i64() > waits["desired"].as_i64(),
        "{waits}"
    );
}

#[test]
fn unusable_input_ends_with_2_and_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let demand = day(folder.path());
    let holes = folder.path().join("holes.csv").display().to_string();
    fs::write(&holes, "t,g\n0,1\n10,1\n20,1\n90,1\n").unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--demand", &holes], "hole of 70 s"),
        (&["--demand", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (
            &["--demand", &demand, "--sweep", "nothing=1..2/1"],
            "no numeric field nothing",
        ),
        (
            &["--demand", &demand, "--pool", "name=x,gpu=1"],
            "did you mean \"gpus\"",
        ),
        (
            &["--demand", &demand, "--ready-lag", "soon"],
            "is no duration",
        ),
        (
            &["--demand", &demand, "--timeline"],
            "part of the JSON report",
        ),
        (&[], "say what the load was"),
    ];
    for (more, want) in cases {
        let out = replay(&[&FILES[..], more].concat());
        assert_eq!(code(&out), 2, "{more:?}");
        assert!(out.stdout.is_empty(), "no report: {}", text(&out.stdout));
        let error = text(&out.stderr);
        assert!(error.contains(want), "{more:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn an_option_that_would_change_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let demand = day(folder.path());
    let cases: [&[&str]; 7] = [
        &["--observed", "o.csv", "--interpolate", "linear"],
        &["--observed", "o.csv", "--peak", "8"],
        &["--demand", &demand, "--from", "1", "--to", "2"],
        &["--demand", &demand, "--step", "15s"],
        &["--demand", &demand, "--saturated", "90"],
        &["--demand", &demand, "--gpu-ready", "30s"],
        &["--demand", &demand, "--unneeded", "60s"],
    ];
    for more in cases {
        let out = replay(&[&FILES[..], more].concat());
        assert_eq!(code(&out), 2, "{more:?}");
        let error = text(&out.stderr);
        let named = error.contains(more[2]) || error.contains("--pool <POOL>");
        assert!(named, "{more:?}: {error}");
        assert!(out.stdout.is_empty());
    }
}

/// A Prometheus with an hour of a workload's past; ended when dropped.
struct Server {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const START: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z

/// What a minute of it shows: GPUs' utilization, ready replicas. The second
/// replica is there from minute 20, and serves from minute 24.
fn shown(minute: i64) -> (&'static [i64], i64) {
    match minute {
        0..20 => (&[40], 1),
        20..24 => (&[80, 0], 1),
        _ => (&[60, 60], 2),
    }
}

/// A server with that; `hole` leaves minutes 30 to 40 out.
fn server(hole: bool) -> Option<Server> {
    let there = |name: &str| Command::new(name).arg("--version").output().is_ok();
    if !there("prometheus") || !there("promtool") {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI has Debian's prometheus package"
        );
        println!("skipped: no prometheus here (Debian's package of that name has it)");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut page = String::new();
    let times: Vec<i64> = (0..240)
        .map(|n| n * 15)
        .filter(|t| !hole || !(1800..2400).contains(t))
        .collect();
    let mut line = |metric: &str, t: i64, value: i64| {
        writeln!(page, "{metric} {value} {}", START + t).unwrap();
    };
    for pod in 0..2 {
        for t in &times {
            if let Some(busy) = shown(t / 60).0.get(pod) {
                let metric = format!(
                    "DCGM_FI_DEV_GPU_UTIL{{deployment=\"my-gpu-workload\",pod=\"p{pod}\"}}"
                );
                line(&metric, *t, *busy);
            }
        }
    }
    for what in ["", "_ready"] {
        let metric = format!(
            "kube_deployment_status_replicas{what}{{namespace=\"default\",deployment=\"my-gpu-workload\"}}"
        );
        for t in &times {
            let (gpus, ready) = shown(t / 60);
            let there = i64::try_from(gpus.len()).unwrap();
            line(&metric, *t, if what.is_empty() { there } else { ready });
        }
    }
    page += "# EOF\n";
    let file = folder.path().join("past.txt");
    fs::write(&file, page).unwrap();
    let data = folder.path().join("data");
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &data])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, "global: {}\n").unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server {
        child,
        url: format!("http://127.0.0.1:{port}"),
        _folder: folder,
    };
    let begun = Instant::now();
    loop {
        let ready = Command::new("promtool")
            .args(["query", "instant", &server.url, "1"])
            .output();
        if ready.is_ok_and(|o| o.status.success()) {
            return Some(server);
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "prometheus does not start"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_real_prometheus_is_read() {
    let Some(server) = server(false) else { return };
    let span = [
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-01T00:59:00Z",
    ];
    let ask = ["--prometheus", &server.url, "--format", "json"];
    let report = |rule: &str| -> Value {
        let files = ["-f", "workload.yaml", "-f", rule];
        let out = replay(&[&files[..], &ask[..], &span[..]].concat());
        assert_eq!(code(&out), 0, "{}", text(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    };
    // 0.4 GPUs for 20 minutes, 0.8 for 4, then 1.2 for 35 and the last step. The
    // average over both GPUs is 40 % while one of them is starting.
    for rule in ["sum-70.yaml", "article.yaml"] {
        let work = report(rule)["load"]["work_gpu_hours"].as_f64().unwrap();
        let true_work = (0.4 * 20.0 + 0.8 * 4.0 + 1.2 * 35.25) / 60.0;
        assert!((work - true_work).abs() < 0.01, "{rule}: {work}");
    }
    let report = report("sum-70.yaml");
    assert!(
        report["fidelity"]["mean_error_replicas"].as_f64().unwrap() < 0.2,
        "{report}"
    );
    assert!(report["partial"].is_null());
}

#[test]
fn an_answer_with_holes_is_no_report_unless_it_may_be_partial() {
    let Some(server) = server(true) else { return };
    let span = [
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-01T00:59:00Z",
    ];
    let args = [&FILES[..], &["--prometheus", &server.url], &span[..]].concat();
    let out = replay(&args);
    assert_eq!(code(&out), 2);
    let error = text(&out.stderr);
    assert!(
        error.contains("points are missing, the first at 2026-01-01T00:3"),
        "{error}"
    );
    assert!(out.stdout.is_empty());
    let out = replay(&[&args[..], &["--allow-partial"]].concat());
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    assert!(
        text(&out.stdout).starts_with("PARTIAL: "),
        "{}",
        text(&out.stdout)
    );
}

#[test]
fn a_server_that_refuses_or_is_not_there_ends_with_2() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let span = [
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-01T00:59:00Z",
    ];
    for (url, want) in [
        (url.as_str(), "Connection refused"),
        ("ftp://x", "write http://HOST:PORT"),
        (
            "http://x/graph?g0.expr=up",
            "not the URL of a server; write http://HOST:PORT",
        ),
    ] {
        let out = replay(&[&FILES[..], &["--prometheus", url], &span[..]].concat());
        assert_eq!(code(&out), 2);
        assert!(text(&out.stderr).contains(want), "{}", text(&out.stderr));
    }
}

/// Seconds since the first moment and replicas, of lines that tell a change.
type Steps = Vec<(i64, i64)>;

fn seconds(line: &Value, key: &str) -> i64 {
    let at: jiff::Timestamp = line[key].as_str().unwrap().parse().unwrap();
    at.as_second()
}

/// `1 → 2` and `2` are 2.
fn last_number(text: &str) -> i64 {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    numbers.rfind(|n| !n.is_empty()).unwrap().parse().unwrap()
}

/// The lab's day of one workload under a trace, and the replay of that trace.
#[test]
fn a_lab_run_is_replayed_within_one_hpa_period() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.csv");
    let mut csv = String::from("t,gpus\n");
    for minute in 0..90 {
        let gpus = match minute {
            0..25 => 3.5,
            25..50 => 0.5,
            _ => 2.0,
        };
        writeln!(csv, "{},{gpus}", minute * 60).unwrap();
    }
    fs::write(&trace, csv).unwrap();
    let trace = trace.display().to_string();
    let workload = fs::read_to_string(format!("{EXAMPLES}/workload.yaml")).unwrap();
    let load = format!(
        "  name: my-gpu-workload\n  annotations:\n    lab.rheostat.dev/load: 'trace:{trace}#gpus@3.5'\n\
         spec:"
    );
    let workload = workload.replacen("  name: my-gpu-workload\nspec:", &load, 1);
    let policy = fs::read_to_string(format!("{EXAMPLES}/sum-70.yaml")).unwrap();
    let both = folder.path().join("both.yaml").display().to_string();
    fs::write(&both, format!("{workload}---\n{policy}")).unwrap();
    let pool =
        "name=gpu,sku=Standard_NC40ads_H100_v5,min=0,max=20,count=0,taint=sku=gpu:NoSchedule";
    let cpu = "name=nodepool1,sku=Standard_D4s_v5,count=2";
    let lab = Command::new(env!("CARGO_BIN_EXE_rheostat"))
        .args(["lab", "--speed", "max", "--for", "90m", "--format", "json"])
        .args(["--apply", &both, "--pool", cpu, "--pool", pool])
        .output()
        .unwrap();
    assert!(lab.status.success(), "{}", text(&lab.stderr));
    let lines = |text: String| -> Vec<Value> {
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    };
    let told = lines(text(&lab.stdout));
    let start = seconds(&told[0], "time");
    let mut theirs: Steps = told
        .iter()
        .filter(|l| l["topic"] == "replicas" && l["object"] == "deployment/my-gpu-workload")
        .map(|l| {
            (
                seconds(l, "time") - start,
                last_number(l["text"].as_str().unwrap()),
            )
        })
        .collect();
    theirs.dedup_by_key(|s| s.1);
    let log = folder.path().join("log.jsonl").display().to_string();
    let out = replay(&[
        "-f",
        &both,
        "--demand",
        &trace,
        "--peak",
        "3.5",
        "--ready-lag",
        "5s",
        "--sample",
        "1s",
        "--scrape",
        "5s",
        // The lab's controllers take no time.
        "--hpa-latency",
        "0s",
        "--pool",
        cpu,
        "--pool",
        pool,
        "--log",
        &log,
    ]);
    assert_eq!(code(&out), 0, "{}", text(&out.stderr));
    let log = lines(fs::read_to_string(log).unwrap());
    let start = seconds(&log[0], "time");
    let ours: Steps = log
        .iter()
        .filter(|l| l["explanation"]["by"] == "hpa")
        .filter(|l| l["explanation"]["current"] != l["explanation"]["desired"])
        .map(|l| {
            let desired = l["explanation"]["desired"].as_i64();
            (seconds(l, "time") - start, desired.unwrap())
        })
        .collect();
    let theirs = &theirs[1..];
    assert!(theirs.len() >= 5, "{theirs:?}");
    let counts = |s: &[(i64, i64)]| s.iter().map(|s| s.1).collect::<Vec<_>>();
    assert_eq!(
        counts(&ours),
        counts(theirs),
        "replay {ours:?}, lab {theirs:?}"
    );
    for (mine, lab) in ours.iter().zip(theirs) {
        assert!(
            (mine.0 - lab.0).abs() <= 15,
            "replay {ours:?}, lab {theirs:?}"
        );
    }
}
