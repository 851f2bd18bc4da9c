//! One reconcile of a ScaledObject: KEDA's checks in KEDA's order.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::keda::{FINALIZER, SCALED_OBJECT_LABEL, ScaledObject};
use decide::scale::checks;
use decide::scale::conditions::{self, Event, READY};
use decide::scale::fallback;
use decide::scale::hpa_spec::{self, HpaPlan};
use decide::scale::pause::Steering;
use serde_json::{Value, json};

use crate::controller::{Controller, Loop};
use crate::state::{Key, key_of};
use crate::target::{self, KindError};
use crate::watches::{self, Source, Task};
use crate::{auth, io, poll, scalers};

/// A reconcile that ended early.
struct Failure {
    /// Which check failed.
    prefix: &'static str,
    error: String,
    /// Recorded beside the failure itself.
    event: Option<Event>,
}

impl Failure {
    fn of(prefix: &'static str, error: impl Into<String>) -> Self {
        Self {
            prefix,
            error: error.into(),
            event: None,
        }
    }

    fn message(&self) -> String {
        format!("{}: {}", self.prefix, self.error)
    }
}

const BAD_TARGET: &str = "ScaledObject doesn't have correct scaleTargetRef specification";
const BAD_LABEL: &str = "failed to update ScaledObject with scaledObjectName label";
const BAD_COUNTS: &str =
    "ScaledObject doesn't have correct Idle/Min/Max Replica Counts specification";
const BAD_TRIGGERS: &str = "ScaledObject doesn't have correct triggers specification";
const BAD_TYPES: &str =
    "Cannot update ScaledObject status with triggers'types and authentications'types";
const BAD_HPA: &str = "failed to ensure HPA is correctly created for ScaledObject";
const BAD_PAUSE: &str = "failed to update paused status";
const BAD_PAUSED_HPA: &str = "failed to delete HPA for paused ScaledObject";
const BAD_PAUSED_SCALE: &str = "failed to scale target to paused replica count";
const BAD_PAUSED_COUNT: &str = "failed to update paused replica count status";

impl Controller {
    /// One reconcile of a ScaledObject, with what a failure leaves behind.
    pub(crate) async fn object(&mut self, key: &Key) -> Result<(), String> {
        let Some(object) = self.shared.object(key) else {
            return Ok(());
        };
        let lock = self.shared.lock_of(key);
        let _held = lock.lock().await;
        if object.metadata.deletion_timestamp.is_some() {
            return self
                .finalize(key, &object)
                .await
                .map_err(|error| io::message(&error));
        }
        let object = self
            .prepare(key, object)
            .await
            .map_err(|error| io::message(&error))?;
        let outcome = self.check(key, Arc::clone(&object)).await;
        let Some(object) = self.shared.object(key) else {
            return Ok(());
        };
        let mut status = object.status.clone();
        if !fallback::is_enabled(&object.spec) {
            conditions::fallback(&mut status.conditions, false);
        }
        let outcome = match outcome {
            Ok(message) => {
                let was_ready = conditions::status_of(&object.status.conditions, READY) == "True";
                let reason = conditions::READY_REASON;
                conditions::set(&mut status.conditions, READY, "True", reason, message);
                if !was_ready {
                    let note = "ScaledObject is ready for scaling";
                    let event = Event::reconciled("Normal", reason, note);
                    self.shared.record(&object, &event).await;
                }
                Ok(())
            }
            Err(failure) => {
                if let Some(event) = &failure.event {
                    self.shared.record(&object, event).await;
                }
                let message = failure.message();
                conditions::check_failed(&mut status.conditions, &message);
                let event = Event::reconciled("Warning", conditions::CHECK_FAILED, message.clone());
                self.shared.record(&object, &event).await;
                Err(message)
            }
        };
        self.shared
            .write_status(&object, &status)
            .await
            .map_err(|error| io::message(&error))?;
        for used in auth::used_by(&object) {
            let listed = auth::list_users(&self.shared, &used).await;
            listed.map_err(|error| io::message(&error))?;
        }
        outcome
    }

    /// Finalizer and first conditions.
    async fn prepare(
        &self,
        key: &Key,
        object: Arc<ScaledObject>,
    ) -> Result<Arc<ScaledObject>, kube::Error> {
        let mut object = object;
        if !object.metadata.finalizers.iter().any(|f| f == FINALIZER) {
            let mut finalizers: Vec<&str> = names(&object.metadata.finalizers).collect();
            finalizers.push(FINALIZER);
            let api = io::in_namespace(&self.shared.client, &key.0, &io::scaled_objects());
            let version = &object.metadata.resource_version;
            let written = io::set_finalizers(&api, &key.1, version, &finalizers).await?;
            object = self.shared.keep(&written).unwrap_or(object);
        }
        if object.status.conditions.is_empty() {
            let mut status = object.status.clone();
            status.conditions = conditions::initial();
            object = self.shared.write_status(&object, &status).await?;
        }
        Ok(object)
    }

