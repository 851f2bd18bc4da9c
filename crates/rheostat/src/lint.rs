//! `rheostat lint`: reads manifests, applies the rules, prints what they find.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ::lint::{Assumptions, Exporter, Source, Text};
use anyhow::{Context as _, Result, bail};
use api::duration::GoDuration;
use api::pool::Pool;

/// Exit code for findings that are errors or warnings.
const FOUND: u8 = 1;
/// Exit code for input that cannot be used.
const UNUSABLE: u8 = 2;

/// Arguments of `rheostat lint`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 no error or warning, 1 some, 2 unusable input.\n\
    Rules: docs/lint.md, or --explain ID."
)]
pub struct Args {
    /// Files or folders with manifests; - is standard input
    #[arg(short = 'f', long = "file", value_name = "PATH", num_args = 1..,
          required_unless_present = "explain")]
    files: Vec<PathBuf>,
    /// A node pool, e.g. name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=3,taint=sku=gpu:NoSchedule
    #[arg(long = "pool", value_name = "KEY=VALUE,…")]
    pools: Vec<String>,
    /// A file of node pools: one a line as --pool takes it, or a YAML list
    #[arg(long = "pools", value_name = "FILE")]
    pool_file: Option<PathBuf>,
    /// Which exporter serves the GPU series (assumed: dcgm)
    #[arg(long, value_parser = ["dcgm", "dcgm-4.9", "rheostat"])]
    exporter: Option<String>,
    /// Whether the scrape keeps the exporter's labels (assumed: as the monitors say, else false)
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    honor_labels: Option<bool>,
    /// From a replica's creation until it serves, e.g. 4m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ready_lag: Option<Duration>,
    /// How soon a rise in load has to be answered, e.g. 2m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    objective: Option<Duration>,
    /// How to print
    #[arg(long, default_value = "text", value_parser = ["text", "json", "sarif"])]
    format: String,
    /// Explain a rule and do nothing else
    #[arg(long, value_name = "ID", conflicts_with_all = ["files"])]
    explain: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration such as 90s or 4m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    match GoDuration::parse(text) {
        Ok(duration) if duration.0 >= 0 => Ok(duration.to_std()),
        _ => Err(wrong()),
    }
}

