//! What a release has made, held against `objects.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::api::{DynamicObject, ListParams};
use kube::discovery::verbs::LIST;
use kube::{Api, Discovery};

use crate::stage::Stage;

/// Kinds that come and go with nodes, addresses and time.
const RESTLESS: &[&str] = &[
    "CSINode",
    "ComponentStatus",
    "Endpoints",
    "EndpointSlice",
    "Event",
    "IPAddress",
    "Lease",
    "Node",
];
/// Groups without objects of their own, and whose server may be away.
const AGGREGATED: &[&str] = &[
    "explain.rheostat.dev",
    "external.metrics.k8s.io",
    "metrics.k8s.io",
];
/// How long Kubernetes' own controllers may take to follow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The objects of a cluster, by kind, namespace and name.
pub struct Objects(BTreeSet<String>);

impl Objects {
    pub fn of(stage: &Stage) -> Self {
        Self(list(stage).into_keys().collect())
    }

    /// Waits until what is new, or belongs to the release, is what a section of
    /// the committed list has.
    pub fn compare(&self, stage: &Stage, section: &str) {
        let wanted = wanted(section);
        let until = Instant::now() + PATIENCE;
        loop {
            let there = list(stage).into_iter();
            let there: BTreeSet<String> = there
                .filter(|(name, found)| found.ours || !self.0.contains(name))
                .map(|(name, found)| match found.times {
                    1 => name,
                    times => format!("{name} ×{times}"),
                })
                .collect();
            if there == wanted {
                return;
            }
            if Instant::now() > until {
                let all: Vec<&str> = there.iter().map(String::as_str).collect();
                let more: Vec<_> = there.difference(&wanted).collect();
                let less: Vec<_> = wanted.difference(&there).collect();
                panic!(
                    "after {section} there are\n{}\n\nnot listed: {more:#?}\nlisted, not there: \
                     {less:#?}",
                    all.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A section of the committed list.
fn wanted(section: &str) -> BTreeSet<String> {
    let text = include_str!("objects.txt");
    let begin = text.split(&format!("[{section}]\n")).nth(1).unwrap();
    let lines = begin.lines().take_while(|line| !line.starts_with('['));
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[derive(Default)]
struct Found {
    /// How many have this name but for a hash or random letters.
    times: usize,
    /// It belongs to our chart's release, or is one of its definitions.
    ours: bool,
}

/// Every object that can be listed, but for the workloads'.
fn list(stage: &Stage) -> BTreeMap<String, Found> {
    stage.block_on(async {
        let discovery = Discovery::new(stage.client.clone()).exclude(AGGREGATED);
        let discovery = discovery.run().await.unwrap();
        let mut all: BTreeMap<String, Found> = BTreeMap::new();
        for group in discovery.groups() {
            for (resource, can) in group.recommended_resources() {
                if !can.supports_operation(LIST) || RESTLESS.contains(&resource.kind.as_str()) {
                    continue;
                }
                let api: Api<DynamicObject> = Api::all_with(stage.client.clone(), &resource);
                for object in api.list(&ListParams::default()).await.unwrap() {
                    let Some((name, ours)) = describe(&object) else {
                        continue;
                    };
                    let found = all.entry(format!("{} {name}", resource.kind)).or_default();
                    found.times += 1;
                    found.ours |= ours;
                }
            }
        }
        all
    })
}

/// Namespace and name, and whether it is ours.
fn describe(object: &DynamicObject) -> Option<(String, bool)> {
    let meta = &object.metadata;
    let namespace = meta.namespace.clone().unwrap_or_default();
    let mut name = meta.name.clone()?;
    if namespace == "gpu" || name == "gpu" {
        return None;
    }
    let labels = meta.labels.clone().unwrap_or_default();
    if let Some(hash) = labels.get("pod-template-hash") {
        name = format!("{}*", name.split(hash.as_str()).next()?);
    }
    let annotations = meta.annotations.clone().unwrap_or_default();
    let release = annotations.get("meta.helm.sh/release-name");
    let ours = release.is_some_and(|r| r == "rheostat") || name.ends_with(".keda.sh");
    let place = if namespace.is_empty() {
        name
    } else {
        format!("{namespace}/{name}")
    };
    Some((place, ours))
}
