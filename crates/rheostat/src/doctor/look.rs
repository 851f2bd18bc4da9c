//! Reads of a cluster for `rheostat doctor`. Each has ten seconds; those that
//! do not need one another run side by side.

use std::time::Duration;

use api::keda::{GROUP, VERSION};
use api::selector::LabelSelector;
use decide::explain::Kind;
use decide::scale::hpa_spec::hpa_name_in_use;
use doctor::seen::{Answer, AuthSeen, ClusterSeen, Look, ObjectSeen, Page};
use futures::future::join_all;
use kube::Client;
use serde_json::Value;

use super::direct;
use crate::inout::encoded;

/// Time limit of one read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Exporter pages that are read.
const PAGES: usize = 3;
/// Waiting pods whose events are read.
const WAITING: usize = 3;
/// Port of an exporter that names none.
const EXPORTER_PORT: u64 = 9400;

/// Asks one API server.
pub(super) struct Looker {
    client: Client,
    server: String,
}

impl Looker {
    pub(super) fn new(client: Client, server: String) -> Self {
        Self { client, server }
    }

    /// One GET, as text.
    async fn text(&self, path: &str) -> Look<String> {
        let request = match http::Request::get(path).body(Vec::new()) {
            Ok(request) => request,
            Err(error) => return Look::Failed(error.to_string()),
        };
        let answer = tokio::time::timeout(PATIENCE, self.client.request_text(request)).await;
        match answer {
            Err(_) => Look::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
            Ok(Ok(text)) => Look::Got(text),
            Ok(Err(kube::Error::Api(status))) => match status.code {
                404 => Look::Missing,
                403 => Look::Denied(status.message.clone()),
                code => Look::Failed(format!("{code} {}", status.message)),
            },
            Ok(Err(error)) => Look::Failed(operator::message(&error)),
        }
    }

    /// One GET, as JSON.
    async fn get(&self, path: &str) -> Look<Value> {
        match self.text(path).await {
            Look::Got(text) => match serde_json::from_str(&text) {
                Ok(value) => Look::Got(value),
                Err(error) => Look::Failed(format!("the answer is not JSON: {error}")),
            },
            other => other.map_nothing(),
        }
    }

    /// The items of a list; a kind that is not served has none.
    async fn list(&self, path: &str) -> Look<Vec<Value>> {
        match self.get(path).await {
            Look::Got(mut list) => match list["items"].take() {
                Value::Array(items) => Look::Got(items),
                _ => Look::Failed("the answer is no list".to_owned()),
            },
            Look::Missing => Look::Got(Vec::new()),
            other => other.map_nothing(),
        }
    }

    /// What concerns the whole cluster.
    pub(super) async fn cluster(&self) -> ClusterSeen {
        let version = match self.get("/version").await {
            Look::Got(found) => Look::Got(found["gitVersion"].as_str().unwrap_or("").to_owned()),
            other => other.map_nothing(),
        };
        let mut seen = ClusterSeen {
            server: self.server.clone(),
            version,
            ..ClusterSeen::default()
        };
        if seen.version.got().is_none() {
            // Nine more reads would each wait for the same nothing.
            return seen;
        }
        let keda = format!("/apis/{GROUP}/{VERSION}");
        let service = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io";
        let status = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status";
        let events = "/api/v1/namespaces/kube-system/events?fieldSelector=involvedObject.name%3D\
                      cluster-autoscaler-status";
        let (keda, nodes, sets, service, status, events) = tokio::join!(
            self.get(&keda),
            self.list("/api/v1/nodes"),
            self.list("/apis/apps/v1/daemonsets"),
            self.get(service),
            self.get(status),
            self.list(events),
        );
        seen.keda = match keda {
            Look::Got(found) => {
                let all = found["resources"].as_array().into_iter().flatten();
                let names = all.filter_map(|r| r["name"].as_str());
                Look::Got(names.map(str::to_owned).collect())
            }
            other => other.map_nothing(),
        };
        seen.nodes = nodes;
        seen.daemon_sets = sets;
        seen.metrics_service = service;
        seen.autoscaler = match status {
            Look::Got(map) => {
                let text = map["data"]["status"].as_str().unwrap_or_default();
                Look::Got(text.to_owned())
            }
            other => other.map_nothing(),
        };
        seen.autoscaler_events = events;
        seen.pages = self.pages(&seen).await;
        seen
    }

    /// The pages of a few exporter pods, through the API server.
    async fn pages(&self, seen: &ClusterSeen) -> Vec<Page> {
        let mut pods = Vec::new();
        for set in doctor::exporters(seen) {
            let namespace = field(&set["metadata"], "namespace");
            let Some(selector) = selector_of(&set["spec"]["selector"]) else {
                continue;
            };
            let path = format!(
                "/api/v1/namespaces/{namespace}/pods?limit={PAGES}&labelSelector={}",
                encoded(&selector)
            );
            pods.extend(self.list(&path).await.got().cloned().unwrap_or_default());
        }
        let running = pods.iter().filter(|p| p["status"]["phase"] == "Running");
        let reads = running.take(PAGES).map(|pod| async {
            let meta = &pod["metadata"];
            let (namespace, name) = (field(meta, "namespace"), field(meta, "name"));
            let port = port_of(pod);
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
            Page {
                pod: format!("{namespace}/{name}"),
                text: self.text(&path).await,
            }
        });
        join_all(reads).await
    }

