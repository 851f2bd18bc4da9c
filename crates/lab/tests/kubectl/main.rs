//! Every kubectl command that was recorded against a real control plane, run
//! with the real binary against the lab; exit code and normalised output are
//! compared with what the real thing answered.
//!
//! A command that does not pass stands in `unmet.tsv` with its reason; all
//! differences are printed.

mod bare;
mod live;
mod normal;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use live::Live;
use serde::Deserialize;

/// Commands that pass at least; raise it when more do.
const FLOOR: usize = 199;
/// The same for kubectl 1.37, where one is given.
const FLOOR_1_37: usize = 199;

#[derive(Deserialize)]
struct Recorded {
    stage: String,
    cmd: String,
    rc: serde_json::Value,
    stdout: String,
    stderr: String,
}

#[test]
fn recorded_commands_answer_as_the_real_control_plane_does() {
    let Some(kubectl) = testbed::kubectl_1_32() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "kubectl 1.32 must be there under CI"
        );
        println!("skipped: no kubectl 1.32 (name one with RHEOSTAT_KUBECTL_1_32)");
        return;
    };
    compare("1.32", &kubectl, FLOOR);
}

#[test]
fn recorded_commands_of_a_newer_kubectl_do_too() {
    let Some(kubectl) = std::env::var_os("RHEOSTAT_KUBECTL_1_37") else {
        println!("skipped: no kubectl 1.37 (name one with RHEOSTAT_KUBECTL_1_37)");
        return;
    };
    compare("1.37", Path::new(&kubectl), FLOOR_1_37);
}

fn compare(release: &str, kubectl: &Path, floor: usize) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl");
    let unmet = unmet(&here.join("unmet.tsv"));
    let mut tally = Tally {
        unmet,
        ..Tally::default()
    };
    article(&here, release, kubectl, &mut tally);
    more(&here, release, kubectl, &mut tally);
    tally.report(release, floor);
}

/// The walk-through: each stage is brought about as the recording's was.
fn article(here: &Path, release: &str, kubectl: &Path, tally: &mut Tally) {
    let live = Live::start(kubectl, here.join("manifests"), 0, false);
    let mut stage = String::new();
    for line in read(&here.join(format!("article-{release}.jsonl"))) {
        if line.stage != stage {
            stage.clone_from(&line.stage);
            match stage.as_str() {
                "10-A-so-before-deployment" => live.pass(2.0),
                "12-A-after-60s" => live.pass(60.0),
                // What happened before is forgotten.
                "20-B-so-before-deployment" => live.pass(3700.0),
                "26-B-ten-replicas-nine-pending" => {
                    live.utilization(3);
                    live.pass(10.0);
                    live.kubectl("kubectl apply -f my-gpu-workload.yaml");
                    live.pass(60.0);
                    live.gpu_nodes(1);
                    live.pass(60.0);
                    live.utilization(50);
                    live.until("deploy/my-gpu-workload", "{.spec.replicas}", "10");
                }
                "30-B-so-deleted" => {
                    live.kubectl("kubectl delete deployment my-gpu-workload");
                    live.pass(5.0);
                }
                _ => live.pass(1.0),
            }
        }
        tally.judge("article", &live, &line);
    }
}

/// More commands, in order, in a namespace of their own.
fn more(here: &Path, release: &str, kubectl: &Path, tally: &mut Tally) {
    let live = Live::start(kubectl, here.join("manifests"), 3, false);
    live.kubectl("kubectl create namespace keda");
    live.utilization(0);
    // The nodes' own events are forgotten by then.
    live.pass(3700.0);
    let lines = read(&here.join(format!("more-{release}.jsonl")));
    for (at, line) in lines.iter().enumerate() {
        // Commands that wait for something need time to go on.
        let waits = ["wait", " -w", "--watch-only", "delete", "drain", "top"];
        let goes_on = waits.iter().any(|word| line.cmd.contains(word));
        live.tempo(match line.cmd.contains("rollout status") {
            true => 1.0,
            false if goes_on => 4.0,
            false => 0.05,
        });
        tally.judge("more", &live, line);
        let next = lines.get(at + 1).map_or("", |next| &next.cmd);
        if !next.contains("rollout status") {
            let slow = line.cmd.contains("apply") || line.cmd.contains("annotate so");
            live.pass(if slow { 2.0 } else { 0.15 });
        }
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    total: usize,
    unmet: BTreeMap<String, String>,
    wrong: Vec<String>,
    surprises: Vec<String>,
}

impl Tally {
    fn judge(&mut self, file: &str, live: &Live, line: &Recorded) {
        self.total += 1;
        let got = live.kubectl(&line.cmd);
        let rc = line
            .rc
            .as_i64()
            .map_or_else(|| line.rc.to_string(), |rc| rc.to_string());
        let want = normal::Answer::new(rc.trim_matches('"'), &line.stdout, &line.stderr);
        let name = format!("{file}: {}", line.cmd);
        let listed = self.unmet.contains_key(&name);
        match want.difference(&got) {
            None => {
                self.passed += 1;
                if listed {
                    self.surprises.push(name);
                }
            }
            Some(difference) => {
                let known = if listed { "listed: " } else { "" };
                self.wrong.push(format!("{known}{name}\n{difference}"));
            }
        }
    }

    fn report(self, release: &str, floor: usize) {
        for wrong in &self.wrong {
            println!("--- {wrong}\n");
        }
        for surprise in &self.surprises {
            println!("passes, although unmet.tsv lists it: {surprise}");
        }
        println!(
            "kubectl {release}: {}/{} recorded commands",
            self.passed, self.total
        );
        assert!(
            self.passed >= floor,
            "{} passed, at least {floor} have to",
            self.passed
        );
    }
}

fn read(path: &Path) -> Vec<Recorded> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Commands that are known to differ, with the reason.
fn unmet(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let rows = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|row| {
        let (command, reason) = row.split_once('\t').expect("COMMAND<tab>REASON");
        (command.to_owned(), reason.to_owned())
    })
    .collect()
}

/// Long enough for any command, short enough for a hung one to be noticed.
const LIMIT: Duration = Duration::from_secs(120);
