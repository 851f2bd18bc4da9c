//! `rheostat lint`: reads manifests, applies the rules, prints what they find.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ::lint::{Assumptions, Exporter, Source, Text};
use anyhow::{Context as _, Result, anyhow, bail};
use api::duration::span;
use api::pool::Pool;

use crate::inout::{manifests, print};

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
    #[arg(long, value_name = "DURATION", value_parser = span)]
    ready_lag: Option<Duration>,
    /// How soon a rise in load has to be answered, e.g. 2m
    #[arg(long, value_name = "DURATION", value_parser = span)]
    objective: Option<Duration>,
    /// How to print
    #[arg(long, default_value = "text", value_parser = ["text", "json", "sarif"])]
    format: String,
    /// Explain a rule and do nothing else
    #[arg(long, value_name = "ID", conflicts_with_all = ["files"])]
    explain: Option<String>,
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
        } else {
            for path in manifests(file)? {
                sources.push(read(&path)?);
            }
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

fn pools(args: &Args) -> Result<Vec<Pool>> {
    let mut pools = Pool::parse_all(&args.pools)?;
    if let Some(file) = &args.pool_file {
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        let described = Pool::parse_file(&text).map_err(|e| anyhow!("{name}: {e}"))?;
        if let Some(twice) = described
            .iter()
            .find(|d| pools.iter().any(|p| p.name == d.name))
        {
            bail!("pool \"{}\" is in {name} and in --pool", twice.name);
        }
        // Those of the file come first.
        pools.splice(..0, described);
    }
    Ok(pools)
}