    /// All ScaledObjects of one namespace or of all.
    pub(super) async fn scaled_objects(&self, namespace: Option<&str>) -> Look<Vec<Value>> {
        self.list(&match namespace {
            Some(namespace) => keda(namespace, "scaledobjects"),
            None => format!("/apis/{GROUP}/{VERSION}/scaledobjects"),
        })
        .await
    }

    /// What concerns the object of this kind and name.
    pub(super) async fn object(&self, kind: Kind, namespace: &str, name: &str) -> ObjectSeen {
        let mut seen = ObjectSeen {
            namespace: namespace.to_owned(),
            asked: format!("{}/{name}", kind.short()),
            ..ObjectSeen::default()
        };
        match kind {
            Kind::ScaledObject => self.scaled(&mut seen, name).await,
            Kind::Hpa => {
                seen.hpa = self.hpa(namespace, name).await;
                let maker = seen.hpa.got().and_then(doctor::maker).map(str::to_owned);
                if let Some(maker) = maker {
                    self.scaled(&mut seen, &maker).await;
                } else if seen.hpa == Look::Missing {
                    seen.names = names(&self.list(&hpas(namespace)).await);
                }
            }
            Kind::Deployment | Kind::StatefulSet => self.of_workload(&mut seen, kind, name).await,
        }
        self.rest(&mut seen).await;
        seen
    }

    async fn scaled(&self, seen: &mut ObjectSeen, name: &str) {
        let all = keda(&seen.namespace, "scaledobjects");
        let found = self.get(&format!("{all}/{}", encoded(name))).await;
        if found == Look::Missing {
            seen.names = names(&self.list(&all).await);
        }
        seen.scaled = Some(found);
    }

    /// Finds what scales a workload: a ScaledObject, else an HPA.
    async fn of_workload(&self, seen: &mut ObjectSeen, kind: Kind, name: &str) {
        let namespace = seen.namespace.clone();
        let points = |target: &Value| {
            let wanted = target["kind"].as_str().unwrap_or("Deployment");
            target["name"] == name && wanted == kind.name()
        };
        let found = |all: &Look<Vec<Value>>| {
            let mut all = all.got().into_iter().flatten();
            all.find(|object| points(&object["spec"]["scaleTargetRef"]))
                .cloned()
        };
        let (scaled, all) = tokio::join!(self.scaled_objects(Some(&namespace)), async {
            self.list(&hpas(&namespace)).await
        });
        match found(&scaled) {
            Some(object) => seen.scaled = Some(Look::Got(object)),
            None => match (found(&all), scaled) {
                (Some(hpa), _) => seen.hpa = Look::Got(hpa),
                (None, Look::Got(_)) => seen.hpa = all.map_nothing(),
                (None, unseen) => seen.scaled = Some(unseen.map_nothing()),
            },
        }
    }

    async fn hpa(&self, namespace: &str, name: &str) -> Look<Value> {
        self.get(&format!("{}/{}", hpas(namespace), encoded(name)))
            .await
    }

    /// Everything that follows from the ScaledObject or the HPA.
    async fn rest(&self, seen: &mut ObjectSeen) {
        let namespace = seen.namespace.clone();
        let value = seen.scaled.as_ref().and_then(|look| look.got()).cloned();
        let scaled: Option<api::keda::ScaledObject> =
            value.and_then(|value| serde_json::from_value(value).ok());
        if let Some(scaled) = &scaled {
            let target = &scaled.spec.scale_target_ref;
            let name = hpa_name_in_use(scaled);
            let ((target, near), hpa, auths, diagnosis) = tokio::join!(
                self.target(&namespace, target.gvk(), &target.name),
                self.hpa(&namespace, &name),
                self.auths(&namespace, scaled),
                self.diagnosis(&namespace, scaled),
            );
            (seen.target, seen.target_names) = (target, near);
            seen.hpa = hpa;
            seen.auths = auths;
            seen.diagnosis = diagnosis;
        } else if let Some(hpa) = seen.hpa.got() {
            let target = &hpa["spec"]["scaleTargetRef"];
            let version = field(target, "apiVersion");
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let kind = field(target, "kind").to_owned();
            let gvk = (group.to_owned(), version.to_owned(), kind);
            let name = field(target, "name").to_owned();
            (seen.target, seen.target_names) = self.target(&namespace, gvk, &name).await;
        }
        let asked = seen.hpa.got().map(doctor::questions).unwrap_or_default();
        let within = namespace.as_str();
        let answers = asked.into_iter().map(|(metric, selector)| async move {
            let value = self.external(within, &metric, &selector).await;
            Answer { metric, value }
        });
        let selector = seen.target.got();
        let selector = selector.and_then(|target| selector_of(&target["spec"]["selector"]));
        let pods = async {
            match &selector {
                Some(selector) => {
                    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=");
                    self.list(&(path + &encoded(selector))).await
                }
                None => Look::Missing,
            }
        };
        (seen.answers, seen.pods) = tokio::join!(join_all(answers), pods);
        seen.events = self.events(&namespace, seen.pods.got()).await;
    }

