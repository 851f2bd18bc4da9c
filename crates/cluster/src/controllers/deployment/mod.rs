//! Deployments: replica sets for each template, exchanged step by step.

mod plan;
mod sets;
mod status;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::plan::{Bounds, Set};
use super::object::{
    add_owner, annotation, controller_ref, controller_uid, created, int, name, namespace,
    retain_owners, set_annotation, text, uid,
};
use super::selector::Selector;
use super::{Ctx, Requeue};
use crate::value::{at, condition, deleting};
use crate::{DeleteOptions, Status};

pub(crate) const RESOURCE: &str = "deployments.apps";
const SETS: &str = "replicasets.apps";
const SOURCE: &str = "deployment-controller";

/// Brings one deployment a step further.
pub(crate) fn sync(ctx: &Ctx<'_>, ns: &str, deployment: &str) -> Result<Requeue, Status> {
    let d = match ctx.cluster.get(RESOURCE, ns, deployment) {
        Ok(d) => d,
        Err(e) if e.is_not_found() => return Ok(Requeue::Done),
        Err(e) => return Err(e),
    };
    let selector = Selector::of(&d["spec"]["selector"]);
    if selector.is_everything() {
        let text = "This deployment is selecting all pods. A non-empty selector is required.";
        ctx.event(SOURCE, &d, "Warning", "SelectingAll", text);
        return Ok(Requeue::Done);
    }
    let sets = claim(ctx, &d, &selector)?;
    let mut rollout = Rollout::new(ctx, d.clone(), sets);
    if deleting(&rollout.d) {
        return rollout.write_status(false);
    }
    rollout.note_pause()?;
    if rollout.d["spec"]["paused"] == true {
        rollout.revise(false)?;
        rollout.resize()?;
        rollout.clean_up()?;
        return rollout.write_status(false);
    }
    let desired = rollout.bounds.desired.to_string();
    let resized = rollout
        .sets
        .iter()
        .filter(|rs| size(rs) > 0)
        .any(|rs| annotation(rs, sets::DESIRED).is_some_and(|was| was != desired));
    if resized {
        rollout.revise(false)?;
        rollout.resize()?;
        return rollout.write_status(false);
    }
    if rollout.bounds.rolling {
        rollout.roll()
    } else {
        rollout.recreate()
    }
}

/// The replica sets that the deployment controls, oldest first; matching orphans are adopted,
/// and sets that no longer match are let go.
fn claim(ctx: &Ctx<'_>, d: &Value, selector: &Selector) -> Result<Vec<Arc<Value>>, Status> {
    let (ns, owner) = (namespace(d), uid(d));
    let mut out = Vec::new();
    let owned = ctx.index.dependents_of(owner, SETS);
    let orphans = ctx.index.orphans(SETS, ns);
    for rs_name in owned.into_iter().chain(orphans) {
        let Ok(rs) = ctx.cluster.get(SETS, ns, &rs_name) else {
            continue;
        };
        let matches = selector.matches(&rs["metadata"]["labels"]);
        match controller_uid(&rs) {
            Some(by) if by == owner && matches => out.push(rs),
            Some(by) if by == owner && !deleting(d) => {
                ctx.cluster.modify(SETS, ns, &rs_name, |rs| {
                    retain_owners(rs, |r| r["uid"] != owner);
                })?;
            }
            None if matches && !deleting(d) && !deleting(&rs) => {
                let reference = controller_ref(d);
                out.push(
                    ctx.cluster
                        .modify(SETS, ns, &rs_name, |rs| add_owner(rs, reference))?,
                );
            }
            _ => {}
        }
    }
    out.sort_by(|a, b| (created(a), name(a)).cmp(&(created(b), name(b))));
    Ok(out)
}

fn size(rs: &Value) -> i64 {
    int(rs, &["spec", "replicas"])
}

fn bounds(d: &Value) -> Bounds {
    let desired = int(d, &["spec", "replicas"]);
    if text(d, &["spec", "strategy", "type"]) == "Recreate" {
        return Bounds {
            desired,
            surge: 0,
            unavailable: 0,
            rolling: false,
        };
    }
    let field = |key: &str| match at(d, &["spec", "strategy", "rollingUpdate", key]) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => "25%".to_owned(),
    };
    plan::rolling(desired, &field("maxSurge"), &field("maxUnavailable"))
}

/// One deployment with its replica sets, as far as this sync knows them.
struct Rollout<'a> {
    ctx: &'a Ctx<'a>,
    d: Arc<Value>,
    sets: Vec<Arc<Value>>,
    /// The place of the set with the deployment's template.
    new: Option<usize>,
    template: String,
    bounds: Bounds,
}

