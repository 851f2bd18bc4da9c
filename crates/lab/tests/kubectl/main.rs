//! Every kubectl command that was recorded against a real control plane, run
//! with the real binary against the lab; exit code and normalised output are
//! compared with what the real thing answered.
//!
//! A command that does not pass stands in `unmet.tsv` with its reason; the
//! difference of one that is not listed there is printed.

mod live;
mod normal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use live::Live;
use serde::Deserialize;

/// Commands that pass at least; raise it when more do.
const FLOOR: usize = 172;
/// The same for kubectl 1.37, where one is given.
const FLOOR_1_37: usize = 170;

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
    let Some(kubectl) = kubectl_1_32() else {
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
                "26-B-ten-replicas-nine-pending" => {
                    live.load("default/my-gpu-workload", "util:3");
                    live.pass(10.0);
                    live.kubectl("kubectl apply -f my-gpu-workload.yaml");
                    live.pass(60.0);
                    live.gpu_nodes(1);
                    live.pass(60.0);
                    live.load("default/my-gpu-workload", "util:50");
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
    live.pass(5.0);
    for line in read(&here.join(format!("more-{release}.jsonl"))) {
        // Commands that wait for something need time to go on.
        let waits = [
            "rollout",
            "wait",
            " -w",
            "--watch-only",
            "delete",
            "drain",
            "top",
        ];
        let goes_on = waits.iter().any(|word| line.cmd.contains(word));
        live.tempo(if goes_on { 4.0 } else { 0.05 });
        tally.judge("more", &live, &line);
        live.pass(
            if line.cmd.contains("apply") || line.cmd.contains("annotate so") {
                2.0
            } else {
                0.3
            },
        );
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
                if !listed {
                    self.wrong.push(format!("{name}\n{difference}"));
                }
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

/// A plain kubectl 1.32: named by the environment, or the sibling of a
/// dispatcher, or the one on the PATH if it is of that release.
fn kubectl_1_32() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RHEOSTAT_KUBECTL_1_32") {
        return Some(path.into());
    }
    let which = Command::new("sh")
        .args(["-c", "command -v kubectl"])
        .output()
        .ok()?;
    let found = PathBuf::from(String::from_utf8(which.stdout).ok()?.trim());
    let real = found.canonicalize().ok()?;
    let sibling = real.with_file_name("kubectl.1.32");
    if sibling.exists() {
        return Some(sibling);
    }
    let version = Command::new(&real)
        .args(["version", "--client"])
        .output()
        .ok()?;
    String::from_utf8_lossy(&version.stdout)
        .contains("v1.32.")
        .then_some(real)
}

/// Long enough for any command, short enough for a hung one to be noticed.
const LIMIT: Duration = Duration::from_secs(60);
