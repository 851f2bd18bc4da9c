//! A lab and a real control plane answer the same kubectl commands, one after
//! the other, with the same simulated kubelets, GPUs and cloud around them.
//!
//! `kubectl/commands.txt` has the commands. What differs stands with its reason
//! in `kubectl/differences.tsv`; a difference that is not listed fails the test,
//! and so does a line of the list that is no difference any more.

#[path = "../../../lab/tests/kubectl/normal.rs"]
mod normal;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use normal::Answer;
use testbed::ControlPlane;

use crate::stage::{DELAYS, POOLS, Samples, Stage, built, here};

const NAMESPACE: &str = "side";
/// For one command; some wait a minute by themselves.
const LIMIT: Duration = Duration::from_secs(90);
/// For what `until` waits for.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "starts a real control plane: cargo xtask testbed test"]
fn kubectl_1_37_answers_alike_on_lab_and_control_plane() {
    let Some(binary) = built() else { return };
    compare("1.37", &binary, &format!("{} kubectl", binary.display()));
}

#[test]
#[ignore = "starts a real control plane: cargo xtask testbed test"]
fn kubectl_1_32_answers_alike_on_lab_and_control_plane() {
    let Some(binary) = built() else { return };
    let Some(kubectl) = testbed::kubectl_1_32() else {
        println!("skipped: no kubectl 1.32 (name one with RHEOSTAT_KUBECTL_1_32)");
        return;
    };
    compare("1.32", &binary, &kubectl.display().to_string());
}

fn compare(release: &str, binary: &Path, kubectl: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (lab, real) = std::thread::scope(|s| {
        let lab = s.spawn(|| Side::lab(&folder.path().join("lab"), kubectl));
        let real = Side::control_plane(&folder.path().join("real"), kubectl, binary);
        (lab.join().unwrap(), real)
    });
    let sides = [&lab, &real];
    let both = |command: &str| {
        std::thread::scope(|s| {
            let answers = sides.map(|side| s.spawn(move || side.run(command)));
            answers.map(|answer| answer.join().unwrap())
        })
    };
    both(&format!(
        "kubectl create namespace {NAMESPACE} && \
         kubectl config set-context --current --namespace={NAMESPACE}"
    ));
    let text = std::fs::read_to_string(data().join("commands.txt")).unwrap();
    let mut differing = BTreeMap::new();
    let mut total = 0;
    for line in text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with("# "))
    {
        if let Some(wait) = line.strip_prefix("until ") {
            let (text, command) = wait.split_once(": ").expect("until TEXT: COMMAND");
            let came = std::thread::scope(|s| {
                let came = sides.map(|side| s.spawn(move || side.until(text, command)));
                came.map(|came| came.join().unwrap())
            });
            if let [Ok(()), Ok(())] = came {
                continue;
            }
            let text = format!("  lab: {:?}\n  control plane: {:?}\n", came[0], came[1]);
            differing.insert(line, text);
            continue;
        }
        total += 1;
        let [got, want] = both(line);
        if let Some(difference) = want.difference(&got) {
            differing.insert(line, difference);
        }
    }
    report(release, total, &differing);
}

fn report(release: &str, total: usize, differing: &BTreeMap<&str, String>) {
    let listed = listed(release);
    let found: BTreeSet<&str> = differing.keys().copied().collect();
    for (command, difference) in differing {
        let reason = listed.get(*command).map_or("NOT LISTED", |l| &l.reason);
        println!("--- {command}\n  ({reason})\n{difference}");
    }
    let new: Vec<&&str> = found.iter().filter(|c| !listed.contains_key(**c)).collect();
    let gone: Vec<&String> = listed
        .iter()
        .filter(|(command, l)| !l.sometimes && !found.contains(command.as_str()))
        .map(|(command, _)| command)
        .collect();
    println!(
        "kubectl {release}: {} of {total} commands differ, {} not listed",
        found.len(),
        new.len()
    );
    assert!(new.is_empty(), "new differences: {new:#?}");
    assert!(
        gone.is_empty(),
        "listed, and no difference any more: {gone:#?}"
    );
}

struct Listed {
    reason: String,
    /// Whether it depends on the moment.
    sometimes: bool,
}

/// What is known to differ for a release of kubectl: RELEASE (or `both`, or
/// either with `?` for what depends on the moment), COMMAND, REASON.
fn listed(release: &str) -> BTreeMap<String, Listed> {
    let text = std::fs::read_to_string(data().join("differences.tsv")).unwrap();
    let rows = text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    rows.filter_map(|row| {
        let mut fields = row.split('\t');
        let mut next = || fields.next().expect("RELEASE<tab>COMMAND<tab>REASON");
        let (which, command, reason) = (next(), next(), next());
        let sometimes = which.ends_with('?');
        let which = which.trim_end_matches('?');
        let listed = Listed {
            reason: reason.to_owned(),
            sometimes,
        };
        (which == "both" || which == release).then(|| (command.to_owned(), listed))
    })
    .collect()
}

