//! `cargo xtask golden DIR`: recordings of the real programs against ours.
//!
//! Which format a file has stands in its first line; the scheduler's scenarios
//! have no such line and are known by their path.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use api::golden::Report;

/// Failing cases shown of each file.
const SHOWN: usize = 5;
/// Characters of one difference that are shown.
const WIDTH: usize = 600;

/// Runs one format; the list holds the cases that differ on purpose.
struct Runner {
    format: &'static str,
    run: fn(&str) -> Report,
    differs: &'static [(&'static str, &'static str)],
}

const RUNNERS: &[Runner] = &[
    Runner {
        format: "hpa_reconcile",
        run: decide::hpa::golden::run,
        differs: &[],
    },
    Runner {
        format: "quantity",
        run: api::golden::quantity,
        differs: &[],
    },
    Runner {
        format: "selector_duration",
        run: api::golden::selector_duration,
        differs: &[],
    },
    Runner {
        format: "prometheus_scaler",
        run: prometheus_scaler,
        differs: triggers::golden::PROMETHEUS_DIFFERS,
    },
    Runner {
        format: "cron",
        run: triggers::golden::cron,
        differs: &[],
    },
    Runner {
        format: "formula",
        run: decide::formula::golden::run,
        differs: &[],
    },
    Runner {
        format: "hpa_spec",
        run: triggers::golden::hpa_spec,
        differs: triggers::golden::HPA_SPEC_DIFFERS,
    },
    Runner {
        format: "scheduler",
        run: decide::fit::golden::run,
        differs: &[],
    },
];

/// Prints `NAME passed/total` for each recording below the folder that is named
/// in `args`, and the first failing cases of each.
pub fn run(args: &[String]) -> Result<()> {
    let [dir] = args else {
        bail!("usage: cargo xtask golden DIR");
    };
    let mut files = Vec::new();
    collect(Path::new(dir), &mut files).with_context(|| format!("cannot read {dir}"))?;
    files.sort();
    let mut reports = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file);
        let text = text.with_context(|| format!("cannot read {}", file.display()))?;
        let Some(runner) = runner_of(&file, &text) else {
            continue;
        };
        let report = (runner.run)(&text);
        println!("{} {}/{}", title(&file), report.passed, report.total);
        reports.push((title(&file), runner, report));
    }
    if reports.is_empty() {
        bail!("no recording of a known format below {dir}");
    }
    for (name, runner, report) in &reports {
        show(name, runner, report);
    }
    Ok(())
}

/// The `.jsonl` files below a folder; a file stands for itself.
fn collect(path: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|ext| ext == "jsonl") {
            into.push(path);
        }
    }
    Ok(())
}

fn runner_of(file: &Path, text: &str) -> Option<&'static Runner> {
    let header = api::golden::split(text.lines().next().unwrap_or_default()).0;
    let format = match header["format"].as_str() {
        Some(format) => format.split('/').next().unwrap_or_default(),
        None if is_scheduler(file) => "scheduler",
        None => {
            return RUNNERS
                .iter()
                .rev()
                .find(|r| title(file).starts_with(r.format));
        }
    };
    RUNNERS.iter().find(|runner| runner.format == format)
}

fn is_scheduler(file: &Path) -> bool {
    let folder = file.parent().and_then(Path::file_name);
    title(file) == "scheduler" || folder.is_some_and(|name| name == "scheduler")
}

/// The file's name without folders and ending; the scenarios of the scheduler
/// take their folder's.
fn title(file: &Path) -> String {
    let of = |path: &Path| path.file_stem().unwrap_or_default().display().to_string();
    match (of(file), file.parent()) {
        (name, Some(folder)) if name == "scenarios" => of(folder),
        (name, _) => name,
    }
}

fn show(name: &str, runner: &Runner, report: &Report) {
    let reason = |case: &str| {
        let id = case.split(' ').next().unwrap_or_default();
        let known = runner.differs.iter().find(|(known, _)| *known == id);
        known.map(|(_, reason)| *reason)
    };
    let (known, new): (Vec<_>, Vec<_>) = report
        .failures
        .iter()
        .partition(|(case, _)| reason(case).is_some());
    for (case, _) in known {
        println!(
            "{name}: {case}: differs on purpose: {}",
            reason(case).unwrap_or_default()
        );
    }
    for (case, wrong) in new.iter().take(SHOWN) {
        let short: String = wrong.chars().take(WIDTH).collect();
        println!("{name}: {case}: {short}");
    }
    if new.len() > SHOWN {
        println!("{name}: {} more", new.len() - SHOWN);
    }
}

/// The recorded server's delays need a clock that jumps.
fn prometheus_scaler(text: &str) -> Report {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    match built {
        Ok(runtime) => runtime.block_on(triggers::golden::prometheus_scaler(text)),
        Err(error) => {
            let mut report = Report::default();
            report.add(Err(("runtime".to_owned(), error.to_string())));
            report
        }
    }
}
