//! Files and servers that a replay reads.

use std::fs;
use std::path::{Path, PathBuf};

use replay::error::{InputError, Read};
use replay::load::Sight;
use replay::model::Starting;
use replay::prometheus::{self, History, Stretch};
use replay::signal::Metrics;
use replay::{Builder, DemandOptions, Load, Manifests, Model, Observed, Policy, PolicySource};

use super::Args;
use super::server::Server;

/// A load with what is to be said about it.
pub struct Loaded {
    /// The load.
    pub load: Load,
    /// What it was reconstructed from.
    pub observed: Option<Observed>,
    /// Where it comes from.
    pub source: String,
    /// What the reader must know first.
    pub warnings: Vec<String>,
}

/// Reads the manifests of `-f`.
pub fn builder(args: &Args, model: &Model) -> Read<Builder> {
    let mut metrics = Metrics::default();
    for text in &args.metric {
        metrics.add(text)?;
    }
    Ok(Builder {
        manifests: manifests(&args.file)?,
        metrics,
        hpa: model.hpa.clone(),
    })
}

/// The policies of `--compare`, each with the workloads of its file, or else
/// those of `-f`.
pub fn rivals(args: &Args, base: &Builder) -> Read<Vec<(PolicySource, Builder)>> {
    let mut out = Vec::new();
    for path in &args.compare {
        let mut manifests = manifests(std::slice::from_ref(path))?;
        if manifests.policies.is_empty() {
            return Err(InputError::new(
                format!("--compare {}", path.display()),
                "there is no ScaledObject or HorizontalPodAutoscaler in it",
            ));
        }
        for (key, target) in &base.manifests.targets {
            manifests
                .targets
                .entry(key.clone())
                .or_insert_with(|| target.clone());
        }
        let builder = Builder {
            manifests,
            ..base.clone()
        };
        for source in builder.manifests.policies.clone() {
            out.push((source, builder.clone()));
        }
    }
    Ok(out)
}

fn manifests(paths: &[PathBuf]) -> Read<Manifests> {
    let mut out = Manifests::default();
    for path in paths {
        let files = crate::inout::manifests(path);
        for file in files.map_err(|e| InputError::new("-f", format!("{e:#}")))? {
            out.add(&file.display().to_string(), &read(&file)?)?;
        }
    }
    Ok(out)
}

fn read(path: &Path) -> Read<String> {
    fs::read_to_string(path)
        .map_err(|e| InputError::new(path.display().to_string(), format!("cannot be read: {e}")))
}

/// Reads the load.
pub fn load(args: &Args, base: &Policy, model: &Model) -> Read<Loaded> {
    let sight = Sight {
        gpus: base.gpus,
        saturated: args.saturated,
        lag_ms: i64::try_from(model.lag().as_millis()).unwrap_or(i64::MAX),
        starting_shown: model.starting == Starting::Idle,
    };
    if let Some(demand) = &args.demand {
        let (file, column) = match demand.rsplit_once('#') {
            // A file may have the sign in its name.
            Some(_) if Path::new(demand).exists() => (demand.as_str(), None),
            Some((file, column)) => (file, Some(column)),
            None => (demand.as_str(), None),
        };
        if let Some(peak) = args.peak.filter(|p| !p.is_finite() || *p <= 0.0) {
            return Err(InputError::new(
                format!("--peak {peak}"),
                "give a number above 0",
            ));
        }
        let options = DemandOptions {
            column,
            peak: args.peak,
            linear: args.interpolate == "linear",
        };
        let mut source = demand.clone();
        if let Some(peak) = args.peak {
            source += &format!(" (99th percentile = {peak} GPUs)");
        }
        return Ok(Loaded {
            load: Load::from_csv(file, &read(Path::new(file))?, &options)?,
            observed: None,
            source,
            warnings: Vec::new(),
        });
    }
    if let Some(path) = &args.observed {
        let name = path.display().to_string();
        let observed = Observed::from_csv(&name, &read(path)?, &sight)?;
        return Ok(Loaded {
            load: observed.load.clone(),
            observed: Some(observed),
            source: format!("demand reconstructed from {name}"),
            warnings: Vec::new(),
        });
    }
    if let Some(url) = &args.prometheus {
        return from_server(args, url, base, &sight);
    }
    Err(InputError::new(
        "load",
        "say what the load was: --demand FILE, --observed FILE or --prometheus URL",
    ))
}

fn from_server(args: &Args, url: &str, base: &Policy, sight: &Sight) -> Read<Loaded> {
    let moment = |flag: &str, text: &Option<String>| {
        let text = text.as_deref().unwrap_or("");
        replay::load::time(text).ok_or_else(|| {
            InputError::new(
                format!("{flag} {text}"),
                "give RFC 3339 such as 2026-01-01T00:00:00Z, or seconds since the epoch",
            )
        })
    };
    let step = args.step.unwrap_or(std::time::Duration::from_secs(15));
    let stretch = Stretch::new(
        moment("--from", &args.from)?,
        moment("--to", &args.to)?,
        i64::try_from(step.as_millis()).unwrap_or(i64::MAX),
    )?;
    let place = format!("--prometheus {url}");
    let queries = prometheus::queries(
        &place,
        base,
        args.replicas_query.as_deref(),
        args.ready_query.as_deref(),
    )?;
    let server = Server::new(url, args.token_file.as_deref())?;
    let history = History {
        signal: server.ask(&queries[0], &stretch)?,
        shown: server.ask(&queries[1], &stretch)?,
        replicas: server.ask(&queries[2], &stretch)?,
        ready: server.ask(&queries[3], &stretch)?,
    };
    let partial = args.allow_partial;
    let (observed, warnings) =
        prometheus::observed(&place, base, &stretch, &history, sight, partial)?;
    Ok(Loaded {
        load: observed.load.clone(),
        observed: Some(observed),
        source: format!("demand reconstructed from {url}"),
        warnings,
    })
}
