//! What the controllers remember of the objects: who owns whom, and how many pods do well.
//!
//! Kept up to date from changes, so that a sync costs what its own objects cost, not what the
//! cluster holds. Objects themselves are read from the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::object::{controller_uid, name, namespace, text, time_at, uid};
use crate::value::{at, condition, deleting, list};

/// Where an object is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) resource: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// One entry of an object's owner references.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) uid: Arc<str>,
    pub(crate) blocks: bool,
}

struct Known {
    place: Place,
    owners: Vec<Owner>,
    controlled: bool,
}

/// The pods of one controller, counted.
#[derive(Default)]
pub(crate) struct PodGroup {
    namespace: Arc<str>,
    pods: BTreeMap<Arc<str>, Pod>,
    labels: BTreeMap<Arc<str>, usize>,
    active: i64,
    ready: i64,
    terminating: i64,
    succeeded: i64,
    failed: i64,
}

/// What counts about one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) active: bool,
    pub(crate) terminating: bool,
    pub(crate) succeeded: bool,
    pub(crate) failed: bool,
    /// Marked for deletion, whether or not it has ended.
    pub(crate) leaving: bool,
    pub(crate) ready_since: Option<Timestamp>,
    labels: Arc<str>,
}

impl Pod {
    fn read(pod: &Value) -> Self {
        let phase = text(pod, &["status", "phase"]);
        let ended = phase == "Succeeded" || phase == "Failed";
        let leaving = deleting(pod);
        let ready = condition(pod, "Ready").filter(|c| c["status"] == "True");
        let labels = at(pod, &["metadata", "labels"])
            .map(Value::to_string)
            .unwrap_or_default();
        Self {
            active: !ended && !leaving,
            terminating: !ended && leaving,
            succeeded: phase == "Succeeded",
            failed: phase == "Failed",
            leaving,
            ready_since: ready
                .map(|c| time_at(c, &["lastTransitionTime"]).unwrap_or(Timestamp::UNIX_EPOCH)),
            labels: labels.into(),
        }
    }

    fn counts_ready(&self) -> bool {
        self.active && self.ready_since.is_some()
    }
}

impl PodGroup {
    fn count(&mut self, pod: &Pod, by: i64) {
        self.active += by * i64::from(pod.active);
        self.ready += by * i64::from(pod.counts_ready());
        self.terminating += by * i64::from(pod.terminating);
        self.succeeded += by * i64::from(pod.succeeded);
        self.failed += by * i64::from(pod.failed);
    }

    fn put(&mut self, name: &Arc<str>, pod: Pod) {
        self.remove(name);
        self.count(&pod, 1);
        *self.labels.entry(pod.labels.clone()).or_insert(0) += 1;
        self.pods.insert(name.clone(), pod);
    }

    fn remove(&mut self, name: &str) {
        let Some(pod) = self.pods.remove(name) else {
            return;
        };
        self.count(&pod, -1);
        if let Some(n) = self.labels.get_mut(&pod.labels) {
            *n -= 1;
            if *n == 0 {
                self.labels.remove(&pod.labels);
            }
        }
    }

    /// Pods neither ended nor on their way out.
    pub(crate) fn active(&self) -> i64 {
        self.active
    }

    /// Active pods that are ready.
    pub(crate) fn ready(&self) -> i64 {
        self.ready
    }

    /// Pods on their way out that have not ended.
    pub(crate) fn terminating(&self) -> i64 {
        self.terminating
    }

    pub(crate) fn succeeded(&self) -> i64 {
        self.succeeded
    }

    pub(crate) fn failed(&self) -> i64 {
        self.failed
    }

    /// Pods that still hold resources.
    pub(crate) fn unfinished(&self) -> i64 {
        self.active + self.terminating
    }

