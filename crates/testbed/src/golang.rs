//! Builds the Go programs of `testbed/` and keeps them: once for each state of
//! their sources, for all checkouts of a machine, outside `target/` so that
//! `cargo clean` does not cost the minutes again.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::TestbedError;

/// The cache folder, where the user wants another than their own.
const CACHE: &str = "RHEOSTAT_TESTBED_CACHE";
/// Silence that a person still bears.
const NEWS: Duration = Duration::from_secs(10);
const TAIL: usize = 30;
const COLD_HELM: &str = "about 3 minutes on two cores, the second Helm 20 seconds";

/// A Go module with one program.
#[derive(Clone, Debug)]
pub struct GoProgram {
    /// The file's name.
    pub name: &'static str,
    /// The module's folder.
    pub folder: PathBuf,
    /// What is built there: the module itself (`.`), or the tool that its
    /// go.mod names.
    pub package: &'static str,
    /// What the linker writes into it: variable and value.
    pub stamps: Vec<(String, String)>,
    /// How long a first build takes, in words.
    pub cold: &'static str,
}

/// The control plane in one program: etcd, kube-apiserver,
/// kube-controller-manager, kube-scheduler and kubectl.
pub fn control_plane() -> GoProgram {
    // Without the stamps the programs call themselves v0.0.0-master, and
    // `kubectl version` exits with 1.
    let version = [
        ("gitVersion", "v1.37.2"),
        ("gitMajor", "1"),
        ("gitMinor", "37"),
    ];
    let packages = [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ];
    let stamps = packages.iter().flat_map(|package| {
        version
            .iter()
            .map(move |(name, value)| (format!("{package}.{name}"), (*value).to_owned()))
    });
    GoProgram {
        name: "testbed",
        folder: module(""),
        package: ".",
        stamps: stamps.collect(),
        cold: "about 8 minutes on two cores",
    }
}

/// The query engine of Prometheus 3, a line of JSON for each question
/// (`testbed/promql/main.go`).
pub fn promql_referee() -> GoProgram {
    GoProgram {
        name: "promql-referee",
        folder: module("promql"),
        package: ".",
        stamps: Vec::new(),
        cold: "a minute on two cores",
    }
}

/// Helm 3.
pub fn helm3() -> GoProgram {
    // What `helm template` and `helm lint` take for the cluster's version.
    let packages = ["pkg/chartutil", "pkg/lint/rules"];
    let kubernetes = packages.iter().flat_map(|package| {
        [("k8sVersionMajor", "1"), ("k8sVersionMinor", "37")].map(|(name, value)| {
            (
                format!("helm.sh/helm/v3/{package}.{name}"),
                value.to_owned(),
            )
        })
    });
    let version = (
        "helm.sh/helm/v3/internal/version.version".to_owned(),
        "v3.22.0".to_owned(),
    );
    GoProgram {
        name: "helm3",
        folder: module("helm3"),
        package: "helm.sh/helm/v3/cmd/helm",
        stamps: kubernetes.chain([version]).collect(),
        cold: COLD_HELM,
    }
}

/// Helm 4.
pub fn helm4() -> GoProgram {
    GoProgram {
        name: "helm4",
        folder: module("helm4"),
        package: "helm.sh/helm/v4/cmd/helm",
        stamps: vec![(
            "helm.sh/helm/v4/internal/version.version".to_owned(),
            "v4.3.1".to_owned(),
        )],
        cold: COLD_HELM,
    }
}

/// A module of this checkout's `testbed/`.
fn module(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).unwrap_or(here);
    root.join("testbed").join(name)
}

