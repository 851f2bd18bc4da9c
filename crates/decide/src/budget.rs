//! PodDisruptionBudgets: how many pods may go, and whether this one may.
//!
//! The disruption controller, the eviction and the node planner all read them
//! here (Kubernetes: `pkg/controller/disruption`, the pods' eviction storage).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::selector::{LabelSelector, Selector};
use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::Value;

/// A pod whose eviction was let through and that is still there after this long
/// counts again.
const DELETION: Duration = Duration::from_secs(120);
/// Most evictions that a controller may have left unseen.
const MOST_DISRUPTED: usize = 2000;
/// The condition of a budget.
pub const CONDITION: &str = "DisruptionAllowed";
/// Its reason when the counts could not be found out.
pub const FAILED: &str = "SyncFailed";

/// What a budget asks for: a number of pods, or a share of those expected.
#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Nothing,
    MinAvailable(String),
    MaxUnavailable(String),
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: String,
    /// The pods that it is about.
    pub selector: Selector,
    bound: Bound,
    /// Pods that are not ready may always go.
    always: bool,
    generation: i64,
    status: Standing,
}

/// The status as it was last written.
#[derive(Clone, Debug, Default, PartialEq)]
struct Standing {
    observed: Option<i64>,
    allowed: i64,
    healthy: i64,
    desired: i64,
    disrupted: BTreeMap<String, Timestamp>,
    /// Why the counts could not be found out.
    failure: Option<String>,
}

/// A pod as a budget counts it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Name.
    pub name: &'a str,
    /// Condition Ready is True.
    pub ready: bool,
    /// Marked for deletion.
    pub leaving: bool,
    /// Who decides how many there are.
    pub scale: Scale<'a>,
}

/// The controller that decides how many pods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale<'a> {
    /// Nobody does.
    Unmanaged,
    /// Somebody without a number of replicas.
    Unknown,
    /// Its uid and its replicas.
    Of(&'a str, i64),
}

/// The counts behind a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// Pods that there should be.
    pub expected: i64,
    /// Pods that must stay healthy.
    pub desired: i64,
    /// Pods that are healthy.
    pub healthy: i64,
    /// Pods that may go now.
    pub allowed: i64,
    /// Pods whose eviction was let through and that are still there, and when
    /// that was.
    pub disrupted: BTreeMap<String, Timestamp>,
    /// Pods that were to be gone and are not.
    pub overdue: Vec<String>,
    /// Some pods have no controller, so the expected count leaves them out.
    pub unmanaged: bool,
    /// When the counts change by time alone.
    pub again: Option<Timestamp>,
}

/// Why an eviction is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The eviction can take from one budget only.
    #[error(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
         support."
    )]
    Several,
    /// The controller has not counted yet; worth another try.
    #[error("The disruption budget {0} is still being processed by the server.")]
    Unprocessed(String),
    /// The counts could not be found out, for the reason in the second field.
    #[error(
        "The disruption budget {0} does not allow evicting pods currently because it failed sync: {1}"
    )]
    Failed(String, String),
    /// Too few pods are healthy: those wanted and those there are.
    #[error("The disruption budget {0} needs {1} healthy pods and has {2} currently")]
    Exhausted(String, i64, i64),
    /// Enough are healthy, and none may go all the same.
    #[error("The disruption budget {0} does not allow evicting pods currently")]
    Closed(String),
    /// Too many evictions that the controller has not seen.
    #[error("DisruptedPods map too big - too many evictions not confirmed by PDB controller")]
    Crowded(String),
}