    /// The pods by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Pod)> {
        self.pods.iter()
    }

    /// The distinct label sets of the pods, and how many pods have each.
    pub(crate) fn label_sets(&self) -> Vec<(Value, usize)> {
        self.labels
            .iter()
            .map(|(text, n)| (serde_json::from_str(text).unwrap_or(Value::Null), *n))
            .collect()
    }

    /// Names of the pods with this label set.
    pub(crate) fn with_labels(&self, labels: &Value) -> Vec<Arc<str>> {
        let text = if labels.is_null() {
            String::new()
        } else {
            labels.to_string()
        };
        self.pods
            .iter()
            .filter(|(_, p)| *p.labels == *text)
            .map(|(n, _)| n.clone())
            .collect()
    }
}

/// Everything the controllers remember.
#[derive(Default)]
pub(crate) struct Index {
    known: BTreeMap<Arc<str>, Known>,
    dependents: BTreeMap<Arc<str>, BTreeSet<(Place, Arc<str>)>>,
    namespaces: BTreeMap<Arc<str>, BTreeSet<Place>>,
    orphans: BTreeMap<(Arc<str>, Arc<str>), BTreeSet<Arc<str>>>,
    pods: BTreeMap<Arc<str>, PodGroup>,
}

/// Kinds that a controller adopts when nothing controls them.
const ADOPTABLE: [&str; 2] = ["pods", "replicasets.apps"];

impl Index {
    /// Takes in an object as it is now.
    pub(crate) fn put(&mut self, resource: &Arc<str>, object: &Value) {
        let owners: Vec<Owner> = list(object, &["metadata", "ownerReferences"])
            .iter()
            .map(|r| Owner {
                uid: r["uid"].as_str().unwrap_or("").into(),
                blocks: r["blockOwnerDeletion"] == true,
            })
            .collect();
        let controller = controller_uid(object);
        let place = match self.known.get(uid(object)) {
            Some(known) if known.owners == owners && known.controlled == controller.is_some() => {
                known.place.clone()
            }
            _ => {
                self.forget_links(uid(object));
                self.link(resource, object, owners, controller.is_some())
            }
        };
        if &**resource == "pods"
            && let Some(controller) = controller
        {
            let group = match self.pods.get_mut(controller) {
                Some(group) => group,
                None => self.pods.entry(controller.into()).or_default(),
            };
            group.namespace = place.namespace;
            group.put(&place.name, Pod::read(object));
        }
    }

