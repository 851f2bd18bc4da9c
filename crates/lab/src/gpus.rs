//! How busy the GPUs of each workload are: the load that its annotation names,
//! shared by its ready replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::load::{LoadError, Model};

/// Annotation with a workload's load.
pub const ANNOTATION: &str = "lab.rheostat.dev/load";

/// Loads set from outside, in place of the annotation, and the utilization
/// that came of it. Shared by clones.
#[derive(Clone, Debug, Default)]
pub struct Loads(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    set: BTreeMap<String, String>,
    utilization: BTreeMap<String, f64>,
}

impl Loads {
    /// Sets the load of workload `namespace/name` without touching its objects.
    ///
    /// # Errors
    /// When `load` is not a load.
    pub fn set(&self, workload: &str, load: &str) -> Result<(), LoadError> {
        Model::read(Some(load), |path| std::fs::read_to_string(path))?;
        self.lock().set.insert(workload.to_owned(), load.to_owned());
        Ok(())
    }

    /// Mean utilization of a workload's ready GPUs at the last sample.
    pub fn utilization(&self, namespace: &str, name: &str) -> Option<f64> {
        self.lock()
            .utilization
            .get(&format!("{namespace}/{name}"))
            .copied()
    }

    /// Utilization of a ready pod's GPUs, by the Deployment above it. A workload
    /// without a Deployment has no annotation to steer it: it is busy.
    pub(crate) fn of_ready(&self, namespace: &str, deployment: Option<&str>) -> f64 {
        deployment.map_or(100.0, |name| {
            self.utilization(namespace, name).unwrap_or(0.0)
        })
    }

    pub(crate) fn publish(&self, utilization: BTreeMap<String, f64>) {
        self.lock().utilization = utilization;
    }

    fn outside(&self, workload: &str) -> Option<String> {
        self.lock().set.get(workload).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loads of all workloads, by `namespace/name`.
#[derive(Debug, Default)]
pub(crate) struct Workloads {
    annotations: BTreeMap<String, String>,
    known: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    text: Option<String>,
    model: Model,
    since: Timestamp,
}

impl Workloads {
    /// Notes what a Deployment's annotation says.
    pub fn annotated(&mut self, workload: &str, annotation: Option<&str>) {
        match annotation {
            Some(text) => self
                .annotations
                .insert(workload.to_owned(), text.to_owned()),
            None => self.annotations.remove(workload),
        };
    }

    /// The workloads with an annotation, each with no ready GPU yet.
    pub fn annotated_names(&self) -> BTreeMap<String, u32> {
        self.annotations
            .keys()
            .map(|name| (name.clone(), 0))
            .collect()
    }

    /// Every workload that is known.
    pub fn names(&self) -> BTreeSet<String> {
        self.annotations
            .keys()
            .chain(self.known.keys())
            .cloned()
            .collect()
    }

    /// Forgets a Deployment.
    pub fn gone(&mut self, workload: &str) {
        self.annotations.remove(workload);
        self.known.remove(workload);
    }

    /// Utilization of each of a workload's ready GPUs, percent. A load that
    /// cannot be read is reported once and the one before it stays.
    pub fn utilization(
        &mut self,
        workload: &str,
        ready_gpus: u32,
        loads: &Loads,
        now: Timestamp,
    ) -> (f64, Option<LoadError>) {
        let text = loads
            .outside(workload)
            .or_else(|| self.annotations.get(workload).cloned());
        let known = self
            .known
            .entry(workload.to_owned())
            .or_insert_with(|| Known {
                text: None,
                model: Model::default(),
                since: now,
            });
        let mut error = None;
        if known.text != text {
            match Model::read(text.as_deref(), |path| std::fs::read_to_string(path)) {
                Ok(model) => (known.model, known.since) = (model, now),
                Err(e) => error = Some(e),
            }
            known.text = text;
        }
        let since = now.duration_since(known.since).unsigned_abs();
        (known.model.share(ready_gpus, since).utilization, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_cannot_be_read_is_reported_once_and_the_old_one_stays() {
        let (mut workloads, loads) = (Workloads::default(), Loads::default());
        let now = Timestamp::UNIX_EPOCH;
        let look = |workloads: &mut Workloads| workloads.utilization("a/b", 2, &loads, now);
        assert_eq!(look(&mut workloads).0, 100.0);
        workloads.annotated("a/b", Some("0.5"));
        assert_eq!(look(&mut workloads).0, 25.0);
        workloads.annotated("a/b", Some("lots"));
        let (utilization, error) = look(&mut workloads);
        assert_eq!(utilization, 25.0);
        assert!(error.unwrap().to_string().contains("lots"));
        assert_eq!(look(&mut workloads).1, None);
    }

    #[test]
    fn a_load_from_outside_wins_over_the_annotation() {
        let (mut workloads, loads) = (Workloads::default(), Loads::default());
        workloads.annotated("a/b", Some("idle"));
        loads.set("a/b", "util:50").unwrap();
        let (utilization, _) = workloads.utilization("a/b", 7, &loads, Timestamp::UNIX_EPOCH);
        assert_eq!(utilization, 50.0);
        assert!(loads.set("a/b", "util:500").is_err());
    }
}
