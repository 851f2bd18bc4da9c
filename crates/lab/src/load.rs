//! The load of a simulated GPU workload: what the annotation
//! `lab.rheostat.dev/load` on a Deployment means for its replicas' GPUs.
//!
//! Everything here is a pure function of the annotation, a trace's text and
//! the time since the load began.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;

/// The annotation on a Deployment.
pub const ANNOTATION: &str = "lab.rheostat.dev/load";

/// Rows that a trace may have; two weeks by the second are 1.2 million.
const MAX_ROWS: usize = 4_000_000;
/// A step longer than this many usual ones is a hole.
const HOLE: f64 = 3.0;

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
    /// The trace has no such column.
    #[error("{ANNOTATION}: trace {file} has no column \"{column}\"; it has {present}")]
    Column {
        /// Path as written.
        file: String,
        /// Column as written.
        column: String,
        /// Columns of the file, joined.
        present: String,
    },
    /// One line of the trace is wrong.
    #[error("{ANNOTATION}: trace {file} line {line}: {problem}")]
    Line {
        /// Path as written.
        file: String,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The trace as a whole is no load.
    #[error("{ANNOTATION}: trace {file}: {problem}")]
    Trace {
        /// Path as written.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
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
    trace: Option<Trace>,
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
                Some(Trace::read(file, &text, column, *peak)?)
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
                Some(trace.as_ref().map_or(0.0, |trace| trace.at(since_start)))
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

/// A recorded load in GPUs. A value holds until the next; the last one holds
/// for ever.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Seconds since the first row, ascending.
    times: Vec<f64>,
    gpus: Vec<f64>,
}

impl Trace {
    /// Reads one column of a CSV text, scaled so that its 99th percentile is
    /// `peak`. The first column is the time, in seconds or RFC 3339; the first
    /// line names the columns.
    pub fn read(file: &str, text: &str, column: &str, peak: f64) -> Result<Self, LoadError> {
        let whole = |problem: &str| LoadError::Trace {
            file: file.to_owned(),
            problem: problem.to_owned(),
        };
        let at = |line: usize, problem: String| LoadError::Line {
            file: file.to_owned(),
            line,
            problem,
        };
        let text = text.trim_start_matches('\u{feff}');
        let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
        let (_, header) = lines.next().ok_or_else(|| whole("the file is empty"))?;
        let names: Vec<&str> = header.split(',').map(cell).collect();
        let index = names
            .iter()
            .skip(1)
            .position(|name| *name == column)
            .map(|i| i + 1);
        let index = index.ok_or_else(|| LoadError::Column {
            file: file.to_owned(),
            column: column.to_owned(),
            present: names
                .iter()
                .skip(1)
                .take(50)
                .copied()
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let (mut times, mut values, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        for (number, line) in lines {
            if line.trim().is_empty() {
                continue;
            }
            if times.len() == MAX_ROWS {
                return Err(at(number, format!("more than {MAX_ROWS} rows")));
            }
            let mut cells = line.split(',').map(cell);
            let when = cells.next().unwrap_or_default();
            let time = seconds(when).ok_or_else(|| {
                at(
                    number,
                    format!(
                        "\"{}\" is neither seconds nor an RFC 3339 time",
                        brief(when)
                    ),
                )
            })?;
            let text = cells
                .nth(index - 1)
                .ok_or_else(|| at(number, format!("no value in column \"{column}\"")))?;
            let value = text
                .parse::<f64>()
                .ok()
                .filter(|v| v.is_finite() && *v >= 0.0);
            let value = value.ok_or_else(|| {
                at(
                    number,
                    format!("\"{}\" is not a number from 0 on", brief(text)),
                )
            })?;
            if times.last().is_some_and(|last| time <= *last) {
                return Err(at(number, "the time does not grow".to_owned()));
            }
            times.push(time);
            values.push(value);
            numbers.push(number);
        }
        let Some(first) = times.first().copied() else {
            return Err(whole("it has no rows"));
        };
        check_holes(&times, &numbers).map_err(|(line, problem)| at(line, problem))?;
        let top = percentile_99(&values);
        if top <= 0.0 {
            return Err(whole(&format!("the 99th percentile of \"{column}\" is 0")));
        }
        for time in &mut times {
            *time -= first;
        }
        for value in &mut values {
            *value *= peak / top;
        }
        Ok(Self {
            times,
            gpus: values,
        })
    }

    /// GPUs' worth of work at this time after the first row.
    pub fn at(&self, since_start: Duration) -> f64 {
        let seconds = since_start.as_secs_f64();
        let after = self.times.partition_point(|time| *time <= seconds);
        self.gpus
            .get(after.saturating_sub(1))
            .copied()
            .unwrap_or(0.0)
    }

    /// Time from the first row to the last.
    pub fn length(&self) -> Duration {
        Duration::try_from_secs_f64(self.times.last().copied().unwrap_or(0.0)).unwrap_or_default()
    }
}

/// A recording with a hole would be read as a load that stands still.
fn check_holes(times: &[f64], numbers: &[usize]) -> Result<(), (usize, String)> {
    let mut steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let original = steps.clone();
    steps.sort_by(f64::total_cmp);
    let Some(usual) = steps.get(steps.len() / 2).copied() else {
        return Ok(());
    };
    for (i, step) in original.iter().enumerate() {
        if *step > HOLE * usual {
            let line = numbers[i + 1];
            let mut problem = format!("a hole of {step} s before this line");
            let _ = write!(
                problem,
                " where a step is usually {usual} s; fill it or cut the file"
            );
            return Err((line, problem));
        }
    }
    Ok(())
}

/// The 99th percentile with linear interpolation.
fn percentile_99(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = 0.99 * (sorted.len().saturating_sub(1)) as f64;
    let below = rank.floor() as usize;
    let low = sorted.get(below).copied().unwrap_or(0.0);
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    low + (high - low) * (rank - rank.floor())
}

fn cell(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text)
}

fn brief(text: &str) -> String {
    text.chars().take(40).filter(|c| !c.is_control()).collect()
}

/// Seconds from a number or from a time of day; one without a zone is UTC.
fn seconds(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let stamp = text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(stamp.as_nanosecond() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(annotation: &str) -> Model {
        Model::read(Some(annotation), |_| {
            Err(std::io::ErrorKind::NotFound.into())
        })
        .unwrap()
    }

    fn read(text: &str) -> Result<Trace, LoadError> {
        Trace::read("t.csv", text, "rps", 8.0)
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
        let at = |seconds| trace.at(Duration::from_secs(seconds));
        assert_eq!((at(0), at(9)), (0.0, 0.0));
        assert!((at(990) - 8.0).abs() < 1e-9 && (at(999) - 8.0).abs() < 1e-9);
        assert!((at(1000) - 800.0 / 99.0).abs() < 1e-9);
        assert_eq!(at(1000), at(1_000_000));
        assert_eq!(trace.length(), Duration::from_secs(1000));
    }

    #[test]
    fn times_may_be_written_out() {
        let text = "at,rps\n2026-01-01T00:00:00Z,1\n2026-01-01 00:01:00,2\n\
                    2026-01-01T01:02:00+01:00,2\n";
        let trace = read(text).unwrap();
        assert!(trace.at(Duration::from_secs(59)) < trace.at(Duration::from_secs(60)));
        assert_eq!(trace.length(), Duration::from_secs(120));
    }

    #[test]
    fn a_wrong_trace_names_the_line() {
        for (text, want) in [
            ("", "the file is empty"),
            ("t,rps\n", "it has no rows"),
            ("t,rps\n0,0\n1,0\n", "the 99th percentile of \"rps\" is 0"),
            ("t,qps,load\n0,1,2\n", "no column \"rps\"; it has qps, load"),
            ("t,rps\n0,1\nx,2\n", "line 3: \"x\" is neither seconds"),
            (
                "t,rps\n0,1\n1,-2\n",
                "line 3: \"-2\" is not a number from 0 on",
            ),
            ("t,rps\n0,1\n1\n", "line 3: no value in column"),
            ("t,rps\n1,1\n1,2\n", "line 3: the time does not grow"),
            (
                "t,rps\n0,1\n10,1\n20,1\n51,1\n61,1\n",
                "line 5: a hole of 31 s before this line",
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
        let trace = Trace::read("servegen", &text, "m_large_rps", 8.0).unwrap();
        assert_eq!(trace.length(), Duration::from_secs(2015 * 600));
        let above = trace.gpus.iter().filter(|gpus| **gpus > 8.0).count();
        assert!(
            (10..=30).contains(&above),
            "1 % of 2,016 rows lie above the peak: {above}"
        );
    }
}