    fn link(
        &mut self,
        resource: &Arc<str>,
        object: &Value,
        owners: Vec<Owner>,
        controlled: bool,
    ) -> Place {
        let id: Arc<str> = uid(object).into();
        let place = Place {
            resource: resource.clone(),
            namespace: namespace(object).into(),
            name: name(object).into(),
        };
        for owner in &owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert((place.clone(), id.clone()));
        }
        if !place.namespace.is_empty() {
            self.namespaces
                .entry(place.namespace.clone())
                .or_default()
                .insert(place.clone());
        }
        if !controlled && ADOPTABLE.contains(&&**resource) {
            self.orphans
                .entry((resource.clone(), place.namespace.clone()))
                .or_default()
                .insert(place.name.clone());
        }
        self.known.insert(
            id,
            Known {
                place: place.clone(),
                owners,
                controlled,
            },
        );
        place
    }

    fn forget_links(&mut self, id: &str) {
        let Some((id, known)) = self.known.remove_entry(id) else {
            return;
        };
        let Known { place, owners, .. } = known;
        for owner in owners {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(&(place.clone(), id.clone()));
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
            if &*place.resource == "pods"
                && let Some(group) = self.pods.get_mut(&owner.uid)
            {
                group.remove(&place.name);
                if group.pods.is_empty() {
                    self.pods.remove(&owner.uid);
                }
            }
        }
        if let Some(set) = self.namespaces.get_mut(&place.namespace) {
            set.remove(&place);
            if set.is_empty() {
                self.namespaces.remove(&place.namespace);
            }
        }
        let key = (place.resource.clone(), place.namespace.clone());
        if let Some(set) = self.orphans.get_mut(&key) {
            set.remove(&place.name);
            if set.is_empty() {
                self.orphans.remove(&key);
            }
        }
    }

    /// Forgets an object that is gone.
    pub(crate) fn remove(&mut self, object: &Value) {
        self.forget_links(uid(object));
    }

    /// Where the object with this uid is, if it exists.
    pub(crate) fn find(&self, uid: &str) -> Option<&Place> {
        self.known.get(uid).map(|k| &k.place)
    }

    /// Whether the dependent holds its owner back in a foreground deletion.
    pub(crate) fn blocks(&self, dependent: &str, owner: &str) -> bool {
        self.known
            .get(dependent)
            .is_some_and(|k| k.owners.iter().any(|o| &*o.uid == owner && o.blocks))
    }

    /// Everything that names `owner` as an owner, with uids.
    pub(crate) fn dependents(&self, owner: &str) -> Vec<(Place, Arc<str>)> {
        self.dependents
            .get(owner)
            .map(|s| s.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Names of the objects of one kind that name `owner` as an owner.
    pub(crate) fn dependents_of(&self, owner: &str, resource: &str) -> Vec<Arc<str>> {
        self.dependents
            .get(owner)
            .into_iter()
            .flatten()
            .filter(|(p, _)| &*p.resource == resource)
            .map(|(p, _)| p.name.clone())
            .collect()
    }

    /// Names of the objects of one kind in a namespace that nothing controls.
    pub(crate) fn orphans(&self, resource: &str, ns: &str) -> Vec<Arc<str>> {
        let key = (Arc::from(resource), Arc::from(ns));
        self.orphans
            .get(&key)
            .map(|s| s.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// The pods of one controller.
    pub(crate) fn pods_of(&self, controller: &str) -> Option<&PodGroup> {
        self.pods.get(controller)
    }

    /// The pods of a namespace that have a controller, by its uid.
    pub(crate) fn pod_groups(&self, ns: &str) -> impl Iterator<Item = (&Arc<str>, &PodGroup)> {
        let groups = self.pods.iter();
        groups.filter(move |(_, group)| *group.namespace == *ns)
    }

    /// Whether a namespace holds nothing, events aside.
    pub(crate) fn is_empty(&self, ns: &str) -> bool {
        !self.namespaces.contains_key(ns)
    }

    /// Everything in a namespace, events aside.
    pub(crate) fn in_namespace(&self, ns: &str) -> Vec<Place> {
        self.namespaces
            .get(ns)
            .map(|s| s.iter().cloned().collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, owner: Option<&str>, phase: &str) -> Value {
        let mut v = json!({"metadata": {"name": uid, "namespace": "d", "uid": uid},
                           "status": {"phase": phase}});
        if let Some(owner) = owner {
            v["metadata"]["ownerReferences"] = json!([{"uid": owner, "controller": true}]);
        }
        v
    }

    #[test]
    fn pods_are_counted_as_they_change_and_leave() {
        let mut index = Index::default();
        let pods: Arc<str> = "pods".into();
        index.put(&pods, &pod("a", Some("rs"), "Pending"));
        index.put(&pods, &pod("b", Some("rs"), "Running"));
        assert_eq!(index.pods_of("rs").map(PodGroup::active), Some(2));
        index.put(&pods, &pod("b", Some("rs"), "Failed"));
        assert_eq!(
            index.pods_of("rs").map(|g| (g.active(), g.failed())),
            Some((1, 1))
        );
        index.remove(&pod("a", Some("rs"), "Pending"));
        index.put(&pods, &pod("b", None, "Failed"));
        assert!(index.pods_of("rs").is_none() && index.dependents("rs").is_empty());
        assert_eq!(index.orphans("pods", "d"), [Arc::from("b")]);
        index.remove(&pod("b", None, "Failed"));
        assert!(index.in_namespace("d").is_empty() && index.find("b").is_none());
    }
}
