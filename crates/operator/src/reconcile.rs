//! One reconcile of a ScaledObject: KEDA's checks in KEDA's order.
//!
//! It has two halves. The checks end with the HPA; what they found is then
//! written down, and polling begins. The queue takes other objects' checks in
//! between, so that of a thousand new objects each soon has its HPA, which
//! scales by itself. KEDA writes the status step by step instead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::keda::{FINALIZER, SCALED_OBJECT_LABEL, ScaledObject};
use decide::scale::checks;
use decide::scale::conditions::{self, Event, READY};
use decide::scale::fallback;
use decide::scale::hpa_spec;
use decide::scale::pause::Steering;
use kube::Api;
use kube::api::DynamicObject;
use serde_json::json;

use crate::state::{Key, Shared};
use crate::target::{self, KindError, Kinds};
use crate::watches::{self, Source, Task};
use crate::{io, poll};

/// Reconciles ScaledObjects; several at a time, each object once at a time.
pub(crate) struct Reconciler {
    pub(crate) shared: Arc<Shared>,
    kinds: Kinds,
    running: Mutex<Running>,
}

/// The tasks that reconciles start and stop.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) watches: BTreeMap<Source, Task>,
    pub(crate) loops: BTreeMap<Key, Loop>,
}

/// A polling task, and the object that it was started for.
pub(crate) struct Loop {
    uid: String,
    generation: i64,
    _task: Task,
}

/// A reconcile that ended early.
pub(crate) struct Failure {
    /// Which check failed.
    prefix: &'static str,
    error: String,
    /// Recorded beside the failure itself.
    event: Option<Event>,
}

/// What the checks of a ScaledObject found.
pub(crate) struct Checked {
    /// The object that was checked.
    known: Arc<ScaledObject>,
    /// The same with what was found in its status.
    object: ScaledObject,
    outcome: Result<Done, Failure>,
}

impl Checked {
    /// Why one of the checks failed, if one did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.outcome.as_ref().err().map(Failure::message)
    }
}

/// All checks passed.
struct Done {
    /// Ready's message.
    message: &'static str,
    /// Whether polling begins (anew).
    polls: bool,
}

impl Failure {
    pub(crate) fn of(prefix: &'static str, error: impl Into<String>) -> Self {
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
const BAD_COUNTS: &str =
    "ScaledObject doesn't have correct Idle/Min/Max Replica Counts specification";
const BAD_TRIGGERS: &str = "ScaledObject doesn't have correct triggers specification";
const BAD_PAUSED_HPA: &str = "failed to delete HPA for paused ScaledObject";
const BAD_PAUSED_SCALE: &str = "failed to scale target to paused replica count";

impl Reconciler {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            kinds: Kinds::default(),
            running: Mutex::default(),
        }
    }

    /// The running tasks; never held across an await.
    pub(crate) fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first half: everything up to the HPA. Nothing is left to be written
    /// down of an object that is gone or goes.
    /// `waiting` is what an earlier check found and nobody has written down yet.
    pub(crate) async fn check(
        &self,
        key: &Key,
        waiting: Option<Arc<Checked>>,
    ) -> Result<Option<Arc<Checked>>, String> {
        let lock = self.shared.lock_of(key);
        let _held = lock.lock().await;
        let Some(object) = self.shared.object(key) else {
            return Ok(None);
        };
        if object.metadata.deletion_timestamp.is_some() {
            let done = self.finalize(key, &object).await;
            return done.map(|()| None).map_err(|error| io::message(&error));
        }
        let waiting = waiting.as_deref();
        self.examine(key, object, waiting).await.map(Some)
    }

    /// The second half: writes down what was found, and polls.
    pub(crate) async fn conclude(&self, key: &Key, checked: Arc<Checked>) -> Result<(), String> {
        let lock = self.shared.lock_of(key);
        let _held = lock.lock().await;
        let current = match self.shared.object(key) {
            Some(object) if object.metadata.deletion_timestamp.is_none() => object,
            _ => return Ok(()),
        };
        if Arc::ptr_eq(&current, &checked.known) {
            return self.write_down(key, &checked).await;
        }
        // A poll or a user was faster: what they wrote must not be undone.
        let again = self.examine(key, current, Some(&checked)).await?;
        self.write_down(key, &again).await?;
        again.failure().map_or(Ok(()), Err)
    }

