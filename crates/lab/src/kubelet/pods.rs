//! The run of a pod on its node, from the binding to the end.

use std::time::Duration;

use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Happening, PodRef};
use super::status::{self, Doing, Run};
use super::view::Ran;
use super::{Action, GpuUse, Kubelets, PodKey, count};

/// How long the containers run before they end by themselves: a duration such as `30s`.
const RUN_FOR: &str = "lab.rheostat.dev/run-for";
/// Their exit code then; 0 if absent.
const EXIT_CODE: &str = "lab.rheostat.dev/exit-code";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its node is not known yet, or it has just been seen.
    New,
    Starting,
    Running,
    Stopping,
    Ended,
}

/// A pod on a node.
pub(super) struct Running {
    pub(super) id: PodRef,
    node: String,
    stage: Stage,
    /// `spec`, and `status` as last seen.
    object: Value,
    run: Run,
    containers: Vec<Container>,
    run_for: Option<Duration>,
    exit_code: i64,
    restarts_on_success: bool,
    restarts_on_failure: bool,
    grace: Option<Duration>,
    owner: Option<exporter::Owner>,
    taken_on: Option<Instant>,
}

struct Container {
    name: String,
    image: String,
    always_pulls: bool,
    gpus_wanted: u32,
    gpus: Vec<u32>,
}

fn containers(spec: &Value) -> Vec<Container> {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    spec["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| Container {
            name: text(&c["name"]),
            image: text(&c["image"]),
            always_pulls: c["imagePullPolicy"] == "Always",
            gpus_wanted: count(&c["resources"]["limits"]["nvidia.com/gpu"]),
            gpus: Vec::new(),
        })
        .collect()
}

impl Running {
    fn new(id: PodRef, pod: &DynamicObject) -> Self {
        let spec = &pod.data["spec"];
        let annotation = |key: &str| {
            pod.metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(key))
                .map(String::as_str)
        };
        let owner = exporter::Owner::of_pod(&json!({"metadata": pod.metadata}));
        let policy = spec["restartPolicy"].as_str().unwrap_or("Always");
        Self {
            id,
            node: spec["nodeName"].as_str().unwrap_or("").to_owned(),
            stage: Stage::New,
            object: Value::Null,
            run: Run::default(),
            containers: containers(spec),
            run_for: annotation(RUN_FOR)
                .and_then(|d| api::duration::GoDuration::parse(d).ok())
                .map(api::duration::GoDuration::to_std),
            exit_code: annotation(EXIT_CODE)
                .and_then(|c| c.parse().ok())
                .unwrap_or(0),
            restarts_on_success: policy == "Always",
            restarts_on_failure: policy != "Never",
            grace: None,
            owner,
            taken_on: None,
        }
    }
}

impl Kubelets {
    pub(super) fn pod_event(&mut self, event: Result<Event<DynamicObject>, watcher::Error>) {
        match event {
            Ok(Event::Init) => self.unseen_pods = Some(self.pods.keys().cloned().collect()),
            Ok(Event::InitApply(pod) | Event::Apply(pod)) => self.pod_seen(pod),
            Ok(Event::InitDone) => {
                for key in self.unseen_pods.take().unwrap_or_default() {
                    self.pod_gone(&key);
                }
            }
            Ok(Event::Delete(pod)) => {
                let key = key_of(&pod);
                let uid = pod.metadata.uid.unwrap_or_default();
                if self.pods.get(&key).is_some_and(|p| p.id.uid == uid) {
                    self.pod_gone(&key);
                }
            }
            Err(e) => tracing::warn!(error = %e, "kubelet: watching pods failed"),
        }
    }

