//! `rheostat replay`: what a policy would have done.

mod args;
mod input;
mod server;

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use decide::explain::Record;
use replay::error::{InputError, Read};
use replay::study::{Fidelity, Job, run_all};
use replay::{Policy, Report, Watch};

use crate::inout::print;

pub use args::Args;

/// Exit code of unusable input.
const UNUSABLE: u8 = 2;
/// Nothing is said about progress before this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the command; the exit code is 2 where the input cannot be used.
pub fn run(args: &Args) -> ExitCode {
    match work(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let unusable = error.is::<InputError>();
            eprintln!("error: {error:#}");
            match unusable {
                true => ExitCode::from(UNUSABLE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn work(args: &Args) -> Result<()> {
    let model = args.model()?;
    let builder = input::builder(args, &model)?;
    let jobs = jobs(args, &builder)?;
    let base = &jobs[0].policy;
    if args.timeline && args.format != "json" {
        let cure = "it is part of the JSON report; add --format json, or see --report for charts";
        return Err(InputError::new("--timeline", cure).into());
    }
    let loaded = input::load(args, base, &model)?;
    // A file that cannot be written is told before the work, not after it.
    let page = args
        .report
        .as_ref()
        .map(|p| create(p).map(|f| (p, f)))
        .transpose()?;
    let log = args
        .log
        .as_ref()
        .map(|p| create(p).map(|f| (p, f)))
        .transpose()?;
    let progress = Progress::new();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = run_all(
        &model,
        &loaded.load,
        loaded.observed.as_ref(),
        &jobs,
        threads,
        &|share| progress.tell(share),
    );
    progress.end();
    if let Some((path, file)) = log {
        let mut out = BufWriter::new(file);
        let mut failed = None;
        let mut write = |record: Record| {
            let written = serde_json::to_writer(&mut out, &record)
                .map_err(std::io::Error::from)
                .and_then(|()| writeln!(out));
            if let Err(error) = written {
                failed.get_or_insert(error);
            }
        };
        let initial = loaded.observed.as_ref().and_then(|o| o.replicas.first());
        let mut watch = Watch {
            log: Some(&mut write),
            initial: initial.and_then(|n| i32::try_from(*n).ok()),
            ..Watch::default()
        };
        replay::run(&model, &loaded.load, base, &mut watch);
        match failed {
            Some(error) => Err(error),
            None => out.flush(),
        }
        .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let fidelity = loaded
        .observed
        .as_ref()
        .map(|observed| Fidelity::of(observed, &rows[0].outcome.timeline));
    let report = Report {
        warnings: loaded.warnings,
        source: loaded.source,
        load: loaded.load,
        observed: loaded.observed,
        fidelity,
        model,
        sweep: args.sweep()?.map(|s| s.field),
        rows,
    };
    if let Some((path, mut file)) = page {
        file.write_all(report.to_html().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = match args.format.as_str() {
        "json" => format!("{:#}\n", report.to_json(args.timeline)),
        _ => report.to_text(),
    };
    print(&text)
}

fn create(path: &std::path::Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// The policies to run: those given, those to compare with, the variants of a
/// sweep; each under each actuation asked for.
fn jobs(args: &Args, builder: &replay::Builder) -> Read<Vec<Job>> {
    let sources = &builder.manifests.policies;
    let base = match (sources.as_slice(), &args.policy) {
        ([], _) => {
            return Err(InputError::new(
                "-f",
                "there is no ScaledObject or HorizontalPodAutoscaler in the files",
            ));
        }
        ([one], None) => one,
        (several, Some(name)) => {
            let named = |s: &&replay::PolicySource| s.object["metadata"]["name"] == **name;
            several.iter().find(named).ok_or_else(|| {
                InputError::new(
                    format!("--policy {name}"),
                    "no policy in the files has that name",
                )
            })?
        }
        (several, None) => {
            let places: Vec<&str> = several.iter().map(|s| s.place.as_str()).collect();
            return Err(InputError::new(
                "-f",
                format!(
                    "there are several policies ({}), and a load is for one; choose with --policy \
                     NAME, or give rivals with --compare",
                    places.join(", ")
                ),
            ));
        }
    };
    let mut policies = vec![(builder.build(base)?, None, true)];
    for (source, builder) in input::rivals(args, builder)? {
        policies.push((builder.build(&source)?, None, true));
    }
    tell_apart(&mut policies);
    if let Some(sweep) = args.sweep()? {
        for ((name, source), value) in sweep.variants(base)?.into_iter().zip(&sweep.values) {
            let mut policy = builder.build(&source)?;
            policy.name = name;
            policies.push((policy, Some(*value), false));
        }
    }
    let actuations = args.actuations();
    let mut jobs = Vec::new();
    for (policy, swept, timeline) in policies {
        let kept = [policy.actuation];
        for actuation in actuations.as_deref().unwrap_or(&kept) {
            let mut policy = policy.clone();
            policy.actuation = *actuation;
            jobs.push(Job {
                policy,
                swept,
                timeline,
            });
        }
    }
    Ok(jobs)
}

/// Policies of one name are told apart by their files.
fn tell_apart(policies: &mut [(Policy, Option<f64>, bool)]) {
    let names: Vec<String> = policies.iter().map(|p| p.0.name.clone()).collect();
    for (policy, _, _) in policies {
        if names.iter().filter(|n| **n == policy.name).count() > 1 {
            let file = policy.place.rsplit_once(':').map_or("", |(file, _)| file);
            let file = file.rsplit('/').next().unwrap_or(file);
            policy.name = format!("{} ({file})", policy.name);
        }
    }
}

/// Says on standard error how far a long run has come.
struct Progress {
    started: Instant,
    terminal: bool,
    last: Mutex<Option<Instant>>,
}

impl Progress {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            last: Mutex::new(None),
        }
    }

    fn tell(&self, share: f64) {
        if self.started.elapsed() < PATIENCE {
            return;
        }
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        let pause = Duration::from_millis(if self.terminal { 200 } else { 5000 });
        if last.is_some_and(|l| l.elapsed() < pause) {
            return;
        }
        *last = Some(Instant::now());
        let percent = share * 100.0;
        match self.terminal {
            true => eprint!("\rreplay {percent:.0} %"),
            false => eprintln!("replay {percent:.0} %"),
        }
    }

    fn end(&self) {
        let told = self.last.lock().is_ok_and(|l| l.is_some());
        if self.terminal && told {
            eprint!("\r\x1b[K");
        }
    }
}