    async fn examine(
        &self,
        key: &Key,
        known: Arc<ScaledObject>,
        waiting: Option<&Checked>,
    ) -> Result<Arc<Checked>, String> {
        let steering = Steering::of(&known.metadata.annotations);
        let claimed = self.claim(key, known, &steering).await;
        let known = claimed.map_err(|error| io::message(&error))?;
        let mut object = (*known).clone();
        if object.status.conditions.is_empty() {
            object.status.conditions = conditions::initial();
        }
        let same = |checked: &&Checked| checked.object.metadata.uid == object.metadata.uid;
        if let Some(waiting) = waiting.filter(same) {
            // An HPA that was made and replicas before it moved them are not
            // found a second time.
            let found = &waiting.object.status;
            if !found.hpa_name.is_empty() {
                object.status.hpa_name.clone_from(&found.hpa_name);
            }
            let count = &mut object.status.original_replica_count;
            *count = count.or(found.original_replica_count);
        }
        let outcome = self.all_checks(key, &mut object, &steering).await;
        Ok(Arc::new(Checked {
            known,
            object,
            outcome,
        }))
    }

    async fn write_down(&self, key: &Key, checked: &Checked) -> Result<(), String> {
        let object = &checked.object;
        let mut status = object.status.clone();
        if !fallback::is_enabled(&object.spec) {
            conditions::fallback(&mut status.conditions, false);
        }
        let event = match &checked.outcome {
            Ok(done) => {
                let was_ready = conditions::status_of(&status.conditions, READY) == "True";
                let reason = conditions::READY_REASON;
                conditions::set(&mut status.conditions, READY, "True", reason, done.message);
                let note = "ScaledObject is ready for scaling";
                (!was_ready).then(|| Event::reconciled("Normal", reason, note))
            }
            Err(failure) => {
                if let Some(event) = &failure.event {
                    self.shared.record(object, event);
                }
                let message = failure.message();
                conditions::check_failed(&mut status.conditions, &message);
                let reason = conditions::CHECK_FAILED;
                Some(Event::reconciled("Warning", reason, message))
            }
        };
        if let Some(event) = event {
            self.shared.record(object, &event);
        }
        let written = self.shared.write_status(&checked.known, &status).await;
        written.map_err(|error| io::message(&error))?;
        if checked.outcome.as_ref().is_ok_and(|done| done.polls) {
            self.start_loop(key, object);
        }
        Ok(())
    }

    /// Puts the finalizer on, and the label by which the HPA asks for it.
    async fn claim(
        &self,
        key: &Key,
        object: Arc<ScaledObject>,
        steering: &Steering,
    ) -> Result<Arc<ScaledObject>, kube::Error> {
        let meta = &object.metadata;
        let mut changes = json!({});
        if !meta.finalizers.iter().any(|f| f == FINALIZER) {
            let mut finalizers: Vec<&str> = names(&meta.finalizers).collect();
            finalizers.push(FINALIZER);
            changes["finalizers"] = json!(finalizers);
            // Another controller's finalizer must not get lost.
            changes["resourceVersion"] = json!(meta.resource_version);
        }
        let scales = !steering.full && !object.spec.scale_target_ref.name.is_empty();
        if scales && meta.labels.get(SCALED_OBJECT_LABEL) != Some(&key.1) {
            changes["labels"] = json!({SCALED_OBJECT_LABEL: key.1});
        }
        if changes == json!({}) {
            return Ok(object);
        }
        let api = io::in_namespace(&self.shared.client, &key.0, &io::scaled_objects());
        let written = io::patch(&api, &key.1, &json!({"metadata": changes})).await?;
        Ok(self.shared.keep_answer(&written).unwrap_or(object))
    }

    /// KEDA's checks in KEDA's order; what they find goes into the status.
    async fn all_checks(
        &self,
        key: &Key,
        object: &mut ScaledObject,
        steering: &Steering,
    ) -> Result<Done, Failure> {
        self.pause_condition(object, steering);
        if object.spec.scale_target_ref.name.is_empty() {
            let text = "ScaledObject.spec.scaleTargetRef.name is missing";
            return Err(Failure::of(BAD_TARGET, text));
        }
        if steering.full {
            return self.pause(key, object, steering).await;
        }
        self.resolve_target(key, object).await?;
        checks::counts(object).map_err(|error| Failure::of(BAD_COUNTS, error))?;
        let triggers = &object.spec.triggers;
        checks::triggers(triggers).map_err(|error| Failure::of(BAD_TRIGGERS, error))?;
        let types = triggers.iter().map(|trigger| trigger.trigger_type.as_str());
        let references = triggers
            .iter()
            .filter_map(|t| t.authentication_ref.as_ref());
        let references = references.map(|reference| reference.name.as_str());
        object.status.triggers_types = Some(in_order(types));
        object.status.authentications_types = Some(in_order(references));
        let created = self.ensure_hpa(key, object).await?;
        let running = self.running().loops.get(key).is_some_and(|running| {
            running.generation == object.metadata.generation && running.uid == object.metadata.uid
        });
        let polls = created || !running;
        if polls {
            let mut event = Event::looped("Normal", "KEDAScalersStarted", "Started scalers watch");
            "ScalersWatchStarted".clone_into(&mut event.action);
            self.shared.record(object, &event);
        }
        Ok(Done {
            message: conditions::READY_MESSAGE,
            polls,
        })
    }

