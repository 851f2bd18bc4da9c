//! The load of a simulated GPU workload: what the annotation
//! `lab.rheostat.dev/load` on a Deployment means for its replicas' GPUs.
//!
//! Everything here is a pure function of the annotation, a trace's text and
//! the time since the load began.

use std::time::Duration;

use replay::{DemandOptions, InputError};

/// The annotation on a Deployment.
pub const ANNOTATION: &str = "lab.rheostat.dev/load";

/// What a load annotation or its trace has wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The annotation cannot be read.
    #[error(
        "{ANNOTATION}: \"{value}\" {problem}; use busy, idle, a number of GPUs' worth of work \
         (1.2), util:PERCENT or trace:FILE#COLUMN@PEAK"
    )]
    Annotation {
        /// The annotation's value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The trace file cannot be read.
    #[error("{ANNOTATION}: cannot read the trace {file}: {cause}")]
    File {
        /// Path as written.
        file: String,
        /// The system's words.
        cause: String,
    },
    /// The trace is no load.
    #[error("{ANNOTATION}: trace {0}")]
    Trace(InputError),
}

/// A load as the annotation states it.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Every replica saturates its GPUs.
    Busy,
    /// This many GPUs' worth of work, shared by the ready replicas; 0 is idle.
    Work(f64),
    /// Every replica shows this many percent, whatever their number.
    Utilization(f64),
    /// A recorded load, scaled.
    Trace {
        /// Path of the CSV file.
        file: String,
        /// Name of the column.
        column: String,
        /// GPUs at the column's 99th percentile.
        peak: f64,
    },
}

impl Load {
    /// Reads the annotation; absent means busy.
    pub fn parse(annotation: Option<&str>) -> Result<Self, LoadError> {
        let Some(value) = annotation else {
            return Ok(Self::Busy);
        };
        let text = value.trim();
        let fail = |problem| {
            let mut value: String = value.chars().take(200).collect();
            value.retain(|c| !c.is_control());
            LoadError::Annotation { value, problem }
        };
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        match text {
            "" | "busy" => return Ok(Self::Busy),
            "idle" => return Ok(Self::Work(0.0)),
            _ => {}
        }
        if let Some(percent) = text.strip_prefix("util:") {
            let percent = percent.strip_suffix('%').unwrap_or(percent);
            let percent = number(percent).ok_or_else(|| fail("has no number after util:"))?;
            return if (0.0..=100.0).contains(&percent) {
                Ok(Self::Utilization(percent))
            } else {
                Err(fail("has a utilization outside 0 to 100"))
            };
        }
        if let Some(rest) = text.strip_prefix("trace:") {
            let (rest, peak) = rest.rsplit_once('@').ok_or_else(|| fail("has no @PEAK"))?;
            let (file, column) = rest
                .rsplit_once('#')
                .ok_or_else(|| fail("has no #COLUMN"))?;
            let peak = number(peak).filter(|p| *p > 0.0);
            let peak = peak.ok_or_else(|| fail("has a peak that is not a number above 0"))?;
            if file.is_empty() || column.is_empty() {
                return Err(fail("names no file or no column"));
            }
            return Ok(Self::Trace {
                file: file.to_owned(),
                column: column.to_owned(),
                peak,
            });
        }
        match number(text) {
            Some(work) if work >= 0.0 => Ok(Self::Work(work)),
            Some(_) => Err(fail("is negative")),
            None => Err(fail("is not a load")),
        }
    }
}

/// A load that can be asked for its demand at any time.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    load: Load,
    trace: Option<replay::Load>,
}

impl Default for Model {
    /// The load of a Deployment without the annotation.
    fn default() -> Self {
        Self {
            load: Load::Busy,
            trace: None,
        }
    }
}

/// How the load lies on the ready replicas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Utilization of each ready GPU, 0 to 100.
    pub utilization: f64,
    /// GPUs' worth of work that the ready replicas cannot do now.
    pub queue: f64,
}