    /// A workload, and where it is missing the names of its kind.
    async fn target(
        &self,
        namespace: &str,
        (group, version, kind): (String, String, String),
        name: &str,
    ) -> (Look<Value>, Vec<String>) {
        let root = match group.as_str() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let resources = match self.get(&root).await {
            Look::Got(found) => found,
            other => return (other, Vec::new()),
        };
        let all = resources["resources"].as_array().into_iter().flatten();
        let plural = all
            .filter(|r| r["kind"] == kind.as_str())
            .filter_map(|r| r["name"].as_str())
            .find(|plural| !plural.contains('/'));
        let Some(plural) = plural else {
            return (Look::Missing, Vec::new());
        };
        let all = format!("{root}/namespaces/{namespace}/{plural}");
        match self.get(&format!("{all}/{}", encoded(name))).await {
            Look::Missing => (Look::Missing, names(&self.list(&all).await)),
            found => (found, Vec::new()),
        }
    }

    async fn auths(&self, namespace: &str, scaled: &api::keda::ScaledObject) -> Vec<AuthSeen> {
        let references = scaled.spec.triggers.iter();
        let references = references.filter_map(|t| t.authentication_ref.as_ref());
        let reads = references.map(|reference| async move {
            let name = encoded(&reference.name);
            let (kind, path) = match reference.is_cluster() {
                true => (
                    "ClusterTriggerAuthentication",
                    format!("/apis/{GROUP}/{VERSION}/clustertriggerauthentications/{name}"),
                ),
                false => (
                    "TriggerAuthentication",
                    format!("{}/{name}", keda(namespace, "triggerauthentications")),
                ),
            };
            AuthSeen {
                kind: kind.to_owned(),
                name: reference.name.clone(),
                object: self.get(&path).await,
            }
        });
        join_all(reads).await
    }

    /// The operator's diagnosis; where no operator gives one, the servers are
    /// asked from here.
    async fn diagnosis(
        &self,
        namespace: &str,
        scaled: &api::keda::ScaledObject,
    ) -> Look<doctor::seen::Diagnosis> {
        let path = format!(
            "/apis/{}/{}/namespaces/{namespace}/scaledobject/{}/diagnosis",
            operator::EXPLAIN_GROUP,
            operator::EXPLAIN_VERSION,
            encoded(&scaled.metadata.name)
        );
        match self.text(&path).await {
            Look::Got(text) => match serde_json::from_str(&text) {
                Ok(diagnosis) => Look::Got(diagnosis),
                Err(error) => Look::Failed(format!(
                    "it answers what this version does not understand ({error}); is it another \
                     release?"
                )),
            },
            Look::Missing => Look::Got(direct::diagnosis(&self.client, scaled).await),
            other => other.map_nothing(),
        }
    }

    async fn external(&self, namespace: &str, metric: &str, selector: &str) -> Look<String> {
        let path = format!(
            "/apis/{}/{}/namespaces/{namespace}/{}?labelSelector={}",
            operator::METRICS_GROUP,
            operator::METRICS_VERSION,
            encoded(metric),
            encoded(selector)
        );
        match self.get(&path).await {
            Look::Got(found) => match found["items"][0]["value"].as_str() {
                Some(value) => Look::Got(value.to_owned()),
                None => Look::Missing,
            },
            other => other.map_nothing(),
        }
    }

    /// Events about a few of the pods that wait.
    async fn events(&self, namespace: &str, pods: Option<&Vec<Value>>) -> Look<Vec<Value>> {
        let pods = pods.map_or(&[][..], Vec::as_slice);
        let reads = doctor::waiting(pods).take(WAITING).map(|pod| async move {
            let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=");
            let selector = format!("involvedObject.kind=Pod,involvedObject.name={pod}");
            self.list(&(path + &encoded(&selector))).await
        });
        let mut all = Vec::new();
        for read in join_all(reads).await {
            match read {
                Look::Got(events) => all.extend(events),
                other => return other,
            }
        }
        Look::Got(all)
    }
}

fn keda(namespace: &str, plural: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}")
}

fn hpas(namespace: &str) -> String {
    format!("/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers")
}

fn names(list: &Look<Vec<Value>>) -> Vec<String> {
    let all = list.got().into_iter().flatten();
    all.map(|object| field(&object["metadata"], "name").to_owned())
        .collect()
}

fn field<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}

/// A label selector as it stands in a request.
fn selector_of(selector: &Value) -> Option<String> {
    let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
    let text = selector.to_selector().ok()?.to_string();
    (!text.is_empty()).then_some(text)
}

fn port_of(pod: &Value) -> u64 {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports: Vec<&Value> = containers
        .flat_map(|c| c["ports"].as_array().into_iter().flatten())
        .collect();
    let named = ports.iter().find(|port| port["name"] == "metrics");
    let port = named.or(ports.first());
    port.and_then(|port| port["containerPort"].as_u64())
        .unwrap_or(EXPORTER_PORT)
}