    /// Starts polling, from now on; a task that polls already is ended.
    fn start_loop(&self, key: &Key, object: &ScaledObject) {
        let started = Loop {
            uid: object.metadata.uid.clone(),
            generation: object.metadata.generation,
            _task: Task::spawn(poll::run(Arc::clone(&self.shared), key.clone())),
        };
        self.running().loops.insert(key.clone(), started);
    }

    /// Brings the condition Paused in line with the annotations.
    fn pause_condition(&self, object: &mut ScaledObject, steering: &Steering) {
        let was = conditions::status_of(&object.status.conditions, conditions::PAUSED) == "True";
        let is = steering.any_pause();
        if !steering.full {
            object.status.paused_replica_count = None;
        }
        if was == is {
            return;
        }
        conditions::paused(&mut object.status.conditions, is);
        let (reason, note) = if is {
            ("ScaledObjectPaused", conditions::PAUSED_MESSAGE)
        } else {
            ("ScaledObjectUnpaused", conditions::UNPAUSED_MESSAGE)
        };
        let event = Event::reconciled("Normal", reason, note);
        self.shared.record(object, &event);
    }

    /// A full pause: no loop, no HPA, the count the annotation names.
    async fn pause(
        &self,
        key: &Key,
        object: &mut ScaledObject,
        steering: &Steering,
    ) -> Result<Done, Failure> {
        self.stop_loop(key, object);
        let name = hpa_spec::hpa_name_in_use(object);
        let found = self.find_hpa(key, &name).await;
        if found.map_err(|e| Failure::of(BAD_PAUSED_HPA, e))?.is_some() {
            let deleted = self.delete_hpa(key, &name).await;
            deleted.map_err(|error| Failure::of(BAD_PAUSED_HPA, error))?;
        }
        let count = steering
            .replica_count()
            .map_err(|error| Failure::of(BAD_PAUSED_SCALE, error))?;
        let mut from = None;
        if let Some(count) = count {
            let resource = self.kind(object).await?;
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
        self.shared.explain(object, now, &paused);
        object.status.paused_replica_count = count;
        Ok(Done {
            message: conditions::PAUSED_MESSAGE,
            polls: false,
        })
    }

    fn stop_loop(&self, key: &Key, object: &ScaledObject) {
        let stopped = self.running().loops.remove(key);
        if stopped.is_some() {
            let note = "Stopped scalers watch";
            let event = Event::looped("Normal", "KEDAScalersStopped", note);
            self.shared.record(object, &event);
        }
        self.shared.drop_scalers(key);
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
    async fn resolve_target(&self, key: &Key, object: &mut ScaledObject) -> Result<(), Failure> {
        let resource = self.kind(object).await?;
        let gvkr = target::gvkr(&resource);
        let source = Source::Target(gvkr.group_resource());
        let entry = source.clone();
        self.running().watches.entry(entry).or_insert_with(|| {
            let outbox = self.shared.outbox.clone();
            watches::watch(&self.shared.client, &resource, source, outbox)
        });
        let api = io::in_namespace(&self.shared.client, &key.0, &resource);
        let name = &object.spec.scale_target_ref.name;
        let replicas = match target::seen_replicas(&self.shared, &gvkr, key, name) {
            Some(replicas) => replicas,
            None => ask_replicas(&api, name).await?,
        };
        let status = &mut object.status;
        status.scale_target_kind = gvkr.kind_text();
        status.scale_target_gvkr = Some(gvkr);
        status.original_replica_count.get_or_insert(replicas);
        Ok(())
    }

    /// Lets go of a deleted object.
    async fn finalize(&self, key: &Key, object: &Arc<ScaledObject>) -> Result<(), kube::Error> {
        if !object.metadata.finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        self.stop_loop(key, object);
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
        let note = "ScaledObject was deleted";
        let event = Event::reconciled("Warning", "ScaledObjectDeleted", note);
        self.shared.record(object, &event);
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

/// Replicas by the workload's scale.
async fn ask_replicas(api: &Api<DynamicObject>, name: &str) -> Result<i32, Failure> {
    let error = match api.get_scale(name).await {
        Ok(scale) => return Ok(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)),
        Err(error) => error,
    };
    let note = match api.get(name).await {
        Ok(_) => "Target resource doesn't expose /scale subresource",
        Err(_) => "Target resource doesn't exist",
    };
    let event = Event::reconciled("Warning", conditions::CHECK_FAILED, note);
    Err(Failure {
        event: Some(event),
        ..Failure::of(BAD_TARGET, io::message(&error))
    })
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
