//! Stories: a file of steps, each with what to do, what to wait for and the
//! sentence to show. `rheostat lab --play` and the scenario tests run the same
//! files through the same code, on any Kubernetes API.

mod apply;
mod check;
mod play;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

pub use apply::{Applier, ApplyError, Outcome};
pub use check::{Check, CheckError};
pub use play::{StoryError, Told, play};

/// A story as it stands in its file.
#[derive(Clone, Debug)]
pub struct Story {
    /// What it is about.
    pub title: String,
    /// Folder that the files of its steps are relative to.
    pub folder: PathBuf,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One step, in the order in which its parts happen.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The sentence to show.
    pub say: Option<String>,
    /// Manifest files to apply.
    pub apply: Vec<PathBuf>,
    /// Annotations to set, by `kind/name`; null removes one.
    pub annotate: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// Replicas to set, by `kind/name`.
    pub scale: BTreeMap<String, i64>,
    /// Objects to delete, `kind/name` each.
    pub delete: Vec<String>,
    /// A fixed time to wait.
    pub wait: Option<Duration>,
    /// What to wait for.
    pub until: Vec<Check>,
    /// How long to wait for it at most; 10 minutes where not given.
    pub within: Duration,
    /// What must hold at the end.
    pub expect: Vec<Check>,
}

/// Why a story cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot read the story {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is no YAML.
    #[error("{path}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: api::yaml::YamlError,
    },
    /// A field is wrong.
    #[error("{path}: {what}")]
    Field {
        /// The file.
        path: PathBuf,
        /// Which, and why.
        what: String,
    },
}

const DEFAULT_WITHIN: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStory {
    title: String,
    steps: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    say: Option<String>,
    #[serde(default)]
    apply: OneOrMany,
    #[serde(default)]
    annotate: BTreeMap<String, BTreeMap<String, Option<String>>>,
    #[serde(default)]
    scale: BTreeMap<String, i64>,
    #[serde(default)]
    delete: OneOrMany,
    wait: Option<String>,
    #[serde(default)]
    until: OneOrMany,
    within: Option<String>,
    #[serde(default)]
    expect: OneOrMany,
}

/// A string or a list of them.
#[derive(Default)]
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(one) => Ok(Self(vec![one])),
            many @ Value::Array(_) => serde_json::from_value(many)
                .map(Self)
                .map_err(|_| serde::de::Error::custom("expected a list of strings")),
            _ => Err(serde::de::Error::custom(
                "expected a string or a list of strings",
            )),
        }
    }
}

impl Story {
    /// Reads the story at `path`; its files are looked up beside it.
    ///
    /// # Errors
    /// With the place in the file, the field and what would be right.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let text = std::fs::read_to_string(path).map_err(|source| ReadError::File {
            path: path.to_path_buf(),
            source,
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::parse(&text, path, folder)
    }

    /// Reads a story from text; `path` is for messages.
    ///
    /// # Errors
    /// As [`Story::read`].
    pub fn parse(text: &str, path: &Path, folder: PathBuf) -> Result<Self, ReadError> {
        let field = |what: String| ReadError::Field {
            path: path.to_path_buf(),
            what,
        };
        let mut documents = api::yaml::parse_documents(text).map_err(|source| ReadError::Yaml {
            path: path.to_path_buf(),
            source,
        })?;
        if documents.len() != 1 {
            return Err(field(format!(
                "a story is one document, this is {}",
                documents.len()
            )));
        }
        let raw: RawStory =
            serde_json::from_value(documents.remove(0).value).map_err(|e| field(e.to_string()))?;
        let steps = raw.steps.into_iter().enumerate().map(|(n, raw)| {
            step(raw, &folder).map_err(|what| field(format!("steps[{n}]: {what}")))
        });
        Ok(Self {
            title: raw.title,
            steps: steps.collect::<Result<_, _>>()?,
            folder,
        })
    }
}

fn step(raw: Value, folder: &Path) -> Result<Step, String> {
    let raw: RawStep = serde_json::from_value(raw).map_err(|e| e.to_string())?;
    let checks = |name: &str, list: OneOrMany| {
        let parse = |text: &String| text.parse().map_err(|e| format!("{name}: {e}"));
        list.0
            .iter()
            .map(parse)
            .collect::<Result<Vec<Check>, String>>()
    };
    let duration = |name: &str, text: &Option<String>| {
        let parse = |text: &String| {
            let parsed =
                api::duration::GoDuration::parse(text).map_err(|e| format!("{name}: {e}"))?;
            if parsed.0 < 0 {
                return Err(format!("{name}: {text} is negative"));
            }
            Ok(parsed.to_std())
        };
        text.as_ref().map(parse).transpose()
    };
    Ok(Step {
        say: raw
            .say
            .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
        apply: raw.apply.0.iter().map(|file| folder.join(file)).collect(),
        annotate: raw.annotate,
        scale: raw.scale,
        delete: raw.delete.0,
        wait: duration("wait", &raw.wait)?,
        until: checks("until", raw.until)?,
        within: duration("within", &raw.within)?.unwrap_or(DEFAULT_WITHIN),
        expect: checks("expect", raw.expect)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Story, String> {
        Story::parse(text, Path::new("s.yaml"), PathBuf::from("dir")).map_err(|e| {
            let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}"));
            format!("{e}{}", cause.unwrap_or_default())
        })
    }

    #[test]
    fn a_step_takes_one_string_or_several_where_several_make_sense() {
        let story = parse(
            "title: t\nsteps:\n- say: >-\n    a\n    b\n  apply: x.yaml\n  \
             until: exists deployment/x\n  within: 90s\n- apply: [a.yaml, b.yaml]\n  wait: 1m\n",
        )
        .unwrap();
        assert_eq!(story.steps[0].say.as_deref(), Some("a b"));
        assert_eq!(story.steps[0].apply, [PathBuf::from("dir/x.yaml")]);
        assert_eq!(story.steps[0].within, Duration::from_secs(90));
        assert_eq!(story.steps[1].apply.len(), 2);
        assert_eq!(story.steps[1].wait, Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_wrong_field_is_named_with_its_step() {
        let check = |text: &str, part: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(
            "title: t\nsteps:\n- sya: x\n",
            "steps[0]: unknown field `sya`",
        );
        check(
            "title: t\nsteps:\n- until: count pods\n",
            "steps[0]: until: ",
        );
        check("title: t\nsteps:\n- wait: soon\n", "steps[0]: wait: ");
        check("title: [", "s.yaml: line 1");
    }
}