impl<'a> Rollout<'a> {
    fn new(ctx: &'a Ctx<'a>, d: Arc<Value>, sets: Vec<Arc<Value>>) -> Self {
        let template = sets::canonical(&d["spec"]["template"]);
        // Of several sets with this template the oldest counts.
        let new = sets
            .iter()
            .position(|rs| sets::canonical(&rs["spec"]["template"]) == template);
        let bounds = bounds(&d);
        Self {
            ctx,
            d,
            sets,
            new,
            template,
            bounds,
        }
    }

    fn new_set(&self) -> Option<&Value> {
        self.new.map(|i| &*self.sets[i])
    }

    fn old(&self) -> Vec<usize> {
        (0..self.sets.len())
            .filter(|i| Some(*i) != self.new)
            .collect()
    }

    fn numbers(&self, i: usize) -> Set {
        let rs = &self.sets[i];
        Set {
            replicas: size(rs),
            available: int(rs, &["status", "availableReplicas"]),
            max_before: annotation(rs, sets::MAX).and_then(|m| m.parse().ok()),
        }
    }

    fn set_condition(
        &mut self,
        kind: &str,
        status: &str,
        reason: &str,
        message: String,
    ) -> Result<(), Status> {
        let now = self.ctx.now;
        let (ns, name) = (namespace(&self.d).to_owned(), name(&self.d).to_owned());
        self.d = self.ctx.cluster.modify_status(RESOURCE, &ns, &name, |d| {
            let mut conditions = crate::value::list(d, &["status", "conditions"]).to_vec();
            status::set(
                &mut conditions,
                status::Condition {
                    kind,
                    status,
                    reason,
                    message,
                },
                now,
            );
            crate::value::map_mut(d, &["status"]).insert("conditions".into(), json!(conditions));
        })?;
        Ok(())
    }