impl Model {
    /// Reads the annotation and, where it names one, its trace.
    pub fn read(
        annotation: Option<&str>,
        read_file: impl FnOnce(&str) -> std::io::Result<String>,
    ) -> Result<Self, LoadError> {
        let load = Load::parse(annotation)?;
        let trace = match &load {
            Load::Trace { file, column, peak } => {
                let text = read_file(file).map_err(|e| LoadError::File {
                    file: file.clone(),
                    cause: e.to_string(),
                })?;
                Some(trace(file, &text, column, *peak)?)
            }
            _ => None,
        };
        Ok(Self { load, trace })
    }

    /// The annotation's meaning.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// GPUs' worth of work after this time; none where the load follows the
    /// replicas instead (`busy`, `util:`).
    pub fn demand(&self, since_start: Duration) -> Option<f64> {
        match (&self.load, &self.trace) {
            (Load::Busy | Load::Utilization(_), _) => None,
            (Load::Work(work), _) => Some(*work),
            (Load::Trace { .. }, trace) => {
                let ms = i64::try_from(since_start.as_millis()).unwrap_or(i64::MAX);
                Some(trace.as_ref().map_or(0.0, |trace| trace.value(ms)))
            }
        }
    }

    /// How the load lies on replicas that are ready with this many GPUs in all.
    /// Without a ready GPU nothing is done and all the demand waits.
    pub fn share(&self, ready_gpus: u32, since_start: Duration) -> Share {
        let gpus = f64::from(ready_gpus);
        let on_replicas = |percent| Share {
            utilization: if ready_gpus == 0 { 0.0 } else { percent },
            queue: 0.0,
        };
        match (&self.load, self.demand(since_start)) {
            (Load::Utilization(percent), _) => on_replicas(*percent),
            (_, None) => on_replicas(100.0),
            (_, Some(demand)) => Share {
                utilization: if ready_gpus == 0 {
                    0.0
                } else {
                    (demand / gpus * 100.0).min(100.0)
                },
                queue: (demand - gpus).max(0.0),
            },
        }
    }
}