    fn pod_seen(&mut self, pod: DynamicObject) {
        let key = key_of(&pod);
        if let Some(unseen) = &mut self.unseen_pods {
            unseen.remove(&key);
        }
        let node = pod.data["spec"]["nodeName"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        if node.is_empty() {
            return;
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.pods.get(&key).is_some_and(|p| p.id.uid != uid) {
            self.pod_gone(&key);
        }
        let id = PodRef {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid,
        };
        let is_new = !self.pods.contains_key(&key);
        let known = self
            .pods
            .entry(key.clone())
            .or_insert_with(|| Running::new(id.clone(), &pod));
        known.object = pod.data;
        if pod.metadata.deletion_timestamp.is_some() {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            known.grace = Some(Duration::from_secs(u64::try_from(grace).unwrap_or(0)));
        }
        let leaving = known.grace.is_some();
        if is_new {
            self.by_node.entry(node).or_default().insert(key.clone());
            self.take_on(&key);
        }
        if leaving {
            self.begin_to_stop(&key);
        }
    }

    fn pod_gone(&mut self, key: &PodKey) {
        let Some(pod) = self.pods.remove(key) else {
            return;
        };
        if let Some(machine) = self.machines.get_mut(&pod.node) {
            machine.free(&pod.id.uid);
        }
        if let Some(set) = self.by_node.get_mut(&pod.node) {
            set.remove(key);
            if set.is_empty() {
                self.by_node.remove(&pod.node);
            }
        }
        self.view.release(&pod.id.uid);
        self.view.ended(&key.0, &key.1, true);
    }

    /// Has the node's kubelet take the pod on, once the node is known.
    pub(super) fn take_on(&mut self, key: &PodKey) {
        let Some(pod) = self.pods.get_mut(key) else {
            return;
        };
        if pod.stage != Stage::New || pod.grace.is_some() || !self.machines.contains_key(&pod.node)
        {
            return;
        }
        if matches!(
            pod.object["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed")
        ) {
            pod.stage = Stage::Ended;
            return;
        }
        pod.stage = Stage::Starting;
        let id = pod.id.clone();
        self.schedule(Duration::ZERO, Action::Accept(id));
    }

    fn begin_to_stop(&mut self, key: &PodKey) {
        let Some(pod) = self.pods.get_mut(key) else {
            return;
        };
        if pod.stage == Stage::Stopping {
            return;
        }
        let runs = pod.stage == Stage::Running;
        pod.stage = Stage::Stopping;
        let id = pod.id.clone();
        // What does not run needs no time to end.
        let longest = if runs {
            self.options.stop_delay
        } else {
            Duration::ZERO
        };
        let wait = pod.grace.unwrap_or(longest).min(longest);
        self.schedule(wait, Action::Stop(id));
    }

    /// The pod that an action is about, if it is still the same and at that stage.
    fn at_stage(&mut self, id: &PodRef, stage: Stage) -> Option<&mut Running> {
        let key = (id.namespace.clone(), id.name.clone());
        self.pods
            .get_mut(&key)
            .filter(|p| p.id == *id && p.stage == stage)
    }

    async fn tell(
        &mut self,
        pod: &PodRef,
        node: &str,
        container: &str,
        reason: &str,
        message: String,
    ) {
        let now = self.view.clock().now();
        let h = Happening {
            pod,
            container,
            node,
            reason,
            message,
        };
        if let Err(e) = self.writer.event(h, now).await {
            // An event that is lost changes nothing: a namespace on its way out takes none.
            tracing::debug!(error = %e, "kubelet: event not recorded");
        }
    }

    /// Gives the pod its GPUs and says that its containers are being created.
    pub(super) async fn accept(&mut self, id: &PodRef) -> Result<(), kube::Error> {
        let now = self.view.clock().now();
        let Some(pod) = self.at_stage(id, Stage::Starting) else {
            return Ok(());
        };
        let (node, first) = (pod.node.clone(), pod.taken_on.is_none());
        pod.taken_on.get_or_insert_with(Instant::now);
        let wanted: Vec<u32> = pod.containers.iter().map(|c| c.gpus_wanted).collect();
        let Some(machine) = self.machines.get_mut(&node) else {
            return Ok(());
        };
        if first {
            match machine.allocate(&id.uid, &wanted) {
                Ok(given) => {
                    let (host_ip, pod_ip) = (machine.host_ip.clone(), machine.next_ip());
                    if let Some(pod) = self.at_stage(id, Stage::Starting) {
                        pod.run = Run {
                            host_ip,
                            pod_ip,
                            accepted: Some(now),
                            ..Run::default()
                        };
                        for (container, gpus) in pod.containers.iter_mut().zip(given) {
                            container.gpus = gpus;
                        }
                    }
                }
                Err(free) => {
                    if let Some(pod) = self.at_stage(id, Stage::Starting) {
                        pod.stage = Stage::Ended;
                    }
                    let status = status::refused(wanted.iter().sum(), free, now);
                    return self.writer.pod_status(id, status).await;
                }
            }
        }
        self.show_gpus(id, None);
        let Some(pod) = self.at_stage(id, Stage::Starting) else {
            return Ok(());
        };
        let status = status::pod(&pod.object, &id.uid, &pod.run, Doing::Creating, now);
        let since = pod.taken_on.unwrap_or_else(Instant::now);
        self.writer.pod_status(id, status).await?;
        for (container, image) in self.take_pulls(id) {
            let message = format!("Pulling image \"{image}\"");
            self.tell(id, &node, &container, "Pulling", message).await;
        }
        let left = (since + self.options.start_delay).saturating_duration_since(Instant::now());
        self.schedule(left, Action::Start(id.clone()));
        Ok(())
    }

    /// Containers whose image has to be fetched.
    fn take_pulls(&mut self, id: &PodRef) -> Vec<(String, String)> {
        let key = (id.namespace.clone(), id.name.clone());
        let Some(pod) = self.pods.get(&key) else {
            return Vec::new();
        };
        let machine = self.machines.get(&pod.node);
        pod.containers
            .iter()
            .filter(|c| c.always_pulls || machine.is_none_or(|m| !m.images.contains(&c.image)))
            .map(|c| (c.name.clone(), c.image.clone()))
            .collect()
    }

    pub(super) async fn start(&mut self, id: &PodRef) -> Result<(), kube::Error> {
        let now = self.view.clock().now();
        let pulled = self.take_pulls(id);
        let Some(pod) = self.at_stage(id, Stage::Starting) else {
            return Ok(());
        };
        pod.run.started = Some(now);
        let status = status::pod(&pod.object, &id.uid, &pod.run, Doing::Running, now);
        let (node, run_for) = (pod.node.clone(), pod.run_for);
        let containers: Vec<(String, String, Vec<u32>)> = pod
            .containers
            .iter()
            .map(|c| (c.name.clone(), c.image.clone(), c.gpus.clone()))
            .collect();
        self.writer.pod_status(id, status).await?;
        if let Some(pod) = self.at_stage(id, Stage::Starting) {
            pod.stage = Stage::Running;
        }
        self.show_gpus(id, Some(now));
        for (name, image, gpus) in containers {
            let message = if pulled.iter().any(|(c, _)| *c == name) {
                let took = self.options.start_delay.as_secs_f64();
                format!(
                    "Successfully pulled image \"{image}\" in {took}s ({took}s including waiting). \
                     Image size: {} bytes.",
                    status::image_size(&image)
                )
            } else {
                format!("Container image \"{image}\" already present on machine")
            };
            self.tell(id, &node, &name, "Pulled", message).await;
            self.tell(id, &node, &name, "Created", "Container created".to_owned())
                .await;
            self.tell(id, &node, &name, "Started", "Container started".to_owned())
                .await;
            let ran = Ran {
                node: node.clone(),
                image: image.clone(),
                gpus,
                since: now,
                until: None,
            };
            self.view.started((&id.namespace, &id.name), &name, ran);
            if let Some(machine) = self.machines.get_mut(&node) {
                machine.images.insert(image);
            }
        }
        if let Some(after) = run_for {
            self.schedule(after, Action::Finish(id.clone()));
        }
        Ok(())
    }

    /// Ends the containers of a pod whose time is over, or starts them anew.
    pub(super) async fn finish(&mut self, id: &PodRef) -> Result<(), kube::Error> {
        let now = self.view.clock().now();
        let Some(pod) = self.at_stage(id, Stage::Running) else {
            return Ok(());
        };
        let code = pod.exit_code;
        let again = if code == 0 {
            pod.restarts_on_success
        } else {
            pod.restarts_on_failure
        };
        if again {
            pod.run.restarts += 1;
            pod.run.last = Some((pod.run.started.unwrap_or(now), now, code));
            pod.run.started = Some(now);
            let status = status::pod(&pod.object, &id.uid, &pod.run, Doing::Running, now);
            let run_for = pod.run_for.unwrap_or_default().max(Duration::from_secs(1));
            self.schedule(run_for, Action::Finish(id.clone()));
            return self.writer.pod_status(id, status).await;
        }
        let status = status::pod(&pod.object, &id.uid, &pod.run, Doing::Ended(code), now);
        let node = pod.node.clone();
        self.writer.pod_status(id, status).await?;
        if let Some(pod) = self.at_stage(id, Stage::Running) {
            pod.stage = Stage::Ended;
        }
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.free(&id.uid);
        }
        self.view.release(&id.uid);
        self.view.ended(&id.namespace, &id.name, false);
        Ok(())
    }

    /// Removes a pod whose containers have ended or whose node is gone.
    pub(super) async fn stop(&mut self, id: &PodRef) -> Result<(), kube::Error> {
        let key = (id.namespace.clone(), id.name.clone());
        let Some(pod) = self.pods.get(&key).filter(|p| p.id == *id) else {
            return Ok(());
        };
        if pod.run.started.is_some() && self.machines.contains_key(&pod.node) {
            let node = pod.node.clone();
            let names: Vec<String> = pod.containers.iter().map(|c| c.name.clone()).collect();
            for name in names {
                let message = format!("Stopping container {name}");
                self.tell(id, &node, &name, "Killing", message).await;
            }
        }
        self.writer.remove_pod(id).await
    }

    /// Enters the pod's GPUs into the view.
    fn show_gpus(&mut self, id: &PodRef, ready_since: Option<jiff::Timestamp>) {
        let key = (id.namespace.clone(), id.name.clone());
        let Some(pod) = self.pods.get(&key) else {
            return;
        };
        if pod.containers.iter().all(|c| c.gpus.is_empty()) {
            return;
        }
        let (owner_kind, owner_name) = match &pod.owner {
            Some(owner) => (owner.kind.clone(), owner.name.clone()),
            None => ("Pod".to_owned(), id.name.clone()),
        };
        let mut uses = Vec::new();
        for container in &pod.containers {
            for gpu in &container.gpus {
                uses.push(GpuUse {
                    node: pod.node.clone(),
                    gpu: *gpu,
                    namespace: id.namespace.clone(),
                    pod: id.name.clone(),
                    pod_uid: id.uid.clone(),
                    container: container.name.clone(),
                    owner_kind: owner_kind.clone(),
                    owner_name: owner_name.clone(),
                    ready_since,
                });
            }
        }
        self.view.take(uses);
    }
}

fn key_of(pod: &DynamicObject) -> PodKey {
    let meta = &pod.metadata;
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