impl Budget {
    /// Reads a PodDisruptionBudget object.
    pub fn parse(object: &Value) -> Self {
        let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let bound = |field: &str| match &spec[field] {
            Value::String(share) => Some(share.clone()),
            Value::Number(count) => Some(count.to_string()),
            _ => None,
        };
        let selector = LabelSelector::deserialize(&spec["selector"]).ok();
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        let disrupted = status["disruptedPods"].as_object().into_iter().flatten();
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let failed = |c: &&Value| c["type"] == CONDITION && c["reason"] == FAILED;
        Self {
            namespace: Arc::from(text(&meta["namespace"])),
            name: text(&meta["name"]),
            selector: selector
                .and_then(|s| s.to_selector().ok())
                .unwrap_or_else(Selector::nothing),
            bound: match (bound("maxUnavailable"), bound("minAvailable")) {
                (Some(most), _) => Bound::MaxUnavailable(most),
                (None, Some(least)) => Bound::MinAvailable(least),
                (None, None) => Bound::Nothing,
            },
            always: spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow",
            generation: meta["generation"].as_i64().unwrap_or(0),
            status: Standing {
                observed: status["observedGeneration"].as_i64(),
                allowed: number("disruptionsAllowed"),
                healthy: number("currentHealthy"),
                desired: number("desiredHealthy"),
                disrupted: disrupted
                    .filter_map(|(pod, at)| Some((pod.clone(), at.as_str()?.parse().ok()?)))
                    .collect(),
                failure: conditions.find(failed).map(|c| text(&c["message"])),
            },
        }
    }

    /// How many of its pods may be evicted now; `None` where no controller has
    /// said so yet.
    pub fn allowed(&self) -> Option<i64> {
        self.status.observed.map(|_| self.status.allowed)
    }

    /// Counts its pods.
    ///
    /// # Errors
    /// When the replicas that are expected are needed and cannot be found out.
    pub fn assess(&self, pods: &[Member<'_>], now: Timestamp) -> Result<Assessment, String> {
        let (expected, desired) = self.wanted(pods)?;
        let mut disrupted = BTreeMap::new();
        let mut overdue = Vec::new();
        let mut again: Option<Timestamp> = None;
        let mut healthy = 0;
        for pod in pods.iter().filter(|p| !p.leaving) {
            if let Some(at) = self.status.disrupted.get(pod.name) {
                let until = at.checked_add(DELETION).unwrap_or(Timestamp::MAX);
                if until > now {
                    disrupted.insert(pod.name.to_owned(), *at);
                    again = Some(again.map_or(until, |a| a.min(until)));
                    continue;
                }
                overdue.push(pod.name.to_owned());
            }
            healthy += i64::from(pod.ready);
        }
        // A budget whose first pods are about to come must not let them go unseen.
        let allowed = match expected {
            ..=0 => 0,
            _ => healthy.saturating_sub(desired).max(0),
        };
        Ok(Assessment {
            expected,
            desired,
            healthy,
            allowed,
            disrupted,
            overdue,
            unmanaged: self.counts_controllers()
                && pods.iter().any(|p| p.scale == Scale::Unmanaged),
            again,
        })
    }

    /// Whether the controllers' replicas count, and not the pods there are.
    fn counts_controllers(&self) -> bool {
        match &self.bound {
            Bound::Nothing => false,
            Bound::MaxUnavailable(_) => true,
            Bound::MinAvailable(least) => least.ends_with('%'),
        }
    }

    /// The pods that there should be, and those that must stay healthy.
    fn wanted(&self, pods: &[Member<'_>]) -> Result<(i64, i64), String> {
        let expected = if self.counts_controllers() {
            let mut replicas: BTreeMap<&str, i64> = BTreeMap::new();
            for pod in pods {
                match pod.scale {
                    Scale::Of(owner, n) => {
                        replicas.insert(owner, n);
                    }
                    Scale::Unmanaged => {}
                    Scale::Unknown => {
                        return Err(format!("found no controllers for pod \"{}\"", pod.name));
                    }
                }
            }
            replicas
                .values()
                .fold(0i64, |all, n| all.saturating_add(*n))
        } else {
            i64::try_from(pods.len()).unwrap_or(i64::MAX)
        };
        Ok(match &self.bound {
            Bound::Nothing => (0, 0),
            Bound::MinAvailable(least) => (expected, of_total(least, expected, true)),
            Bound::MaxUnavailable(most) => {
                let missing = of_total(most, expected, true);
                (expected, expected.saturating_sub(missing).max(0))
            }
        })
    }

    /// Whether an eviction of a pod that is or is not ready is allowed, and if so
    /// whether it takes from the budget.
    fn admit(&self, ready: bool) -> Result<bool, Refusal> {
        let status = &self.status;
        let kept = status.desired > 0 && status.healthy >= status.desired;
        if !ready && (self.always || kept) {
            return Ok(false);
        }
        let name = self.name.clone();
        if status.observed.unwrap_or(0) < self.generation {
            return Err(Refusal::Unprocessed(name));
        }
        if status.disrupted.len() > MOST_DISRUPTED {
            return Err(Refusal::Crowded(name));
        }
        if status.allowed > 0 {
            return Ok(true);
        }
        Err(match &status.failure {
            Some(why) => Refusal::Failed(name, why.clone()),
            None if status.healthy <= status.desired => {
                Refusal::Exhausted(name, status.desired, status.healthy)
            }
            None => Refusal::Closed(name),
        })
    }
}

/// Whether `pod` may be evicted, given the budgets that select it; with the one
/// that the eviction takes from, if it does.
///
/// # Errors
/// When a budget does not allow it.
pub fn evict<'a>(pod: &Value, budgets: &'a [Budget]) -> Result<Option<&'a Budget>, Refusal> {
    let phase = pod["status"]["phase"].as_str().unwrap_or("");
    let serves = !matches!(phase, "Succeeded" | "Failed" | "Pending");
    if !serves || !pod["metadata"]["deletionTimestamp"].is_null() {
        return Ok(None);
    }
    match budgets {
        [] => Ok(None),
        [budget] => {
            let conditions = pod["status"]["conditions"].as_array();
            let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
            let ready = conditions.into_iter().flatten().any(is_ready);
            Ok(budget.admit(ready)?.then_some(budget))
        }
        _ => Err(Refusal::Several),
    }
}