/// Reads one column of a CSV text as a replay does, scaled so that its 99th
/// percentile is `peak` GPUs. Its last value holds for ever.
fn trace(file: &str, text: &str, column: &str, peak: f64) -> Result<replay::Load, LoadError> {
    let options = DemandOptions {
        column: Some(column),
        peak: Some(peak),
        linear: false,
    };
    replay::Load::from_csv(file, text, &options).map_err(LoadError::Trace)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn model(annotation: &str) -> Model {
        Model::read(Some(annotation), |_| {
            Err(std::io::ErrorKind::NotFound.into())
        })
        .unwrap()
    }

    fn read(text: &str) -> Result<replay::Load, LoadError> {
        trace("t.csv", text, "rps", 8.0)
    }

    #[test]
    fn each_form_of_the_annotation_loads_the_replicas() {
        let day = Duration::from_secs(86_400);
        let share = |utilization, queue| Share { utilization, queue };
        assert_eq!(Model::default().share(3, day), share(100.0, 0.0));
        assert_eq!(model("busy").share(20, day), share(100.0, 0.0));
        assert_eq!(model("3.5").share(7, day), share(50.0, 0.0));
        assert_eq!(model("3.5").share(2, day), share(100.0, 1.5));
        assert_eq!(model("3.5").share(0, day), share(0.0, 3.5));
        assert_eq!(model("idle").share(1, day), share(0.0, 0.0));
        assert_eq!(model("0").share(1, day), share(0.0, 0.0));
        assert_eq!(model("util:50").share(1, day), share(50.0, 0.0));
        assert_eq!(model("util:50").share(10, day), share(50.0, 0.0));
    }

    #[test]
    fn a_wrong_annotation_says_what_is_wrong() {
        for (text, want) in [
            ("bussy", "\"bussy\" is not a load"),
            ("-1", "is negative"),
            ("NaN", "is not a load"),
            ("util:150", "outside 0 to 100"),
            ("util:x", "no number after util:"),
            ("trace:a.csv#rps", "has no @PEAK"),
            ("trace:a.csv@8", "has no #COLUMN"),
            ("trace:a.csv#rps@0", "peak that is not a number above 0"),
        ] {
            let error = Load::parse(Some(text)).expect_err(text).to_string();
            assert!(
                error.contains(want) && error.contains("util:PERCENT"),
                "{text}: {error}"
            );
        }
        let error = Model::read(Some("trace:nowhere.csv#rps@8"), |_| {
            Err(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "no such file",
            ))
        });
        let error = error.expect_err("missing file").to_string();
        assert!(
            error.contains("cannot read the trace nowhere.csv: no such file"),
            "{error}"
        );
    }

    #[test]
    fn a_trace_is_scaled_holds_its_values_and_its_last_one_for_ever() {
        let mut text = "t,rps\n".to_owned();
        for i in 0..=100 {
            let _ = writeln!(text, "{},{}", 1000 + i * 10, i);
        }
        let trace = read(&text).unwrap();
        let at = |seconds: i64| trace.value(seconds * 1000);
        assert_eq!((at(0), at(9)), (0.0, 0.0));
        assert!((at(990) - 8.0).abs() < 1e-9 && (at(999) - 8.0).abs() < 1e-9);
        assert!((at(1000) - 800.0 / 99.0).abs() < 1e-9);
        assert_eq!(at(1000), at(1_000_000));
        assert_eq!(trace.times.last(), Some(&1_000_000));
    }

    #[test]
    fn times_may_be_written_out() {
        let text = "at,rps\n2026-01-01T00:00:00Z,1\n2026-01-01 00:01:00,2\n\
                    2026-01-01T01:02:00+01:00,2\n";
        let trace = read(text).unwrap();
        assert!(trace.value(59_999) < trace.value(60_000));
        assert_eq!(trace.times.last(), Some(&120_000));
    }

    #[test]
    fn a_wrong_trace_names_the_line() {
        for (text, want) in [
            ("", "the file is empty"),
            ("t,rps\n", "it has fewer than two rows"),
            (
                "t,rps\n0,0\n1,0\n",
                "the 99th percentile of column rps is 0",
            ),
            (
                "t,qps,load\n0,1,2\n1,1,2\n",
                "no column \"rps\"; it has qps, load",
            ),
            ("t,rps\n0,1\nx,2\n", "line 3: \"x\" is no time"),
            ("t,rps\n0,1\n1,-2\n", "line 3, column rps: -2 is negative"),
            (
                "t,rps\n0,1\n1\n",
                "line 3: 1 values where the header names 2",
            ),
            ("t,rps\n1,1\n1,2\n", "line 3: time 1 is there twice"),
            (
                "t,rps\n0,1\n10,1\n20,1\n51,1\n61,1\n",
                "line 5: there is a hole of 31 s before this row",
            ),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text:?}: {error}");
        }
        assert!(
            read("t,rps\n0,1\n10,1\n20,1\n50,1\n60,1\n").is_ok(),
            "three steps are no hole"
        );
    }

    #[test]
    fn two_weeks_of_recorded_load_reach_their_peak() {
        let root = std::env::var("RHEOSTAT_SHARED").unwrap_or_else(|_| "../../../shared".into());
        let path = std::path::Path::new(&root).join("data/servegen_10min_rates.csv");
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("SKIP: no {} (set RHEOSTAT_SHARED)", path.display());
            return;
        };
        let trace = trace("servegen", &text, "m_large_rps", 8.0).unwrap();
        assert_eq!(trace.times.last(), Some(&(2015 * 600_000)));
        let above = trace.gpus.iter().filter(|gpus| **gpus > 8.0).count();
        assert!(
            (10..=30).contains(&above),
            "1 % of 2,016 rows lie above the peak: {above}"
        );
    }
}