impl GoProgram {
    /// The built program: from the cache where its sources were built before,
    /// else built now, with a line to `tell` each ten seconds. Of several that
    /// ask at once, in whatever processes, one builds and the others wait.
    ///
    /// # Errors
    /// When Go is missing, the build fails or the cache cannot be written.
    pub fn build(&self, tell: &mut dyn FnMut(&str)) -> Result<PathBuf, TestbedError> {
        let folder = self.home()?;
        let built = folder.join(self.name);
        if built.exists() {
            return Ok(built);
        }
        if !go_is_here() {
            return Err(TestbedError::NoGo { program: self.name });
        }
        fs::create_dir_all(&folder).map_err(TestbedError::io("cannot make", &folder))?;
        let lock = folder.join("lock");
        let held = File::create(&lock).map_err(TestbedError::io("cannot write", &lock))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tell(&format!(
                    "{}: another build is under way, waiting",
                    self.name
                ));
                held.lock()
                    .map_err(TestbedError::io("cannot lock", &lock))?;
            }
            Err(TryLockError::Error(e)) => return Err(TestbedError::io("cannot lock", &lock)(e)),
        }
        if built.exists() {
            return Ok(built);
        }
        // Under another name until it is whole: a killed build leaves nothing
        // that looks like a program.
        let part = folder.join("part");
        self.compile(&part, tell)?;
        fs::rename(&part, &built).map_err(TestbedError::io("cannot write", &built))?;
        Ok(built)
    }

    /// The program for a plain test, whose minutes are its reader's: as it was
    /// built before; only under `CI` is it built now.
    ///
    /// # Errors
    /// As [`Self::build`], and when it is not built and may not be.
    pub fn for_test(&self, tell: &mut dyn FnMut(&str)) -> Result<PathBuf, TestbedError> {
        if std::env::var_os("CI").is_some() {
            return self.build(tell);
        }
        let built = self.home()?.join(self.name);
        match built.exists() {
            true => Ok(built),
            false => Err(TestbedError::NotBuilt {
                program: self.name,
                cold: self.cold,
            }),
        }
    }

    /// The folder for this state of the sources.
    fn home(&self) -> Result<PathBuf, TestbedError> {
        Ok(cache().join(format!("{}-{:016x}", self.name, self.fingerprint()?)))
    }

    fn compile(&self, to: &Path, tell: &mut dyn FnMut(&str)) -> Result<(), TestbedError> {
        tell(&format!(
            "{}: building with Go, once on this machine ({} the first time)",
            self.name, self.cold
        ));
        let began = Instant::now();
        let mut child = Command::new("go")
            .args([
                "build",
                "-v",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                &self.link(),
                "-o",
            ])
            .arg(to)
            .arg(self.package)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(TestbedError::io("cannot run go in", &self.folder))?;
        // A thread reads, so that there is news also while the linker is silent.
        let (send, lines) = mpsc::channel();
        let words = child.stderr.take();
        std::thread::spawn(move || {
            for line in words.into_iter().flat_map(|w| BufReader::new(w).lines()) {
                if line.is_ok_and(|line| send.send(line).is_err()) {
                    return;
                }
            }
        });
        let (mut packages, mut tail, mut told) = (0, VecDeque::new(), began);
        loop {
            match lines.recv_timeout(NEWS) {
                Ok(line) => {
                    // `-v` names a package a line; errors and downloads have spaces.
                    packages += usize::from(!line.contains(' '));
                    tail.push_back(line);
                    if tail.len() > TAIL {
                        tail.pop_front();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if told.elapsed() >= NEWS {
                told = Instant::now();
                let passed = began.elapsed().as_secs();
                tell(&format!(
                    "{}: {packages} packages built, {passed} s",
                    self.name
                ));
            }
        }
        let status = child
            .wait()
            .map_err(TestbedError::io("cannot wait for go in", &self.folder))?;
        if !status.success() {
            return Err(TestbedError::Build {
                folder: self.folder.clone(),
                status: status.to_string(),
                tail: Vec::from(tail).join("\n"),
            });
        }
        tell(&format!(
            "{}: built in {} s",
            self.name,
            began.elapsed().as_secs()
        ));
        Ok(())
    }

    fn link(&self) -> String {
        let stamps = self.stamps.iter();
        let stamps = stamps.map(|(name, value)| format!(" -X {name}={value}"));
        format!("-s -w{}", stamps.collect::<String>())
    }

    /// One number for all that decides what is built: FNV-1a, because it need
    /// only tell states of our own files apart and a digest is one crate more.
    fn fingerprint(&self) -> Result<u64, TestbedError> {
        let listing = fs::read_dir(&self.folder).and_then(|entries| {
            entries
                .map(|e| Ok(e?.path()))
                .collect::<Result<Vec<_>, _>>()
        });
        let mut files = listing.map_err(TestbedError::io("cannot read", &self.folder))?;
        files.retain(|file| {
            let kind = file.extension().and_then(|e| e.to_str());
            matches!(kind, Some("go" | "mod" | "sum"))
        });
        files.sort();
        let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
        let mut sum = fnv(FNV_START, format!("{platform} {}", self.link()).as_bytes());
        for file in &files {
            let text = fs::read(file).map_err(TestbedError::io("cannot read", file))?;
            sum = fnv(sum, &text);
        }
        Ok(sum)
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(start: u64, bytes: &[u8]) -> u64 {
    // The length closes each part: what moves from one file to the next counts.
    let length = (bytes.len() as u64).to_le_bytes();
    let all = bytes.iter().chain(&length);
    all.fold(start, |sum, b| {
        (sum ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Whether `go version` runs.
fn go_is_here() -> bool {
    let asked = Command::new("go").arg("version").output();
    asked.is_ok_and(|out| out.status.success())
}

fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v: &OsString| !v.is_empty());
    let user = || {
        let own = set("HOME").map(|home| PathBuf::from(home).join(".cache"));
        set("XDG_CACHE_HOME").map(PathBuf::from).or(own)
    };
    set(CACHE).map_or_else(
        || {
            user()
                .unwrap_or_else(std::env::temp_dir)
                .join("rheostat-testbed")
        },
        PathBuf::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_file_decides_what_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let program = GoProgram {
            name: "x",
            folder: folder.path().to_path_buf(),
            package: ".",
            stamps: vec![("a.b".to_owned(), "1".to_owned())],
            cold: "no time",
        };
        let mut seen = vec![program.fingerprint().unwrap()];
        for (file, text) in [
            ("go.mod", "m"),
            ("go.sum", ""),
            ("main.go", "p"),
            ("main.go", "q"),
        ] {
            fs::write(folder.path().join(file), text).unwrap();
            seen.push(program.fingerprint().unwrap());
        }
        fs::write(folder.path().join("README.md"), "words").unwrap();
        assert_eq!(program.fingerprint().unwrap(), seen[4]);
        let other = GoProgram {
            stamps: Vec::new(),
            ..program
        };
        seen.push(other.fingerprint().unwrap());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
        assert_eq!(other.link(), "-s -w");
    }

    #[test]
    fn the_committed_modules_are_complete() {
        for program in [control_plane(), promql_referee()] {
            for file in ["go.mod", "go.sum", "main.go"] {
                assert!(program.folder.join(file).exists(), "{file}");
            }
        }
        for program in [helm3(), helm4()] {
            let text = |file: &str| fs::read_to_string(program.folder.join(file)).unwrap();
            let module = text("go.mod");
            assert!(module.contains(&format!("tool {}\n", program.package)));
            let (_, version) = &program.stamps[program.stamps.len() - 1];
            assert!(module.contains(&format!(" {version} ")), "{version}");
            assert!(!text("go.sum").is_empty());
        }
        let link = control_plane().link();
        assert!(
            link.contains("-X k8s.io/client-go/pkg/version.gitVersion=v1.37.2"),
            "{link}"
        );
    }
}