    /// KEDA's checks in KEDA's order; what comes back is Ready's message.
    async fn check(
        &mut self,
        key: &Key,
        object: Arc<ScaledObject>,
    ) -> Result<&'static str, Failure> {
        let steering = Steering::of(&object.metadata.annotations);
        let object = self.pause_condition(&object, &steering).await?;
        if object.spec.scale_target_ref.name.is_empty() {
            let text = "ScaledObject.spec.scaleTargetRef.name is missing";
            return Err(Failure::of(BAD_TARGET, text));
        }
        if steering.full {
            return self.pause(key, object, &steering).await;
        }
        let object = self.label(key, object).await?;
        let object = self.resolve_target(key, object).await?;
        checks::counts(&object).map_err(|error| Failure::of(BAD_COUNTS, error))?;
        checks::triggers(&object.spec.triggers)
            .map_err(|error| Failure::of(BAD_TRIGGERS, error))?;
        let mut status = object.status.clone();
        status.triggers_types = Some(in_order(
            object
                .spec
                .triggers
                .iter()
                .map(|trigger| trigger.trigger_type.as_str()),
        ));
        status.authentications_types = Some(in_order(
            object
                .spec
                .triggers
                .iter()
                .filter_map(|trigger| trigger.authentication_ref.as_ref())
                .map(|reference| reference.name.as_str()),
        ));
        let object = self.write(&object, &status, BAD_TYPES).await?;
        let (object, created) = self.ensure_hpa(key, object).await?;
        let generation = object.metadata.generation;
        let running = self
            .loops
            .get(key)
            .is_some_and(|l| l.generation == generation);
        if created || !running {
            let task = Task::spawn(poll::run(Arc::clone(&self.shared), key.clone()));
            self.loops.insert(
                key.clone(),
                Loop {
                    generation,
                    _task: task,
                },
            );
            let mut event = Event::looped("Normal", "KEDAScalersStarted", "Started scalers watch");
            "ScalersWatchStarted".clone_into(&mut event.action);
            self.shared.record(&object, &event).await;
        }
        Ok(conditions::READY_MESSAGE)
    }

    async fn write(
        &self,
        object: &Arc<ScaledObject>,
        status: &api::keda::ScaledObjectStatus,
        prefix: &'static str,
    ) -> Result<Arc<ScaledObject>, Failure> {
        let written = self.shared.write_status(object, status).await;
        written.map_err(|error| Failure::of(prefix, io::message(&error)))
    }

    /// Brings the condition Paused in line with the annotations.
    async fn pause_condition(
        &self,
        object: &Arc<ScaledObject>,
        steering: &Steering,
    ) -> Result<Arc<ScaledObject>, Failure> {
        let was = conditions::status_of(&object.status.conditions, conditions::PAUSED) == "True";
        let is = steering.any_pause();
        let mut status = object.status.clone();
        if !steering.full {
            status.paused_replica_count = None;
        }
        let event = match (was, is) {
            (false, true) => {
                conditions::paused(&mut status.conditions, true);
                Some(("ScaledObjectPaused", conditions::PAUSED_MESSAGE))
            }
            (true, false) => {
                conditions::paused(&mut status.conditions, false);
                Some(("ScaledObjectUnpaused", conditions::UNPAUSED_MESSAGE))
            }
            _ => None,
        };
        let object = self.write(object, &status, BAD_PAUSE).await?;
        if let Some((reason, note)) = event {
            self.shared
                .record(&object, &Event::reconciled("Normal", reason, note))
                .await;
        }
        Ok(object)
    }

    /// A full pause: no loop, no HPA, the count the annotation names.
    async fn pause(
        &mut self,
        key: &Key,
        object: Arc<ScaledObject>,
        steering: &Steering,
    ) -> Result<&'static str, Failure> {
        self.stop_loop(key, &object).await;
        let hpas = io::in_namespace(&self.shared.client, &key.0, &io::hpas());
        let name = hpa_spec::hpa_name_in_use(&object);
        if self
            .find_hpa(key, &name)
            .await
            .map_err(|e| Failure::of(BAD_PAUSED_HPA, e))?
            .is_some()
        {
            let deleted = io::delete(&hpas, &name).await;
            deleted.map_err(|error| Failure::of(BAD_PAUSED_HPA, io::message(&error)))?;
        }
        let count = steering
            .replica_count()
            .map_err(|error| Failure::of(BAD_PAUSED_SCALE, error))?;
        let mut from = None;
        if let Some(count) = count {
            let resource = self.kind(&object).await?;
            let api = io::in_namespace(&self.shared.client, &key.0, &resource);
            let target = &object.spec.scale_target_ref.name;
            let scale = api.get_scale(target).await;
            let scale =
                scale.map_err(|error| Failure::of(BAD_PAUSED_SCALE, io::message(&error)))?;
            from = scale.spec.and_then(|spec| spec.replicas);
            if from != Some(count) {
                let written = io::scale(&api, target, count).await;
                written.map_err(|error| Failure::of(BAD_PAUSED_SCALE, io::message(&error)))?;
            }
        }
        let paused = decide::scale::Explanation::paused(from, count);
        let now = self.shared.triggers.clock.now();
        self.shared.explain(&object, now, &paused);
        let mut status = object.status.clone();
        status.paused_replica_count = count;
        self.write(&object, &status, BAD_PAUSED_COUNT).await?;
        Ok(conditions::PAUSED_MESSAGE)
    }

    async fn stop_loop(&mut self, key: &Key, object: &ScaledObject) {
        if self.loops.remove(key).is_some() {
            let note = "Stopped scalers watch";
            let event = Event::looped("Normal", "KEDAScalersStopped", note);
            self.shared.record(object, &event).await;
        }
        self.shared.drop_scalers(key);
    }

    async fn label(
        &self,
        key: &Key,
        object: Arc<ScaledObject>,
    ) -> Result<Arc<ScaledObject>, Failure> {
        if object.metadata.labels.get(SCALED_OBJECT_LABEL) == Some(&key.1) {
            return Ok(object);
        }
        let api = io::in_namespace(&self.shared.client, &key.0, &io::scaled_objects());
        let body = json!({"metadata": {"labels": {SCALED_OBJECT_LABEL: key.1}}});
        let written = io::patch(&api, &key.1, &body).await;
        let written = written.map_err(|error| Failure::of(BAD_LABEL, io::message(&error)))?;
        Ok(self.shared.keep(&written).unwrap_or(object))
    }

    async fn kind(&self, object: &ScaledObject) -> Result<kube::api::ApiResource, Failure> {
        self.kinds
            .resolve(&self.shared.client, object)
            .await
            .map_err(|error| match error {
                KindError::NoMatch(text) => Failure {
                    event: Some(Event::reconciled(
                        "Warning",
                        "ScaledObjectUpdateFailed",
                        text.clone(),
                    )),
                    ..Failure::of(BAD_TARGET, text)
                },
                KindError::Other(text) => Failure::of(BAD_TARGET, text),
            })
    }

    /// Finds the workload and its scale, and starts watching its kind.
    async fn resolve_target(
        &mut self,
        key: &Key,
        object: Arc<ScaledObject>,
    ) -> Result<Arc<ScaledObject>, Failure> {
        let resource = self.kind(&object).await?;
        let gvkr = target::gvkr(&resource);
        let source = Source::Target(gvkr.group_resource());
        if !self.watches.contains_key(&source) {
            let outbox = self.shared.outbox.clone();
            let task = watches::watch(&self.shared.client, &resource, source.clone(), outbox);
            self.watches.insert(source, task);
        }
        let api = io::in_namespace(&self.shared.client, &key.0, &resource);
        let name = &object.spec.scale_target_ref.name;
        let scale = match api.get_scale(name).await {
            Ok(scale) => scale,
            Err(error) => {
                let note = match api.get(name).await {
                    Ok(_) => "Target resource doesn't expose /scale subresource",
                    Err(_) => "Target resource doesn't exist",
                };
                let reason = conditions::CHECK_FAILED;
                return Err(Failure {
                    event: Some(Event::reconciled("Warning", reason, note)),
                    ..Failure::of(BAD_TARGET, io::message(&error))
                });
            }
        };
        let mut status = object.status.clone();
        status.scale_target_kind = gvkr.kind_text();
        status.scale_target_gvkr = Some(gvkr);
        if status.original_replica_count.is_none() {
            let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
            status.original_replica_count = Some(replicas);
        }
        self.write(&object, &status, BAD_TARGET).await
    }

    /// The HPA of this name; KEDA adopts whatever has it.
    async fn find_hpa(&self, key: &Key, name: &str) -> Result<Option<Value>, String> {
        let api = io::in_namespace(&self.shared.client, &key.0, &io::hpas());
        match api.get(name).await {
            Ok(found) => Ok(Some(io::to_value(&found))),
            Err(error) if io::is_not_found(&error) => Ok(None),
            Err(error) => Err(io::message(&error)),
        }
    }

    /// Creates, updates or renames the HPA; tells whether it is a new one.
    async fn ensure_hpa(
        &mut self,
        key: &Key,
        object: Arc<ScaledObject>,
    ) -> Result<(Arc<ScaledObject>, bool), Failure> {
        let fail = |error: String| Failure::of(BAD_HPA, error);
        let wanted_name = hpa_spec::hpa_name(&object);
        let known_name = object.status.hpa_name.clone();
        let found_name = if known_name.is_empty() {
            &wanted_name
        } else {
            &known_name
        };
        let api = io::in_namespace(&self.shared.client, &key.0, &io::hpas());
        let mut live = self.find_hpa(key, found_name).await.map_err(fail)?;
        if live.is_some() && *found_name != wanted_name {
            let deleted = io::delete(&api, found_name).await;
            deleted.map_err(|error| fail(io::message(&error)))?;
            live = None;
        }
        if live.is_none() && *found_name != wanted_name {
            live = self.find_hpa(key, &wanted_name).await.map_err(fail)?;
        }
        let scalers = scalers::of(&self.shared, key, &object)
            .await
            .map_err(fail)?;
        let gvkr = object.status.scale_target_gvkr.clone().unwrap_or_default();
        let plan = hpa_spec::hpa_for(&object, &scalers.specs, &gvkr, &self.shared.options.version);
        let plan = plan.map_err(|error| fail(error.to_string()))?;
        let object = self.metric_names(&object, &plan).await?;
        let created = live.is_none();
        let written = match live {
            None => io::create(&api, plan.hpa).await.map(Some),
            Some(live) if hpa_spec::changes(&plan.hpa, &live).any() => {
                io::replace(&api, &wanted_name, plan.hpa).await.map(Some)
            }
            Some(_) => Ok(None),
        };
        let written = written.map_err(|error| fail(io::message(&error)))?;
        if let Some(written) = written {
            // Kept now, so that the watch's echo is no news.
            self.shared
                .state()
                .hpas
                .insert(key_of(&written), Arc::new(written));
        }
        let mut status = object.status.clone();
        status.hpa_name = wanted_name;
        let object = self.write(&object, &status, BAD_HPA).await?;
        Ok((object, created))
    }

    async fn metric_names(
        &self,
        object: &Arc<ScaledObject>,
        plan: &HpaPlan,
    ) -> Result<Arc<ScaledObject>, Failure> {
        let mut status = object.status.clone();
        status
            .external_metric_names
            .clone_from(&plan.external_metric_names);
        status
            .resource_metric_names
            .clone_from(&plan.resource_metric_names);
        status
            .composite_scaler_name
            .clone_from(&plan.composite_scaler_name);
        let names: BTreeSet<&String> = plan.external_metric_names.iter().collect();
        status.health.retain(|metric, _| names.contains(metric));
        status
            .triggers_activity
            .retain(|metric, _| names.contains(metric));
        self.write(object, &status, BAD_HPA).await
    }

    /// Lets go of a deleted object.
    async fn finalize(&mut self, key: &Key, object: &Arc<ScaledObject>) -> Result<(), kube::Error> {
        if !object.metadata.finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        self.stop_loop(key, object).await;
        let restore = object
            .spec
            .advanced
            .as_ref()
            .and_then(|advanced| advanced.restore_to_original_replica_count)
            .unwrap_or(false);
        if let (true, Some(count), Some(gvkr)) = (
            restore,
            object.status.original_replica_count,
            &object.status.scale_target_gvkr,
        ) {
            let resource = target::resource(gvkr);
            let api = io::in_namespace(&self.shared.client, &key.0, &resource);
            let written = io::scale(&api, &object.spec.scale_target_ref.name, count).await;
            if let Err(error) = written {
                tracing::warn!(namespace = key.0, name = key.1, %error, "replicas not restored");
            }
        }
        for used in auth::used_by(object) {
            auth::list_users(&self.shared, &used).await?;
        }
        let note = "ScaledObject was deleted";
        let event = Event::reconciled("Warning", "ScaledObjectDeleted", note);
        self.shared.record(object, &event).await;
        let rest: Vec<&str> = names(&object.metadata.finalizers)
            .filter(|f| *f != FINALIZER)
            .collect();
        let api = io::in_namespace(&self.shared.client, &key.0, &io::scaled_objects());
        let version = &object.metadata.resource_version;
        match io::set_finalizers(&api, &key.1, version, &rest).await {
            Err(error) if !io::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn names(finalizers: &[String]) -> impl Iterator<Item = &str> {
    finalizers.iter().map(String::as_str)
}

/// The distinct texts in order of first appearance, comma-separated.
fn in_order<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for text in texts {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join(",")
}
