//! The task runner: `cargo xtask TASK`. Continuous integration calls the same
//! tasks as a developer's terminal.

mod chart;
mod codegen;
mod golden;
mod promql_diff;
mod promqltest;
mod purity;
mod reader;
mod testbed;
mod tidy;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

const HELP: &str = "\
cargo xtask TASK

  ci              everything continuous integration runs: fmt --check, lint, tidy, deny, test and,
                  with Go, the quick ones of testbed test
  test [ARGS]     all tests (arguments go to cargo test)
  fmt [--check]   format the code
  lint            clippy, warnings are errors
  tidy            the repository's own rules
  deny            cargo-deny where it is installed (licences, bans, sources)
  codegen         regenerate the committed tables (needs Go)
  codegen chart   regenerate the chart's definitions and deploy/operator.yaml (needs Go)
  bench [NAME]    benchmarks, each figure beside its limit (decisions, nodes, replay, store,
                  cluster; with Go: queries, control_plane)
  golden DIR      run recordings of the real programs, one line a file
  promqltest DIR  run Prometheus query tests, one line a file
  promql-diff     random queries against Prometheus' engine (needs Go; --pairs N --seed S)
  e2e --on WHERE  the stories and Helm on lab, real-controllers, testbed (these need Go) or a
                  KUBECONFIG; more arguments name tests
  testbed build   build a real Kubernetes control plane and Helm (needs Go), once a machine
  testbed up      start one in the background (--name NAME for several), print its kubeconfig
  testbed down    stop it
  testbed test    the tests that need one, which `test` and `ci` leave out";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let (task, rest) = args
        .split_first()
        .map_or(("help", &[][..]), |(t, r)| (t.as_str(), r));
    match task {
        "fmt" => cargo("fmt", &[&["--all".to_owned()], rest].concat()),
        "lint" => lint(),
        "tidy" => tidy::run(&root()?),
        "deny" => deny(),
        "test" => cargo("test", &[&["--workspace".to_owned()], rest].concat()),
        "ci" => {
            cargo("fmt", &["--all".to_owned(), "--check".to_owned()])?;
            tidy::run(&root()?)?;
            lint()?;
            deny()?;
            helm()?;
            cargo("test", &["--workspace".to_owned()])?;
            testbed::quick_test()
        }
        "bench" => bench(rest),
        "codegen" if rest.first().is_some_and(|what| what == "chart") => chart::run(),
        "codegen" => codegen::run(rest),
        "golden" => golden::run(rest),
        "promql-diff" => promql_diff::run(rest),
        "promqltest" => promqltest::run(rest),
        "e2e" => e2e(rest),
        "testbed" => testbed::run(rest),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("no task '{other}'\n\n{HELP}"),
    }
}

fn lint() -> Result<()> {
    let args = ["--workspace", "--lib", "--bins", "--", "-D", "warnings"];
    cargo("clippy", &args.map(str::to_owned))?;
    // Helpers of integration tests may unwrap, and clippy sees them as code.
    let args = [
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
        "-A",
        "clippy::unwrap_used",
    ];
    cargo("clippy", &args.map(str::to_owned))
}

/// Has the Helms that the tests run built where they may be, with news of it:
/// inside a test the minutes would be silent.
fn helm() -> Result<()> {
    for program in [::testbed::helm4(), ::testbed::helm3()] {
        match program.for_test(&mut |line| eprintln!("{line}")) {
            Err(e) if e.is_absence() => println!("helm: skipped, {e}"),
            other => drop(other?),
        }
    }
    Ok(())
}

/// Plays the stories, and Helm's, on the stage that `--on` names.
fn e2e(args: &[String]) -> Result<()> {
    let [on, place, tests @ ..] = args else {
        bail!("usage: cargo xtask e2e --on lab|real-controllers|testbed|KUBECONFIG [TEST…]");
    };
    if on != "--on" {
        bail!("usage: cargo xtask e2e --on lab|real-controllers|testbed|KUBECONFIG [TEST…]");
    }
    let place = match place.as_str() {
        "lab" | "real-controllers" | "testbed" => place.clone(),
        path => {
            let path = std::path::absolute(path)?;
            if !path.is_file() {
                bail!(
                    "{} is no kubeconfig; or give lab, real-controllers or testbed",
                    path.display()
                );
            }
            path.display().to_string()
        }
    };
    // One after the other: each story has the cluster for itself.
    let status = Command::new(env!("CARGO"))
        .args([
            "test", "-p", "rheostat", "--test", "e2e", "--test", "helm", "--",
        ])
        .args(["--nocapture", "--test-threads=1"])
        .args(tests)
        .env("RHEOSTAT_E2E_ON", place)
        .current_dir(root()?)
        .status()
        .context("cannot run cargo test")?;
    match status.success() {
        true => Ok(()),
        false => bail!("a story did not play ({status})"),
    }
}

/// Runs every benchmark, or those named.
fn bench(names: &[String]) -> Result<()> {
    let mut args = ["-p", "rheostat-benches", "-p", "rheostat", "--no-fail-fast"]
        .map(str::to_owned)
        .to_vec();
    if names.is_empty() {
        args.push("--benches".to_owned());
    }
    for name in names {
        args.extend(["--bench".to_owned(), name.clone()]);
    }
    cargo("bench", &args)
}

fn deny() -> Result<()> {
    let there = Command::new("cargo").args(["deny", "--version"]).output();
    if !there.is_ok_and(|out| out.status.success()) {
        println!("deny: skipped, cargo-deny is not installed (cargo install cargo-deny)");
        return Ok(());
    }
    cargo(
        "deny",
        &["check", "bans", "licenses", "sources"].map(str::to_owned),
    )
}

fn cargo(task: &str, args: &[String]) -> Result<()> {
    println!("$ cargo {task} {}", args.join(" "));
    let status = Command::new(env!("CARGO"))
        .arg(task)
        .args(args)
        .current_dir(root()?)
        .status()?;
    if !status.success() {
        bail!("cargo {task} failed");
    }
    Ok(())
}

/// The checkout.
fn root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(here
        .parent()
        .context("xtask lies in the workspace")?
        .to_path_buf())
}
