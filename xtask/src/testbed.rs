//! `cargo xtask testbed build|up|down|test`: a real Kubernetes control plane
//! for as long as somebody wants it.
//!
//! `up` leaves a process behind that holds the programs on their leash; if it
//! dies they end. It is found and stopped by files in `target/testbed/`, not
//! by a process id, which may be somebody else's by the time of `down`:
//! `NAME.lock` is locked while it runs, `NAME/ready` says that it serves, and
//! `NAME/stop` asks it to end.

use std::fs::{self, File, TryLockError};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use testbed::{ControlPlane, TestbedError};

const USAGE: &str =
    "usage: cargo xtask testbed build | up [--name NAME] | down [--name NAME] | test";
/// A few seconds of the comparison whose long run takes a minute.
const FEW_PAIRS: &str = "5000";
const LOOK: Duration = Duration::from_millis(100);
/// Four programs of twelve seconds' patience each.
const DOWN: Duration = Duration::from_secs(60);

pub fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["build"] => {
            println!("{}", build()?.display());
            for helm in [testbed::helm4(), testbed::helm3()] {
                println!("{}", helm.build(&mut |line| eprintln!("{line}"))?.display());
            }
            Ok(())
        }
        ["up"] => up(&State::of("default")?),
        ["up", "--name", name] => up(&State::of(name)?),
        ["down"] => down(&State::of("default")?),
        ["down", "--name", name] => down(&State::of(name)?),
        // What `up` leaves behind.
        ["hold", name] => hold(&State::of(name)?),
        ["test"] => {
            quick_test()?;
            let args = ["-p", "rheostat", "--test", "e2e", "--", "--ignored"];
            crate::cargo("test", &args.map(str::to_owned))
        }
        _ => bail!("{USAGE}"),
    }
}

/// What needs the programs of `testbed/` and takes a minute or two; kubectl's
/// commands side by side take ten.
pub fn quick_test() -> Result<()> {
    match testbed::control_plane().build(&mut |line| eprintln!("{line}")) {
        Err(e @ TestbedError::NoGo { .. }) if std::env::var_os("CI").is_none() => {
            println!("skipped: {e}");
            return Ok(());
        }
        other => other?,
    };
    let args = ["-p", "rheostat-testbed", "--", "--ignored"];
    crate::cargo("test", &args.map(str::to_owned))?;
    crate::promql_diff::run(&["--pairs", FEW_PAIRS].map(str::to_owned))
}

fn build() -> Result<PathBuf> {
    Ok(testbed::control_plane().build(&mut |line| eprintln!("{line}"))?)
}

/// The files of one testbed.
struct State {
    name: String,
    folder: PathBuf,
    lock: PathBuf,
}

impl State {
    fn of(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            bail!("'{name}' is no name for a testbed: letters, digits and '-'");
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.map_or_else(|| crate::root().map(|r| r.join("target")), Ok)?;
        // The process left behind has a folder of its own to be in.
        let all = std::path::absolute(target)?.join("testbed");
        fs::create_dir_all(&all).with_context(|| format!("cannot make {}", all.display()))?;
        Ok(Self {
            name: name.to_owned(),
            folder: all.join(name),
            lock: all.join(format!("{name}.lock")),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The lock, unless a testbed of this name runs.
    fn free(&self) -> Result<Option<File>> {
        let file = File::create(&self.lock)
            .with_context(|| format!("cannot write {}", self.lock.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e.into()),
        }
    }

    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.plane().join("kubeconfig")
    }

    fn plane(&self) -> PathBuf {
        self.file("plane")
    }
}

fn up(state: &State) -> Result<()> {
    let binary = build()?;
    let Some(free) = state.free()? else {
        println!("testbed '{}' runs already", state.name);
        return say(state, &binary);
    };
    state.clear()?;
    fs::create_dir(&state.folder)?;
    let log = state.file("hold.log");
    let words = File::create(&log)?;
    drop(free);
    let began = Instant::now();
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["testbed", "hold", &state.name])
        // A group of its own: the terminal's interrupt is not meant for it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(words)
        .spawn()?;
    while !state.file("ready").exists() {
        if holder.try_wait()?.is_some() {
            bail!("{}", fs::read_to_string(&log)?.trim());
        }
        std::thread::sleep(LOOK);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("testbed '{}' serves after {seconds:.1} s", state.name);
    say(state, &binary)
}

/// How to use it.
fn say(state: &State, binary: &Path) -> Result<()> {
    println!("export KUBECONFIG={}", state.kubeconfig().display());
    println!(
        "# kubectl of the same release: {} kubectl",
        binary.display()
    );
    println!("# stop it: cargo xtask testbed down --name {}", state.name);
    Ok(())
}

fn down(state: &State) -> Result<()> {
    if state.free()?.is_some() {
        println!("no testbed '{}' runs", state.name);
        return state.clear();
    }
    File::create(state.file("stop"))?;
    let until = Instant::now() + DOWN;
    while state.free()?.is_none() {
        if Instant::now() > until {
            bail!(
                "testbed '{}' does not stop; its logs: {}",
                state.name,
                state.plane().display()
            );
        }
        std::thread::sleep(LOOK);
    }
    println!("testbed '{}' is stopped", state.name);
    state.clear()
}

/// Holds a testbed until it is told to stop, its folder is gone or one of its
/// programs ends.
fn hold(state: &State) -> Result<()> {
    let Some(_held) = state.free()? else {
        bail!(
            "testbed '{}' is started elsewhere at this moment",
            state.name
        );
    };
    let mut plane = ControlPlane::start(&build()?, &state.plane())?;
    File::create(state.file("ready"))?;
    let asked = || state.file("stop").exists() || !state.folder.exists();
    while !asked() {
        plane.must_run()?;
        std::thread::sleep(LOOK);
    }
    plane.stop();
    Ok(())
}
