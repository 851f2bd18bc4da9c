//! What is observed of a cluster and of one scaled object before anything is
//! concluded. Objects are the API's own JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Link;

/// The outcome of one read.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Look<T> {
    /// This is there.
    Got(T),
    /// The API answered that it does not exist.
    #[default]
    Missing,
    /// The API refused it (403); its message.
    Denied(String),
    /// No answer, or one that makes no sense; why.
    Failed(String),
}

impl<T> Look<T> {
    /// What is there, if it was seen.
    pub fn got(&self) -> Option<&T> {
        match self {
            Self::Got(found) => Some(found),
            _ => None,
        }
    }

    /// The same outcome of a read of something else; what was got is dropped.
    pub fn map_nothing<U>(self) -> Look<U> {
        match self {
            Self::Got(_) | Self::Missing => Look::Missing,
            Self::Denied(message) => Look::Denied(message),
            Self::Failed(why) => Look::Failed(why),
        }
    }

    /// The link of this name where it could not be looked at.
    pub(crate) fn unseen(&self, name: &str, what: &str) -> Option<Link> {
        match self {
            Self::Got(_) | Self::Missing => None,
            Self::Denied(message) => Some(Link::unknown(
                name,
                format!("{what} cannot be read: {message}"),
                match missing_rule(message) {
                    Some(rule) => format!("Give the user of the kubeconfig this rule: {rule}."),
                    None => "Use a kubeconfig that may read it.".to_owned(),
                },
            )),
            Self::Failed(why) => Some(Link::unknown(
                name,
                format!("{what} cannot be read: {why}"),
                "Run it again; if it stays, ask the API server's own health: kubectl get --raw \
                 /readyz?verbose.",
            )),
        }
    }
}

/// The RBAC rule that a refusal of the API server asks for, as it stands in a
/// Role or ClusterRole.
///
/// The message is `… cannot VERB resource "RESOURCE" in API group "GROUP" at the
/// cluster scope`, or `… in the namespace "NS"`, or `… cannot VERB path "PATH"`
/// (k8s.io/apiserver's responsewriters).
pub fn missing_rule(message: &str) -> Option<String> {
    let rest = message.split_once(" cannot ")?.1;
    let (verb, rest) = rest.split_once(' ')?;
    let quoted = |text: &str, before: &str| {
        let rest = text.split_once(before)?.1;
        Some(rest.split_once('"')?.0.to_owned())
    };
    if let Some(path) = quoted(rest, "path \"") {
        return Some(format!(
            "ClusterRole {{nonResourceURLs: [\"{path}\"], verbs: [{verb}]}}"
        ));
    }
    let resource = quoted(rest, "resource \"")?;
    let group = quoted(rest, "API group \"").unwrap_or_default();
    let role = match quoted(rest, "in the namespace \"") {
        Some(namespace) => format!("Role in namespace {namespace}"),
        None => "ClusterRole".to_owned(),
    };
    Some(format!(
        "{role} {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]}}"
    ))
}

/// What concerns the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterSeen {
    /// URL of the API server.
    pub server: String,
    /// Its version, such as `v1.37.2`.
    pub version: Look<String>,
    /// Plural names that `keda.sh/v1alpha1` serves.
    pub keda: Look<Vec<String>>,
    /// Nodes.
    pub nodes: Look<Vec<Value>>,
    /// DaemonSets of all namespaces.
    pub daemon_sets: Look<Vec<Value>>,
    /// Pages of GPU exporters that were read, a few at most.
    pub pages: Vec<Page>,
    /// The APIService `v1beta1.external.metrics.k8s.io`.
    pub metrics_service: Look<Value>,
    /// The cluster autoscaler's status, as its ConfigMap has it.
    pub autoscaler: Look<String>,
    /// Events about that ConfigMap.
    pub autoscaler_events: Look<Vec<Value>>,
}

/// The page of one exporter pod.
#[derive(Clone, Debug)]
pub struct Page {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// Its text.
    pub text: Look<String>,
}

/// What concerns one scaled object.
#[derive(Clone, Debug, Default)]
pub struct ObjectSeen {
    /// Its namespace.
    pub namespace: String,
    /// What was asked for, `scaledobject/NAME` or `hpa/NAME`.
    pub asked: String,
    /// The ScaledObject; nothing where an HPA without one is looked at.
    pub scaled: Option<Look<Value>>,
    /// Names of the kind asked for in this namespace.
    pub names: Vec<String>,
    /// The workload.
    pub target: Look<Value>,
    /// Names of its kind in this namespace.
    pub target_names: Vec<String>,
    /// The authentications that the triggers name.
    pub auths: Vec<AuthSeen>,
    /// What the triggers' own servers say.
    pub diagnosis: Look<Diagnosis>,
    /// The HPA.
    pub hpa: Look<Value>,
    /// The HPA's own questions, asked again.
    pub answers: Vec<Answer>,
    /// Pods that the workload's selector takes.
    pub pods: Look<Vec<Value>>,
    /// Events about the pods that wait, a few pods at most.
    pub events: Look<Vec<Value>>,
}

