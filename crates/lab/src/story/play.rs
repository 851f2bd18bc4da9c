//! Playing a story against a Kubernetes API.

use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::apply::said;
use super::check::{Check, Target};
use super::{Applier, ApplyError, Step, Story};

/// How often checks are looked at; the API answers in microseconds, and no
/// recorded time is finer.
const LOOK: Duration = Duration::from_millis(500);

/// What a story tells while it is played.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A step begins.
    Step {
        /// Its number, from 1.
        number: usize,
        /// Of so many.
        of: usize,
        /// Its sentence.
        say: Option<String>,
    },
    /// Something was done.
    Did(String),
    /// A check that was waited for holds.
    Reached {
        /// The check.
        check: String,
        /// Time since the step began.
        after: Duration,
    },
    /// A check at the end of a step holds.
    Holds(String),
}

/// Why a story stopped.
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// A file could not be applied.
    #[error("step {step}")]
    Apply {
        /// The step.
        step: usize,
        /// Why.
        source: ApplyError,
    },
    /// An object could not be changed.
    #[error("step {step}: {what}")]
    Do {
        /// The step.
        step: usize,
        /// What, and why.
        what: String,
    },
    /// A check did not come to hold.
    #[error("step {step}: not reached within {within:?}: {check} ({instead})")]
    NotReached {
        /// The step.
        step: usize,
        /// The check.
        check: String,
        /// How long it was waited for.
        within: Duration,
        /// What is there instead.
        instead: String,
    },
    /// A check at the end of a step does not hold.
    #[error("step {step}: expected: {check} ({instead})")]
    Unexpected {
        /// The step.
        step: usize,
        /// The check.
        check: String,
        /// What is there instead.
        instead: String,
    },
}

/// Plays a story in namespace `default`; `tell` hears of each part as it
/// happens, with the time of day.
///
/// # Errors
/// At the first step that does not go as told.
pub async fn play(
    story: &Story,
    client: Client,
    clock: clock::Clock,
    mut tell: impl FnMut(Timestamp, Told),
) -> Result<(), StoryError> {
    let mut stage = Stage {
        applier: Applier::new(client.clone()),
        client,
    };
    for (n, step) in story.steps.iter().enumerate() {
        let number = n + 1;
        let told = Told::Step {
            number,
            of: story.steps.len(),
            say: step.say.clone(),
        };
        tell(clock.now(), told);
        stage
            .act(number, step, &mut |told| tell(clock.now(), told))
            .await?;
        stage
            .wait(number, step, &mut |told| tell(clock.now(), told))
            .await?;
    }
    Ok(())
}

struct Stage {
    client: Client,
    applier: Applier,
}

impl Stage {
    async fn act(
        &mut self,
        number: usize,
        step: &Step,
        tell: &mut impl FnMut(Told),
    ) -> Result<(), StoryError> {
        for file in &step.apply {
            let outcomes = self.applier.apply(file).await;
            let outcomes = outcomes.map_err(|source| StoryError::Apply {
                step: number,
                source,
            })?;
            for outcome in outcomes {
                let verb = if outcome.created {
                    "created"
                } else {
                    "configured"
                };
                tell(Told::Did(format!("{} {verb}", outcome.object)));
            }
        }
        for (object, annotations) in &step.annotate {
            let patch = json!({"metadata": {"annotations": annotations}});
            self.change(number, "PATCH", object, "", Some(&patch))
                .await?;
            for (key, value) in annotations {
                let value = value.as_deref().unwrap_or("(removed)");
                tell(Told::Did(format!("{object} annotated {key}={value}")));
            }
        }
        for (object, replicas) in &step.scale {
            let patch = json!({"spec": {"replicas": replicas}});
            self.change(number, "PATCH", object, "/scale", Some(&patch))
                .await?;
            tell(Told::Did(format!("{object} scaled to {replicas}")));
        }
        for object in &step.delete {
            let options = json!({"propagationPolicy": "Background"});
            self.change(number, "DELETE", object, "", Some(&options))
                .await?;
            tell(Told::Did(format!("{object} deleted")));
        }
        Ok(())
    }

    async fn change(
        &self,
        step: usize,
        method: &str,
        object: &str,
        subresource: &str,
        body: Option<&Value>,
    ) -> Result<(), StoryError> {
        let failed = |what: String| StoryError::Do { step, what };
        let target: Target = object.parse().map_err(failed)?;
        let content_type = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{subresource}", target.path("default")))
            .header(http::header::CONTENT_TYPE, content_type)
            .body(body.map_or_else(Vec::new, |value| value.to_string().into_bytes()))
            .map_err(|e| failed(e.to_string()))?;
        let answer: Result<Value, kube::Error> = self.client.request(request).await;
        answer
            .map(drop)
            .map_err(|e| failed(format!("{object}: {}", said(&e))))
    }

    async fn wait(
        &self,
        number: usize,
        step: &Step,
        tell: &mut impl FnMut(Told),
    ) -> Result<(), StoryError> {
        let began = Instant::now();
        if let Some(time) = step.wait {
            sleep(time).await;
        }
        for check in &step.until {
            loop {
                let (holds, instead) = self.judge(check).await;
                if holds {
                    tell(Told::Reached {
                        check: check.to_string(),
                        after: began.elapsed(),
                    });
                    break;
                }
                if began.elapsed() >= step.within {
                    return Err(StoryError::NotReached {
                        step: number,
                        check: check.to_string(),
                        within: step.within,
                        instead,
                    });
                }
                sleep(LOOK).await;
            }
        }
        for check in &step.expect {
            let (holds, instead) = self.judge(check).await;
            if !holds {
                let check = check.to_string();
                return Err(StoryError::Unexpected {
                    step: number,
                    check,
                    instead,
                });
            }
            tell(Told::Holds(check.to_string()));
        }
        Ok(())
    }

    /// Whether a check holds; an API that cannot answer is a check that does
    /// not hold, with the API's words as what is there instead.
    async fn judge(&self, check: &Check) -> (bool, String) {
        let request = Request::builder()
            .uri(check.path("default"))
            .body(Vec::new());
        let request = match request {
            Ok(request) => request,
            Err(e) => return (false, e.to_string()),
        };
        match self.client.request::<Value>(request).await {
            Ok(answer) => check.judge(Some(&answer)),
            Err(kube::Error::Api(status)) if status.code == 404 => check.judge(None),
            Err(other) => (false, said(&other)),
        }
    }
}
