//! Jobs: pods that run until enough of them have succeeded, or too many failed.
//!
//! Each pod holds a finalizer until it is counted, so a pod that is deleted
//! counts as well, and each counts once. Indexed Jobs, success policies and
//! failure policies are left alone (docs/differences.md).

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use super::object::{
    controller_of, has_finalizer, int, name, namespace, remove_finalizer, rfc3339, text, time_at,
    uid,
};
use super::{Ctx, Requeue, replicaset};
use crate::value::{at, condition, deleting, list};
use crate::{DeleteOptions, Status};

pub(crate) const RESOURCE: &str = "jobs.batch";
const SOURCE: &str = "job-controller";
const TRACKED: &str = "batch.kubernetes.io/job-tracking";
/// Wait before the pod after the first failed one; it doubles with each.
const BACKOFF: i64 = 10;
const LONGEST_BACKOFF: i64 = 600;

/// What has ended a Job, and the words for it.
struct End {
    success: bool,
    reason: &'static str,
    message: &'static str,
}

const DONE: End = End {
    success: true,
    reason: "CompletionsReached",
    message: "Reached expected number of succeeded pods",
};
const TOO_MANY: End = End {
    success: false,
    reason: "BackoffLimitExceeded",
    message: "Job has reached the specified backoff limit",
};
const TOO_LATE: End = End {
    success: false,
    reason: "DeadlineExceeded",
    message: "Job was active longer than specified deadline",
};

/// Labels that tell a Job's pods, the older spelling first.
const UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Selector and labels that a new Job and its pods get from its identity, unless
/// the user chose a selector.
pub(crate) fn identify(job: &mut Value) {
    if job["spec"]["manualSelector"] != true {
        let (uid, name) = (
            crate::value::uid(job).to_owned(),
            crate::value::name(job).to_owned(),
        );
        let labels = crate::value::map_mut(job, &["spec", "template", "metadata", "labels"]);
        for (keys, text) in [(NAME, &name), (UID, &uid)] {
            for key in keys {
                labels.entry(key).or_insert_with(|| json!(text));
            }
        }
        crate::value::map_mut(job, &["spec", "selector", "matchLabels"])
            .entry(UID[1])
            .or_insert_with(|| json!(uid));
    }
    let bare = job["metadata"]["labels"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty);
    if bare {
        let labels = job["spec"]["template"]["metadata"]["labels"].clone();
        crate::value::set_meta(job, "labels", Some(labels).filter(Value::is_object));
    }
}

/// A template that a Job gives its pods: counted before they go.
fn tracked(job: &Value) -> Value {
    let mut job = job.clone();
    let meta = crate::value::map_mut(&mut job, &["spec", "template", "metadata"]);
    meta.insert("finalizers".to_owned(), json!([TRACKED]));
    job
}

/// Brings one Job's pods and status up to date.
pub(crate) fn sync(ctx: &Ctx<'_>, ns: &str, job_name: &str) -> Result<Requeue, Status> {
    let job = match ctx.cluster.get(RESOURCE, ns, job_name) {
        Ok(job) => job,
        Err(e) if e.is_not_found() => return release(ctx, ns, job_name).map(|()| Requeue::Done),
        Err(e) => return Err(e),
    };
    if job["spec"]["completionMode"] == "Indexed"
        || at(&job, &["spec", "podFailurePolicy"]).is_some()
        || at(&job, &["spec", "successPolicy"]).is_some()
    {
        return Ok(Requeue::Done);
    }
    let pods: Vec<Arc<Value>> = ctx
        .index
        .pods_of(uid(&job))
        .into_iter()
        .flat_map(super::index::PodGroup::iter)
        .filter_map(|(pod, _)| ctx.cluster.get("pods", ns, pod).ok())
        .collect();
    if deleting(&job) {
        return count(ctx, &pods).map(|()| Requeue::Done);
    }
    if finished(&job).is_some() {
        count(ctx, &pods)?;
        return expire(ctx, &job);
    }
    let mut run = Run::new(ctx, &job, &pods);
    let requeue = run.act();
    run.write()?;
    count(ctx, &pods)?;
    requeue
}

/// The condition that says that a Job is over.
fn finished(job: &Value) -> Option<&Value> {
    ["Complete", "Failed"]
        .into_iter()
        .filter_map(|kind| condition(job, kind))
        .find(|c| c["status"] == "True")
}