    /// Says in the Progressing condition that the rollout stands still, or goes on.
    fn note_pause(&mut self) -> Result<(), Status> {
        if status::deadline(&self.d).is_none() {
            return Ok(());
        }
        let reason = condition(&self.d, "Progressing")
            .map(|c| text(c, &["reason"]).to_owned())
            .unwrap_or_default();
        if reason == "ProgressDeadlineExceeded" {
            return Ok(());
        }
        let paused = self.d["spec"]["paused"] == true;
        match (paused, reason == "DeploymentPaused") {
            (true, false) => self.set_condition(
                "Progressing",
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused".to_owned(),
            ),
            (false, true) => self.set_condition(
                "Progressing",
                "Unknown",
                "DeploymentResumed",
                "Deployment is resumed".to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// Finds (or, where asked, creates) the set of this template and numbers the revisions.
    fn revise(&mut self, create: bool) -> Result<(), Status> {
        let newest_old = self
            .old()
            .iter()
            .map(|i| sets::revision(&self.sets[*i]))
            .max();
        let revision = newest_old.unwrap_or(0) + 1;
        let Some(i) = self.new else {
            return if create {
                self.create_set(revision)
            } else {
                Ok(())
            };
        };
        let rs = self.sets[i].clone();
        let min_ready = int(&self.d, &["spec", "minReadySeconds"]);
        if sets::needs_annotating(&rs, &self.d, revision)
            || int(&rs, &["spec", "minReadySeconds"]) != min_ready
        {
            let d = self.d.clone();
            self.sets[i] = self
                .ctx
                .cluster
                .modify(SETS, namespace(&rs), name(&rs), |rs| {
                    sets::annotate(rs, &d, revision);
                    if min_ready > 0 {
                        rs["spec"]["minReadySeconds"] = json!(min_ready);
                    } else if let Some(spec) = rs["spec"].as_object_mut() {
                        spec.remove("minReadySeconds");
                    }
                })?;
        }
        self.note_revision(sets::revision(&self.sets[i]))?;
        if status::deadline(&self.d).is_some() && condition(&self.d, "Progressing").is_none() {
            let message = format!("Found new replica set \"{}\"", name(&rs));
            self.set_condition("Progressing", "True", "FoundNewReplicaSet", message)?;
        }
        Ok(())
    }

    fn note_revision(&mut self, revision: i64) -> Result<(), Status> {
        let revision = revision.to_string();
        if annotation(&self.d, sets::REVISION) == Some(&revision) {
            return Ok(());
        }
        let (ns, name) = (namespace(&self.d).to_owned(), name(&self.d).to_owned());
        self.d = self.ctx.cluster.modify_status(RESOURCE, &ns, &name, |d| {
            set_annotation(d, sets::REVISION, &revision);
        })?;
        Ok(())
    }

    fn create_set(&mut self, revision: i64) -> Result<(), Status> {
        let total: i64 = self.sets.iter().map(|rs| size(rs)).sum();
        let replicas = plan::new_size(&self.bounds, 0, total);
        let ns = namespace(&self.d).to_owned();
        loop {
            let collisions = int(&self.d, &["status", "collisionCount"]);
            let hash = sets::hash(&self.template, collisions);
            let mut rs = sets::build(&self.d, &hash, replicas, controller_ref(&self.d));
            sets::annotate(&mut rs, &self.d, revision);
            sets::note_size(
                &mut rs,
                self.bounds.desired,
                self.bounds.desired + self.bounds.surge,
            );
            let rs_name = name(&rs).to_owned();
            match self.ctx.cluster.create(SETS, rs) {
                Ok(rs) => {
                    self.new = Some(self.sets.len());
                    self.sets.push(rs);
                    if replicas > 0 {
                        let text = format!("Scaled up replica set {rs_name} from 0 to {replicas}");
                        self.ctx
                            .event(SOURCE, &self.d, "Normal", "ScalingReplicaSet", &text);
                    }
                    self.note_revision(revision)?;
                    if status::deadline(&self.d).is_some() {
                        let text = format!("Created new replica set \"{rs_name}\"");
                        self.set_condition("Progressing", "True", "NewReplicaSetCreated", text)?;
                    }
                    return Ok(());
                }
                Err(e) if e.is_already_exists() => {
                    let name = name(&self.d).to_owned();
                    self.d = self.ctx.cluster.modify_status(RESOURCE, &ns, &name, |d| {
                        crate::value::map_mut(d, &["status"])
                            .insert("collisionCount".into(), json!(collisions + 1));
                    })?;
                }
                Err(e) => {
                    let text = format!("Failed to create new replica set \"{rs_name}\": {e}");
                    self.ctx
                        .event(SOURCE, &self.d, "Warning", "ReplicaSetCreateError", &text);
                    if status::deadline(&self.d).is_some() {
                        let (kind, reason) = ("Progressing", "ReplicaSetCreateError");
                        self.set_condition(kind, "False", reason, text)?;
                    }
                    return Err(e);
                }
            }
        }
    }

    /// Gives a set its size; true if that was news.
    fn scale(&mut self, i: usize, to: i64) -> Result<bool, Status> {
        let rs = self.sets[i].clone();
        let (desired, max) = (self.bounds.desired, self.bounds.desired + self.bounds.surge);
        let from = size(&rs);
        if from == to && !sets::size_note_differs(&rs, desired, max) {
            return Ok(false);
        }
        self.sets[i] = self
            .ctx
            .cluster
            .modify(SETS, namespace(&rs), name(&rs), |rs| {
                rs["spec"]["replicas"] = json!(to);
                sets::note_size(rs, desired, max);
            })?;
        if from == to {
            return Ok(false);
        }
        let way = if to > from { "up" } else { "down" };
        let text = format!("Scaled {way} replica set {} from {from} to {to}", name(&rs));
        self.ctx
            .event(SOURCE, &self.d, "Normal", "ScalingReplicaSet", &text);
        Ok(true)
    }

    /// Spreads a changed replica count over the sets.
    fn resize(&mut self) -> Result<(), Status> {
        let desired = self.bounds.desired;
        let active: Vec<usize> = (0..self.sets.len())
            .filter(|i| size(&self.sets[*i]) > 0)
            .collect();
        let only = match active.as_slice() {
            [] => self.new.or(self.sets.len().checked_sub(1)),
            [one] => Some(*one),
            _ => None,
        };
        if let Some(i) = only {
            self.scale(i, desired)?;
            return Ok(());
        }
        let saturated = self.new.is_some_and(|i| {
            let rs = &self.sets[i];
            size(rs) == desired
                && annotation(rs, sets::DESIRED) == Some(desired.to_string().as_str())
                && int(rs, &["status", "availableReplicas"]) == desired
        });
        if saturated {
            for i in self.old() {
                self.scale(i, 0)?;
            }
            return Ok(());
        }
        if !self.bounds.rolling {
            return Ok(());
        }
        let total: i64 = active.iter().map(|i| size(&self.sets[*i])).sum();
        let growing = desired + self.bounds.surge > total;
        let mut order = active;
        // `sets` is oldest first: the place stands for the age.
        order.sort_by_key(|i| {
            let age = i64::try_from(*i).unwrap_or(i64::MAX);
            (-size(&self.sets[*i]), if growing { -age } else { age })
        });
        let numbers: Vec<Set> = order.iter().map(|i| self.numbers(*i)).collect();
        let status_replicas = int(&self.d, &["status", "replicas"]);
        let sizes = plan::proportional(&self.bounds, &numbers, status_replicas);
        for (i, to) in order.into_iter().zip(sizes) {
            self.scale(i, to)?;
        }
        Ok(())
    }

    fn roll(&mut self) -> Result<Requeue, Status> {
        self.revise(true)?;
        let Some(new) = self.new else {
            return self.write_status(true);
        };
        let total: i64 = self.sets.iter().map(|rs| size(rs)).sum();
        let now = size(&self.sets[new]);
        let desired = self.bounds.desired;
        let to = if now > desired {
            desired
        } else {
            plan::new_size(&self.bounds, now, total)
        };
        if now != desired && self.scale(new, to)? {
            return self.write_status(true);
        }
        let old = self.old();
        if old.iter().any(|i| size(&self.sets[*i]) > 0) {
            let numbers: Vec<Set> = old.iter().map(|i| self.numbers(*i)).collect();
            let sizes = plan::old_sizes(&self.bounds, &numbers, &self.numbers(new));
            let mut any = false;
            for (i, to) in old.into_iter().zip(sizes) {
                if size(&self.sets[i]) != to {
                    any |= self.scale(i, to)?;
                }
            }
            if any {
                return self.write_status(true);
            }
        }
        if status::complete(&self.d, &self.d["status"]) {
            self.clean_up()?;
        }
        self.write_status(true)
    }

    fn recreate(&mut self) -> Result<Requeue, Status> {
        self.revise(false)?;
        let mut any = false;
        for i in self.old() {
            any |= size(&self.sets[i]) > 0 && self.scale(i, 0)?;
        }
        let old_pods = self.old().iter().any(|i| {
            self.ctx
                .index
                .pods_of(uid(&self.sets[*i]))
                .is_some_and(|g| g.unfinished() > 0)
        });
        if any || old_pods {
            return self.write_status(true);
        }
        self.revise(true)?;
        if let Some(new) = self.new {
            self.scale(new, self.bounds.desired)?;
        }
        if status::complete(&self.d, &self.d["status"]) {
            self.clean_up()?;
        }
        self.write_status(true)
    }

    /// Deletes old, empty sets beyond the history that is kept.
    fn clean_up(&mut self) -> Result<(), Status> {
        let Some(limit) = at(&self.d, &["spec", "revisionHistoryLimit"]).and_then(Value::as_u64)
        else {
            return Ok(());
        };
        let mut old: Vec<Arc<Value>> = self
            .old()
            .into_iter()
            .map(|i| self.sets[i].clone())
            .filter(|rs| !deleting(rs))
            .collect();
        old.sort_by_key(|rs| sets::revision(rs));
        let excess = old
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        for rs in old.iter().take(excess) {
            let settled =
                int(rs, &["status", "observedGeneration"]) >= int(rs, &["metadata", "generation"]);
            if size(rs) == 0 && int(rs, &["status", "replicas"]) == 0 && settled {
                self.ctx
                    .cluster
                    .delete(SETS, namespace(rs), name(rs), DeleteOptions::default())?;
            }
        }
        Ok(())
    }

    /// Writes the status if it changed; with `rollout` the Progressing condition too.
    fn write_status(&mut self, rollout: bool) -> Result<Requeue, Status> {
        let now = self.ctx.now;
        let sets: Vec<&Value> = self.sets.iter().map(|rs| &**rs).collect();
        let mut new_status = status::calculate(&self.d, &sets, self.new_set(), &self.bounds, now);
        if rollout {
            status::progress(&self.d, &mut new_status, self.new_set(), now);
            status::failure(&mut new_status, &sets, self.new_set(), now);
        }
        if self.d["status"] != new_status {
            let (ns, name) = (namespace(&self.d).to_owned(), name(&self.d).to_owned());
            self.d = self.ctx.cluster.modify_status(RESOURCE, &ns, &name, |d| {
                d["status"] = new_status;
            })?;
        }
        match status::expires(&self.d) {
            Some(at) if rollout && !status::complete(&self.d, &self.d["status"]) => {
                let left = u64::try_from(at.duration_since(now).as_secs().max(0)).unwrap_or(0);
                Ok(Requeue::After(Duration::from_secs(left + 1)))
            }
            _ => Ok(Requeue::Done),
        }
    }
}