/// A TriggerAuthentication that a trigger names.
#[derive(Clone, Debug)]
pub struct AuthSeen {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The object.
    pub object: Look<Value>,
}

/// One question of the HPA to the external metrics API.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Name of the metric.
    pub metric: String,
    /// Its value as a quantity.
    pub value: Look<String>,
}

/// What the triggers of a ScaledObject say when they are asked now, through
/// their own clients and credentials. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// Who asked, as the subject of a sentence: `the operator`.
    pub asked_by: String,
    /// In the order of the ScaledObject.
    pub triggers: Vec<TriggerSeen>,
}

/// One trigger, asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerSeen {
    /// Place in the list.
    pub index: usize,
    /// Type, such as `prometheus`.
    pub kind: String,
    /// Name of its external metric, "" where it has none.
    pub metric: String,
    /// Address of its server without password, "" where it has none.
    pub server: String,
    /// Credentials that came out empty, by the names of their parameters.
    pub empty_credentials: Vec<String>,
    /// Why no credential could be had.
    pub no_credential: Option<String>,
    /// Why it could not be asked at all, for example wrong parameters.
    pub not_built: Option<String>,
    /// Why it was not asked from here, where that says nothing about it.
    pub not_asked: Option<String>,
    /// Why the read failed.
    pub failed: Option<String>,
    /// The value that KEDA reads.
    pub value: Option<f64>,
    /// Whether it is active at this value.
    pub active: bool,
    /// Elements of the query's answer, where it is a query.
    pub elements: Option<usize>,
    /// Active above this.
    pub activation: Option<f64>,
    /// The series that the query selects.
    pub selectors: Vec<SelectorSeen>,
}

/// One series selector of a query, looked up in the metric store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SelectorSeen {
    /// The selector.
    pub text: String,
    /// Name of the series.
    pub name: String,
    /// Why the store could not answer.
    pub failed: Option<String>,
    /// Series that it selects now.
    pub matching: u64,
    /// Age of the newest sample of those, or of the name's where none match, in
    /// seconds.
    pub age: Option<f64>,
    /// Series of this name; of at most [`crate::ask::MOST`] that were looked at.
    pub named: u64,
    /// Where there is no series of this name now: how long ago there was one, in
    /// seconds, if within the last hours.
    pub last_seen: Option<f64>,
    /// Names that are there and may have been meant.
    pub near_names: Vec<String>,
    /// Scrape targets that the store knows.
    pub targets: Option<u64>,
    /// Those whose scrape fails.
    pub down: Vec<String>,
    /// The matchers, one by one, where nothing is selected.
    pub matchers: Vec<MatcherSeen>,
}

/// One label matcher, held against the series of its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatcherSeen {
    /// As written, `deployment="my-gpu-workload"`.
    pub matcher: String,
    /// Its label.
    pub label: String,
    /// Series that satisfy it.
    pub alone: u64,
    /// Series that satisfy it and all before it.
    pub together: u64,
    /// Series that have the label.
    pub with_label: u64,
    /// A matcher on labels that are there which may say the same.
    pub instead: Option<String>,
    /// Values of the label, nearest first.
    pub values: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_rule_that_is_missing() {
        for (message, rule) in [
            (
                "nodes is forbidden: User \"ann\" cannot list resource \"nodes\" in API group \"\" \
                 at the cluster scope",
                "ClusterRole {apiGroups: [\"\"], resources: [nodes], verbs: [list]}",
            ),
            (
                "scaledobjects.keda.sh \"a\" is forbidden: User \"ann\" cannot get resource \
                 \"scaledobjects\" in API group \"keda.sh\" in the namespace \"ml\"",
                "Role in namespace ml {apiGroups: [\"keda.sh\"], resources: [scaledobjects], \
                 verbs: [get]}",
            ),
            (
                "forbidden: User \"ann\" cannot get path \"/version\"",
                "ClusterRole {nonResourceURLs: [\"/version\"], verbs: [get]}",
            ),
        ] {
            assert_eq!(missing_rule(message).as_deref(), Some(rule));
        }
        assert_eq!(missing_rule("no"), None);
    }
}