fn ended(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// Lets go of the pods that the status has counted.
fn count(ctx: &Ctx<'_>, pods: &[Arc<Value>]) -> Result<(), Status> {
    for pod in pods {
        if (ended(pod) || deleting(pod)) && has_finalizer(pod, TRACKED) {
            let gone = ctx.cluster.modify("pods", namespace(pod), name(pod), |p| {
                remove_finalizer(p, TRACKED);
            });
            match gone {
                Err(e) if !e.is_not_found() => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Lets go of the pods of a Job that is gone.
fn release(ctx: &Ctx<'_>, ns: &str, job: &str) -> Result<(), Status> {
    let of_job =
        |pod: &Value| controller_of(pod).is_some_and(|c| c["kind"] == "Job" && c["name"] == job);
    for pod in ctx.cluster.list("pods", Some(ns)) {
        if has_finalizer(&pod, TRACKED) && of_job(&pod) {
            ctx.cluster
                .modify("pods", ns, name(&pod), |p| remove_finalizer(p, TRACKED))?;
        }
    }
    Ok(())
}

/// Removes a Job that is over once its time is up.
fn expire(ctx: &Ctx<'_>, job: &Value) -> Result<Requeue, Status> {
    let Some(ttl) = at(job, &["spec", "ttlSecondsAfterFinished"]).and_then(Value::as_i64) else {
        return Ok(Requeue::Done);
    };
    let since = finished(job).and_then(|c| time_at(c, &["lastTransitionTime"]));
    if let Some(left) = since.and_then(|since| until(since, ttl, ctx.now)) {
        return Ok(Requeue::After(left));
    }
    let options = DeleteOptions {
        uid: Some(uid(job).to_owned()),
        propagation: Some(crate::Propagation::Foreground),
        ..Default::default()
    };
    match ctx
        .cluster
        .delete(RESOURCE, namespace(job), name(job), options)
    {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(Requeue::Done),
    }
}

/// How long it is until so many seconds after a time; nothing if they are over.
fn until(since: Timestamp, seconds: i64, now: Timestamp) -> Option<Duration> {
    let at = since.checked_add(seconds.seconds()).ok()?;
    let left = Duration::try_from(at.duration_since(now)).ok()?;
    (!left.is_zero()).then_some(left)
}

/// One look at a Job that is not over.
struct Run<'a> {
    ctx: &'a Ctx<'a>,
    job: &'a Value,
    active: Vec<&'a Value>,
    succeeded: i64,
    failed: i64,
    terminating: i64,
    /// Made, less removed, in this sync.
    made: i64,
    end: Option<End>,
    last_failure: Option<Timestamp>,
}

impl<'a> Run<'a> {
    fn new(ctx: &'a Ctx<'a>, job: &'a Value, pods: &'a [Arc<Value>]) -> Self {
        let replaces_failed_only = job["spec"]["podReplacementPolicy"] == "Failed";
        let phase = |pod: &Value, phase: &str| text(pod, &["status", "phase"]) == phase;
        // A pod on its way out may never get to say that it failed.
        let failing = |pod: &Value| {
            phase(pod, "Failed")
                || !replaces_failed_only && deleting(pod) && !phase(pod, "Succeeded")
        };
        let fresh = |pod: &Value| has_finalizer(pod, TRACKED);
        let of = |kind: &dyn Fn(&Value) -> bool| {
            let n = pods.iter().filter(|p| fresh(p) && kind(p)).count();
            i64::try_from(n).unwrap_or(0)
        };
        let going = pods.iter().filter(|p| deleting(p) && !ended(p)).count();
        Self {
            ctx,
            job,
            active: pods
                .iter()
                .map(|p| &**p)
                .filter(|p| !ended(p) && !deleting(p))
                .collect(),
            succeeded: int(job, &["status", "succeeded"]) + of(&|p| phase(p, "Succeeded")),
            failed: int(job, &["status", "failed"]) + of(&failing),
            terminating: i64::try_from(going).unwrap_or(0),
            made: 0,
            end: None,
            last_failure: pods
                .iter()
                .filter(|p| failing(p))
                .map(|p| ended_at(p).unwrap_or(ctx.now))
                .max(),
        }
    }

    fn event(&self, kind: &str, reason: &str, words: &str) {
        self.ctx.event(SOURCE, self.job, kind, reason, words);
    }

    fn act(&mut self) -> Result<Requeue, Status> {
        let spec = &self.job["spec"];
        let started = time_at(self.job, &["status", "startTime"]);
        let deadline = at(spec, &["activeDeadlineSeconds"]).and_then(Value::as_i64);
        let late = deadline.and_then(|d| started.map(|s| until(s, d, self.ctx.now)));
        let completions = at(spec, &["completions"]).and_then(Value::as_i64);
        let done = match completions {
            Some(wanted) => self.succeeded >= wanted,
            None => self.succeeded > 0 && self.active.is_empty(),
        };
        if self.failed > int(self.job, &["spec", "backoffLimit"]) {
            self.end = Some(TOO_MANY);
        } else if late == Some(None) {
            self.end = Some(TOO_LATE);
        } else if done {
            self.end = Some(DONE);
        }
        if self.end.is_some() || spec["suspend"] == true {
            self.remove(self.active.len())?;
            return Ok(Requeue::Done);
        }
        let parallelism = int(self.job, &["spec", "parallelism"]);
        let active = i64::try_from(self.active.len()).unwrap_or(i64::MAX);
        let wanted = match completions {
            Some(wanted) => (wanted - self.succeeded).min(parallelism),
            None if self.succeeded > 0 => active.min(parallelism),
            None => parallelism,
        };
        let deadline = late.flatten().or_else(|| {
            let seconds = deadline.filter(|_| started.is_none());
            seconds
                .and_then(|d| u64::try_from(d).ok())
                .map(Duration::from_secs)
        });
        let mut wake = deadline;
        if active > wanted {
            self.remove(usize::try_from(active - wanted).unwrap_or(0))?;
        } else if active < wanted {
            if let Some(left) = self.backoff() {
                wake = Some(wake.map_or(left, |w| w.min(left)));
            } else {
                let job = tracked(self.job);
                let (made, failed) = replicaset::create(self.ctx, SOURCE, &job, wanted - active);
                self.made += made;
                if let Some(e) = failed {
                    return Err(e);
                }
            }
        }
        Ok(wake.map_or(Requeue::Done, Requeue::After))
    }

    /// How long the next pod waits because of those that failed.
    fn backoff(&self) -> Option<Duration> {
        let doublings = u32::try_from(self.failed - 1).ok()?.min(10);
        let wait = (BACKOFF << doublings).min(LONGEST_BACKOFF);
        until(self.last_failure?, wait, self.ctx.now)
    }

    /// Removes active pods, those that do least first.
    fn remove(&mut self, n: usize) -> Result<(), Status> {
        let mut pods = self.active.clone();
        pods.sort_by_key(|p| text(p, &["status", "phase"]) == "Running");
        for pod in pods.into_iter().take(n) {
            let options = DeleteOptions {
                uid: Some(uid(pod).to_owned()),
                ..Default::default()
            };
            match self
                .ctx
                .cluster
                .delete("pods", namespace(pod), name(pod), options)
            {
                Ok(_) => {
                    self.made -= 1;
                    self.terminating += 1;
                    let words = format!("Deleted pod: {}", name(pod));
                    self.event("Normal", "SuccessfulDelete", &words);
                }
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Status> {
        let job = self.job;
        let suspended = job["spec"]["suspend"] == true;
        let active = i64::try_from(self.active.len()).unwrap_or(0) + self.made;
        let ready = self
            .active
            .iter()
            .filter(|pod| condition(pod, "Ready").is_some_and(|c| c["status"] == "True"));
        let mut status = json!({
            "ready": i64::try_from(ready.count()).unwrap_or(0).min(active),
            "terminating": self.terminating, "uncountedTerminatedPods": {},
        });
        for (field, n) in [
            ("active", active),
            ("succeeded", self.succeeded),
            ("failed", self.failed),
        ] {
            if n > 0 {
                status[field] = json!(n);
            }
        }
        match at(job, &["status", "startTime"]) {
            _ if suspended => {}
            Some(time) => status["startTime"] = time.clone(),
            None => status["startTime"] = json!(rfc3339(self.ctx.now)),
        }
        let mut conditions = list(job, &["status", "conditions"]).to_vec();
        self.suspension(&mut conditions, suspended);
        self.ending(&mut conditions, &mut status);
        if !conditions.is_empty() {
            status["conditions"] = json!(conditions);
        }
        if job["status"] != status {
            self.ctx
                .cluster
                .modify_status(RESOURCE, namespace(job), name(job), |j| {
                    j["status"] = status;
                })?;
        }
        Ok(())
    }

    fn suspension(&self, conditions: &mut Vec<Value>, suspended: bool) {
        let known = conditions.iter().position(|c| c["type"] == "Suspended");
        let was = known.is_some_and(|at| conditions[at]["status"] == "True");
        if suspended == was {
            return;
        }
        let (reason, words) = if suspended {
            ("JobSuspended", "Job suspended")
        } else {
            ("JobResumed", "Job resumed")
        };
        let state = if suspended { "True" } else { "False" };
        let now = self.condition("Suspended", state, reason, words);
        match known {
            Some(at) => conditions[at] = now,
            None => conditions.push(now),
        }
        let reason = reason.trim_start_matches("Job");
        self.event("Normal", reason, words);
    }

    /// First what the end will be, then the end once no pod runs.
    fn ending(&self, conditions: &mut Vec<Value>, status: &mut Value) {
        let Some(end) = &self.end else {
            return;
        };
        let (first, last) = if end.success {
            ("SuccessCriteriaMet", "Complete")
        } else {
            ("FailureTarget", "Failed")
        };
        if !conditions.iter().any(|c| c["type"] == first) {
            conditions.push(self.condition(first, "True", end.reason, end.message));
        }
        let running = self.terminating > 0 || status["active"].as_i64().unwrap_or(0) > 0;
        if running {
            return;
        }
        conditions.push(self.condition(last, "True", end.reason, end.message));
        if end.success {
            status["completionTime"] = json!(rfc3339(self.ctx.now));
            self.event("Normal", "Completed", "Job completed");
        } else {
            self.event("Warning", end.reason, end.message);
        }
    }

    fn condition(&self, kind: &str, state: &str, reason: &str, message: &str) -> Value {
        let now = rfc3339(self.ctx.now);
        json!({"type": kind, "status": state, "reason": reason, "message": message,
            "lastProbeTime": now, "lastTransitionTime": now})
    }
}

/// When the last container of a pod ended.
fn ended_at(pod: &Value) -> Option<Timestamp> {
    let states = list(pod, &["status", "containerStatuses"]).iter();
    states
        .filter_map(|s| time_at(s, &["state", "terminated", "finishedAt"]))
        .max()
}