/// Status and reason of the condition [`CONDITION`].
pub fn condition(allowed: i64) -> (&'static str, &'static str) {
    match allowed {
        ..=0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    }
}

/// An int-or-percent field (`25%`, `3`) of `total`, percentages rounded up or down.
pub fn of_total(field: &str, total: i64, up: bool) -> i64 {
    match field.strip_suffix('%').map(str::parse::<i64>) {
        Some(Ok(percent)) => {
            let parts = percent.saturating_mul(total);
            if up {
                parts.saturating_add(99) / 100
            } else {
                parts / 100
            }
        }
        Some(Err(_)) => 0,
        None => field.parse().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn budget(spec: Value, status: Value) -> Budget {
        Budget::parse(&json!({
            "metadata": {"name": "b", "namespace": "d", "generation": 1},
            "spec": spec, "status": status,
        }))
    }

    fn now() -> Timestamp {
        "2026-01-01T00:02:00Z".parse().unwrap()
    }

    /// So many pods of one controller that asks for five, the first of them ready.
    fn pods(ready: usize, names: &[&'static str]) -> Vec<Member<'static>> {
        let member = |(n, name): (usize, &&'static str)| Member {
            name,
            ready: n < ready,
            leaving: false,
            scale: Scale::Of("set", 5),
        };
        names.iter().enumerate().map(member).collect()
    }

    #[test]
    fn expected_and_desired_follow_the_pods_or_their_controllers() {
        let pods = pods(3, &["a", "b", "c"]);
        let counts = |spec: Value| {
            let a = budget(spec, json!({})).assess(&pods, now()).unwrap();
            (a.expected, a.desired, a.healthy, a.allowed)
        };
        assert_eq!(counts(json!({"minAvailable": 2})), (3, 2, 3, 1));
        assert_eq!(counts(json!({"minAvailable": "50%"})), (5, 3, 3, 0));
        assert_eq!(counts(json!({"maxUnavailable": 3})), (5, 2, 3, 1));
        assert_eq!(counts(json!({"maxUnavailable": "30%"})), (5, 3, 3, 0));
        assert_eq!(counts(json!({"maxUnavailable": "100%"})), (5, 0, 3, 3));
        assert_eq!(counts(json!({})), (0, 0, 3, 0));
    }

    #[test]
    fn a_pod_whose_eviction_was_let_through_counts_again_after_two_minutes() {
        let status = json!({
            "disruptedPods": {
                "a": "2026-01-01T00:00:00Z", "b": "2026-01-01T00:01:00Z",
                "gone": "2026-01-01T00:01:00Z",
            },
        });
        let budget = budget(json!({"minAvailable": 1}), status);
        let a = budget.assess(&pods(3, &["a", "b", "c"]), now()).unwrap();
        assert_eq!((a.healthy, a.allowed), (2, 1));
        assert_eq!(a.overdue, ["a"]);
        assert_eq!(a.disrupted.into_keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(a.again, Some("2026-01-01T00:03:00Z".parse().unwrap()));
    }

    #[test]
    fn pods_without_a_controller_are_left_out_and_those_of_an_unknown_one_fail() {
        let mut pods = pods(2, &["a", "b"]);
        pods[0].scale = Scale::Unmanaged;
        let share = budget(json!({"maxUnavailable": 1}), json!({}));
        let a = share.assess(&pods, now()).unwrap();
        assert_eq!((a.expected, a.unmanaged), (5, true));
        pods[1].scale = Scale::Unknown;
        assert_eq!(
            share.assess(&pods, now()).unwrap_err(),
            "found no controllers for pod \"b\""
        );
        let count = budget(json!({"minAvailable": 1}), json!({}));
        assert!(!count.assess(&pods, now()).unwrap().unmanaged);
    }

    fn running(ready: &str) -> Value {
        json!({"metadata": {}, "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
        }})
    }

    fn status(allowed: i64, healthy: i64) -> Value {
        json!({
            "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy,
            "desiredHealthy": 2, "expectedPods": 3,
        })
    }

    #[test]
    fn an_eviction_takes_from_a_budget_with_room_and_is_refused_by_one_without() {
        let spec = || json!({"minAvailable": 2});
        let open = budget(spec(), status(1, 3));
        let pod = running("True");
        assert_eq!(evict(&pod, &[]), Ok(None));
        assert_eq!(evict(&pod, std::slice::from_ref(&open)), Ok(Some(&open)));
        let full = [budget(spec(), status(0, 2))];
        let why = "The disruption budget b needs 2 healthy pods and has 2 currently";
        assert_eq!(evict(&pod, &full).unwrap_err().to_string(), why);
        let new = [budget(spec(), json!({}))];
        assert_eq!(evict(&pod, &new), Err(Refusal::Unprocessed("b".to_owned())));
        assert_eq!(evict(&pod, &[open.clone(), open]), Err(Refusal::Several));
    }

    #[test]
    fn pods_that_serve_nobody_go_without_taking_from_the_budget() {
        let full = [budget(json!({"minAvailable": 2}), status(0, 2))];
        assert_eq!(evict(&running("False"), &full), Ok(None));
        let mut pending = running("False");
        pending["status"]["phase"] = json!("Pending");
        let short = [budget(json!({"minAvailable": 2}), status(0, 1))];
        assert_eq!(evict(&pending, &short), Ok(None));
        assert!(evict(&running("False"), &short).is_err());
        let always = json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": "AlwaysAllow"});
        assert_eq!(
            evict(&running("False"), &[budget(always, status(0, 1))]),
            Ok(None)
        );
    }

    #[test]
    fn shares_are_rounded_as_asked() {
        assert_eq!(
            (of_total("25%", 3, true), of_total("25%", 3, false)),
            (1, 0)
        );
        assert_eq!(of_total("2", 9, true), 2);
    }
}