fn data() -> PathBuf {
    here().join("crates/rheostat/tests/e2e/kubectl")
}

/// A control plane with its surroundings, and kubectl to ask it.
struct Side {
    folder: PathBuf,
    server: String,
    running: Option<Running>,
}

enum Running {
    Lab(Child),
    /// Ends when the sender goes.
    Real(mpsc::Sender<()>, std::thread::JoinHandle<()>),
}

impl Drop for Side {
    fn drop(&mut self) {
        match self.running.take() {
            Some(Running::Lab(mut child)) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Some(Running::Real(hold, thread)) => {
                drop(hold);
                let _ = thread.join();
            }
            None => {}
        }
    }
}

impl Side {
    fn lab(folder: &Path, kubectl: &str) -> Self {
        std::fs::create_dir(folder).unwrap();
        let kubeconfig = folder.join("config");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rheostat"));
        command.arg("lab").arg("--kubeconfig").arg(&kubeconfig);
        for pool in POOLS {
            command.arg("--pool").arg(pool);
        }
        let [gpu_ready, pod_start, unneeded] = DELAYS.map(|d| format!("{}s", d.as_secs()));
        command
            .args(["--gpu-ready", &gpu_ready, "--pod-start", &pod_start])
            .args(["--unneeded", &unneeded])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the lab starts").unwrap();
        assert!(first.starts_with("export KUBECONFIG="), "{first}");
        std::thread::spawn(move || lines.for_each(drop));
        Self::ready(folder, kubectl, Running::Lab(child))
    }

    fn control_plane(folder: &Path, kubectl: &str, binary: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        let plane = ControlPlane::start(binary, &folder.join("plane")).unwrap();
        std::fs::copy(plane.kubeconfig(), folder.join("config")).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let place = tempfile::tempdir_in(folder).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap();
            let kubeconfig = plane.kubeconfig().to_path_buf();
            let stage = runtime.block_on(Stage::around(
                &kubeconfig,
                Some(plane),
                Samples::Store,
                place,
            ));
            tell.send(()).unwrap();
            let _ = held.recv();
            drop(stage);
        });
        told.recv().unwrap();
        Self::ready(folder, kubectl, Running::Real(hold, thread))
    }

    /// Puts kubectl on the side's path and waits for the first nodes.
    fn ready(folder: &Path, kubectl: &str, running: Running) -> Self {
        let script = folder.join("kubectl");
        let mut file = std::fs::File::create(&script).unwrap();
        writeln!(file, "#!/bin/sh\nexec {kubectl} \"$@\"").unwrap();
        drop(file);
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut side = Self {
            folder: folder.to_path_buf(),
            server: String::new(),
            running: Some(running),
        };
        let (_, server, _) =
            side.ask("kubectl config view -o jsonpath='{.clusters[0].cluster.server}'");
        side.server = server;
        side.until(
            "True True",
            "kubectl get nodes -o jsonpath='{.items[*].status.conditions[?(@.type==\"Ready\")].status}'",
        )
        .unwrap();
        side
    }

    /// Asks until the answer has a text.
    fn until(&self, text: &str, command: &str) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let (_, stdout, stderr) = self.ask(command);
            if stdout.contains(text) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{stdout}{stderr}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn run(&self, command: &str) -> Answer {
        let (rc, stdout, stderr) = self.ask(command);
        let own = |text: String| {
            let text = text.replace(&self.server, "<server>");
            text.replace(self.server.trim_start_matches("https://"), "<server>")
        };
        Answer::new(&rc, &own(stdout), &own(stderr))
    }

    fn ask(&self, command: &str) -> (String, String, String) {
        let path = std::env::var("PATH").unwrap_or_default();
        let file = |name: &str| std::fs::File::create(self.folder.join(name)).unwrap();
        let mut child = Command::new("bash")
            .args(["-c", command])
            .env("PATH", format!("{}:{path}", self.folder.display()))
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.folder.join("config"))
            .env("KUBECACHEDIR", self.folder.join("cache"))
            .env("KUBERC", "off")
            .env("KUBE_EDITOR", "sed -i s/nginx:1/nginx:9/")
            .current_dir(data())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let began = Instant::now();
        let rc = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status.code().unwrap_or(-1).to_string(),
                None if began.elapsed() > LIMIT => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break "timeout".to_owned();
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let text = |name: &str| {
            let bytes = std::fs::read(self.folder.join(name)).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        (rc, text("stdout"), text("stderr"))
    }
}