/// Runs the command; its exit codes are part of its interface.
pub fn run(args: &Args) -> ExitCode {
    match checked(args) {
        Ok(bad) => ExitCode::from(if bad { FOUND } else { 0 }),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

/// Whether there are errors or warnings.
fn checked(args: &Args) -> Result<bool> {
    if let Some(id) = &args.explain {
        match ::lint::explain(id) {
            Ok(text) => print(&text)?,
            Err(near) => bail!("there is no rule \"{id}\", did you mean \"{near}\"?"),
        }
        return Ok(false);
    }
    let assumptions = Assumptions {
        exporter: args.exporter.as_deref().map(|name| match name {
            "dcgm-4.9" => Exporter::Dcgm49,
            "rheostat" => Exporter::Rheostat,
            _ => Exporter::Dcgm,
        }),
        honor_labels: args.honor_labels,
        pools: pools(args)?,
        ready_lag: args.ready_lag,
        objective: args.objective,
    };
    let sources = sources(&args.files)?;
    let report = ::lint::lint(&sources, &assumptions)?;
    if report.objects == 0 {
        let names: Vec<String> = args.files.iter().map(|f| f.display().to_string()).collect();
        bail!(
            "no Kubernetes object in {}: a manifest has apiVersion and kind",
            names.join(", ")
        );
    }
    let out = match args.format.as_str() {
        "json" => format!("{:#}\n", ::lint::json(&report, &sources)),
        "sarif" => {
            let version = env!("CARGO_PKG_VERSION");
            format!("{:#}\n", ::lint::sarif(&report, &sources, version))
        }
        _ => {
            let terminal = std::io::stdout().is_terminal();
            let width = crossterm::terminal::size().map_or(100, |(columns, _)| columns.into());
            let style = Text {
                colour: terminal && std::env::var_os("NO_COLOR").is_none(),
                width: if terminal { width } else { 200 },
            };
            ::lint::text(&report, &sources, style)
        }
    };
    print(&out)?;
    Ok(report.is_bad())
}

/// Prints; a reader that has gone away ends it quietly.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

fn sources(files: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for file in files {
        if file == Path::new("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("reading standard input")?;
            let name = "<stdin>".to_owned();
            sources.push(Source { name, text });
        } else if file.is_dir() {
            let mut found = Vec::new();
            manifests(file, &mut found)?;
            if found.is_empty() {
                bail!("no .yaml, .yml or .json file in folder {}", file.display());
            }
            for path in found {
                sources.push(read(&path)?);
            }
        } else {
            sources.push(read(file)?);
        }
    }
    Ok(sources)
}

fn read(path: &Path) -> Result<Source> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.display().to_string();
    Ok(Source { name, text })
}

/// Files of a folder and the folders in it, in the order of their names;
/// hidden ones are left out.
fn manifests(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || format!("cannot read folder {}", folder.display());
    let mut entries = std::fs::read_dir(folder)
        .with_context(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let kind = entry.file_type().with_context(unreadable)?;
        let manifest = path
            .extension()
            .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|e| ext == *e));
        if hidden {
            continue;
        }
        // A link to a folder could lead round in a circle.
        if kind.is_dir() {
            manifests(&path, found)?;
        } else if manifest && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn pools(args: &Args) -> Result<Vec<Pool>> {
    let Some(file) = &args.pool_file else {
        return Ok(Pool::parse_all(&args.pools)?);
    };
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let mut all = described(&text).with_context(|| format!("{name}"))?;
    if all.is_empty() {
        bail!("{name}: no pool in it");
    }
    for (line, pool) in &all {
        if let Err(error) = Pool::parse(pool, 1) {
            bail!("{name}: {line}: {}", error.problem);
        }
    }
    let flags = args.pools.iter().cloned();
    all.extend(flags.map(|pool| ("--pool".to_owned(), pool)));
    let texts: Vec<&String> = all.iter().map(|(_, pool)| pool).collect();
    Pool::parse_all(&texts).map_err(|e| anyhow::anyhow!("{name} and --pool: {}", e.problem))
}

/// The descriptions in a file of pools with their places.
fn described(text: &str) -> Result<Vec<(String, String)>> {
    let value = api::yaml::parse(text);
    if let Ok(serde_json::Value::Array(items)) = value {
        let all = items.iter().enumerate();
        return all
            .map(|(n, item)| Ok((format!("pool {}", n + 1), of_item(item)?)))
            .collect();
    }
    let lines = text.lines().enumerate();
    Ok(lines
        .map(|(n, line)| (format!("line {}", n + 1), line.trim().to_owned()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect())
}

/// `{name: gpunp, max: 3, taint: [a=b:NoSchedule]}` as `--pool` takes it.
fn of_item(item: &serde_json::Value) -> Result<String> {
    use serde_json::Value;
    let plain = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) => Ok(value.to_string()),
        other => bail!("{other} is neither a text nor a number"),
    };
    match item {
        Value::String(text) => Ok(text.clone()),
        Value::Object(fields) => {
            let mut parts = Vec::new();
            for (key, value) in fields {
                match value {
                    Value::Array(list) => {
                        for one in list {
                            parts.push(format!("{key}={}", plain(one)?));
                        }
                    }
                    one => parts.push(format!("{key}={}", plain(one)?)),
                }
            }
            Ok(parts.join(","))
        }
        other => bail!("{other} is no pool: write name=…,sku=…,max=… or a map of these"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_pools_are_read_in_both_forms() {
        let lines = "# ours\nname=a,gpus=1,max=3\n\nname=b,gpus=2\n";
        let list = "- name=a,gpus=1,max=3\n- {name: b, gpus: 2, taint: [x=y:NoSchedule]}\n";
        assert_eq!(described(lines).unwrap()[1].0, "line 4");
        let (_, second) = &described(list).unwrap()[1];
        assert_eq!(Pool::parse(second, 1).unwrap().taints.len(), 1);
        assert!(described("- [1]\n").is_err());
    }

    #[test]
    fn durations_are_seconds_or_go_texts() {
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("4m").unwrap(), Duration::from_secs(240));
        assert!(duration("-1s").is_err() && duration("soon").is_err());
    }
}
