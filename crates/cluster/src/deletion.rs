//! Deleting: grace, finalizers and the last write that makes an object go.

use std::sync::Arc;

use jiff::ToSpan as _;
use serde_json::{Value, json};

use crate::cluster::{Admission, Cluster, Operation};
use crate::resource::Resource;
use crate::status::Status;
use crate::value::{self, set_meta};

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay, without their owner.
    Orphan,
    /// They go after the owner.
    Background,
    /// They go before the owner.
    Foreground,
}

impl Propagation {
    /// Reads the API's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Orphan" => Some(Self::Orphan),
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            _ => None,
        }
    }
}

/// How an object is to be deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds that a pod gets to end.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents; `Background` when unset.
    pub propagation: Option<Propagation>,
    /// Delete only the object with this UID.
    pub uid: Option<String>,
    /// Delete only this version of the object.
    pub resource_version: Option<String>,
    /// Do everything but keep it.
    pub dry_run: bool,
}

/// Whether nothing holds a deleted object any more.
pub(crate) fn is_finished(row: &Resource, object: &Value) -> bool {
    if !value::deleting(object) || !value::list(object, &["metadata", "finalizers"]).is_empty() {
        return false;
    }
    match &*row.name {
        "pods" => {
            value::integer(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
        }
        "namespaces" => value::list(object, &["spec", "finalizers"]).is_empty(),
        _ => true,
    }
}

/// Seconds that an object gets to end; 0 for all but running pods.
fn grace_period(row: &Resource, object: &Value, options: &DeleteOptions) -> i64 {
    if &*row.name != "pods" {
        return 0;
    }
    let phase = value::text(object, &["status", "phase"]);
    let unscheduled = value::text(object, &["spec", "nodeName"]).is_empty();
    if unscheduled || phase == "Succeeded" || phase == "Failed" {
        return 0;
    }
    let asked = options
        .grace_period_seconds
        .or_else(|| value::integer(object, &["spec", "terminationGracePeriodSeconds"]))
        .unwrap_or(30);
    // A negative period counts as one second, as the real server has it.
    if asked < 0 { 1 } else { asked }
}

/// The finalizers once the wish about dependents is written into them.
fn finalizers_for(object: &Value, propagation: Option<Propagation>) -> Vec<Value> {
    const ORPHAN: &str = "orphan";
    const FOREGROUND: &str = "foregroundDeletion";
    let mut list = value::list(object, &["metadata", "finalizers"]).to_vec();
    let wanted = match propagation {
        None => return list,
        Some(Propagation::Background) => None,
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
    };
    list.retain(|f| {
        let is = f.as_str().unwrap_or("");
        (is != ORPHAN && is != FOREGROUND) || Some(is) == wanted
    });
    if let Some(wanted) = wanted
        && !list.iter().any(|f| f == wanted)
    {
        list.push(json!(wanted));
    }
    list
}

impl Cluster {
    /// Deletes an object: at once, or by marking it where something holds it.
    ///
    /// Returns its last state, or the marked object.
    pub fn delete(
        &self,
        resource: &str,
        ns: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Arc<Value>, Status> {
        let row = self.row(resource)?;
        let old = self.get(&row.name, ns, name)?;
        self.delete_row(&row, &old, &options)
            .map(|(object, _)| object)
    }

    /// As `delete`; the flag says whether the object is gone.
    pub(crate) fn delete_row(
        &self,
        row: &Arc<Resource>,
        old: &Arc<Value>,
        options: &DeleteOptions,
    ) -> Result<(Arc<Value>, bool), Status> {
        let (object, gone) = self.delete_quietly(row, old, options)?;
        if options.dry_run || Arc::ptr_eq(&object, old) {
            return Ok((object, gone));
        }
        if gone {
            self.after_removal(row, &object);
        } else {
            self.after_write(row, object.clone());
        }
        Ok((object, gone))
    }

    /// As `delete_row`, without what the server does afterwards.
    pub(crate) fn delete_quietly(
        &self,
        row: &Arc<Resource>,
        old: &Arc<Value>,
        options: &DeleteOptions,
    ) -> Result<(Arc<Value>, bool), Status> {
        let name = value::name(old);
        if let Some(uid) = &options.uid
            && uid != value::uid(old)
        {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                value::uid(old)
            );
            return Err(Status::conflict(&row.name, name, &why));
        }
        if let Some(version) = &options.resource_version
            && version != value::resource_version(old)
        {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {version}, \
                 ResourceVersion in object meta: {}",
                value::resource_version(old)
            );
            return Err(Status::conflict(&row.name, name, &why));
        }
        self.ask(
            row,
            &Admission {
                operation: Operation::Delete,
                namespace: value::namespace(old).to_owned(),
                name: name.to_owned(),
                object: Value::Null,
                old: old.clone(),
                dry_run: options.dry_run,
            },
        )?;
        if &*row.name == "namespaces" && ["default", "kube-system", "kube-public"].contains(&name) {
            return Err(Status::forbidden(
                "namespaces",
                name,
                "this namespace may not be deleted",
            ));
        }
        let mut new = crate::views::current(row, old).into_owned();
        let mut finalizers = finalizers_for(old, options.propagation);
        if &*row.name == "customresourcedefinitions.apiextensions.k8s.io"
            && crate::crd::has_objects(self, old)
            && !finalizers.iter().any(|f| f == crate::crd::CLEANUP)
        {
            finalizers.push(json!(crate::crd::CLEANUP));
        }
        let held = !finalizers.is_empty()
            || (&*row.name == "namespaces"
                && !value::list(old, &["spec", "finalizers"]).is_empty());
        set_meta(
            &mut new,
            "finalizers",
            (!finalizers.is_empty()).then_some(Value::Array(finalizers)),
        );
        let grace = grace_period(row, old, options);
        if !held && grace == 0 {
            if options.dry_run {
                return Ok((old.clone(), true));
            }
            let gone = self.commit_removal(row, old, new)?;
            return Ok((gone, true));
        }
        let before = value::integer(old, &["metadata", "deletionGracePeriodSeconds"]);
        let marked = value::deleting(old);
        if !marked || (&*row.name == "pods" && before.is_some_and(|b| grace < b)) {
            // Marking is a change of what is wished for, so the generation rises.
            if !marked && row.generation {
                let generation = value::integer(old, &["metadata", "generation"]).unwrap_or(0);
                set_meta(&mut new, "generation", Some(json!(generation + 1)));
            }
            let end = self
                .now()
                .checked_add(grace.seconds())
                .unwrap_or_else(|_| self.now());
            set_meta(&mut new, "deletionTimestamp", Some(json!(value::time(end))));
            // Namespaces have no period.
            let period = (&*row.name != "namespaces").then(|| json!(grace));
            set_meta(&mut new, "deletionGracePeriodSeconds", period);
        }
        if &*row.name == "namespaces" {
            value::map_mut(&mut new, &["status"]).insert("phase".to_owned(), json!("Terminating"));
        }
        if crate::admission::same(old, &new) {
            return Ok((old.clone(), false));
        }
        if options.dry_run {
            return Ok((Arc::new(new), false));
        }
        let object = self.commit(row, old, new)?;
        Ok((object, false))
    }

    fn after_removal(&self, row: &Resource, gone: &Value) {
        if row.custom.is_some() {
            crate::crd::after_removal(self, row);
        } else if &*row.name == "customresourcedefinitions.apiextensions.k8s.io" {
            crate::crd::refresh(self);
        } else if &*row.name == "apiservices.apiregistration.k8s.io" {
            crate::bootstrap::register_again(self, gone);
        }
    }
}
