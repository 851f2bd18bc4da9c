//! Rules over who writes the replica count.

use std::collections::{BTreeMap, BTreeSet};

use api::keda::{ScaledObject, TRANSFER_HPA};
use decide::scale::admission::{self, Surroundings};
use decide::scale::hpa_spec::hpa_name;

use super::Context;
use crate::finding::{Severity, Step};
use crate::model::{Hpa, Object, Scaled, Workload};

const ID: (&str, Severity) = ("two-writers", Severity::Error);
const ONE: &str =
    "Keep one scaler for a workload; several signals are triggers of one ScaledObject.";

pub(super) fn check(cx: &mut Context<'_>) {
    let model = cx.model;
    let scaled: Vec<&Scaled<'_>> = model.scaled.iter().filter(|s| !s.is_job).collect();
    let mut hpas_by = Meeting::new();
    for (n, hpa) in model.hpas.iter().enumerate() {
        let target = hpa.object.get("/spec/scaleTargetRef/name");
        let target = key(&hpa.object, "target", target.as_str().unwrap_or(""));
        for other in met(&hpas_by, std::slice::from_ref(&target)) {
            hpas(cx, hpa, &model.hpas[other]);
        }
        let own = key(&hpa.object, "hpa", hpa.object.name);
        for key in [target, own] {
            hpas_by.entry(key).or_default().insert(n);
        }
    }
    let mut scaled_by = Meeting::new();
    for (n, one) in scaled.iter().enumerate() {
        let keys = [
            key(&one.object, "target", &one.spec.spec.scale_target_ref.name),
            key(&one.object, "hpa", &hpa_name(&one.spec)),
        ];
        for other in met(&scaled_by, &keys) {
            objects(cx, one, scaled[other]);
        }
        for hpa in met(&hpas_by, &keys) {
            with_hpa(cx, one, &model.hpas[hpa]);
        }
        for key in keys {
            scaled_by.entry(key).or_default().insert(n);
        }
    }
    let targets = scaled
        .iter()
        .map(|s| (s.object, s.workload))
        .chain(model.hpas.iter().map(|h| (h.object, h.workload)));
    for (scaler, workload) in targets {
        if let Some(workload) = model.workload(workload) {
            in_git(cx, &scaler, workload);
        }
    }
}

/// Scalers by what they can meet in: namespace, whether it is the name of a
/// target or of an HPA, and the name. All pairs of a large folder would be many.
type Meeting<'a> = BTreeMap<(&'a str, &'static str, String), BTreeSet<usize>>;

fn key<'a>(object: &Object<'a>, of: &'static str, name: &str) -> (&'a str, &'static str, String) {
    (object.home(), of, name.to_owned())
}

fn met<'a>(by: &Meeting<'a>, keys: &[(&'a str, &'static str, String)]) -> BTreeSet<usize> {
    let found = keys.iter().filter_map(|key| by.get(key));
    found.flatten().copied().collect()
}

fn objects(cx: &mut Context<'_>, one: &Scaled<'_>, other: &Scaled<'_>) {
    // Twice the same object is an overlay of it, not a second writer.
    if one.object.name == other.object.name {
        return;
    }
    let around = Surroundings {
        scaled_objects: vec![other.spec.clone()],
        ..Surroundings::default()
    };
    if let Err(message) = admission::owners(&one.spec, &around) {
        cx.report(
            ID,
            &one.object,
            one.object.at("/spec/scaleTargetRef/name"),
            format!(
                "two scalers write one replica count: {message} ({})",
                cx.place(&other.object)
            ),
            ONE,
        );
    }
}

fn owned_by(object: &ScaledObject, hpa: &Object<'_>) -> bool {
    let owners = hpa.get("/metadata/ownerReferences").as_array();
    owners
        .into_iter()
        .flatten()
        .any(|o| o["kind"] == "ScaledObject" && o["name"] == object.metadata.name.as_str())
}

fn with_hpa(cx: &mut Context<'_>, one: &Scaled<'_>, hpa: &Hpa<'_>) {
    let around = Surroundings {
        hpas: vec![hpa.object.value.clone()],
        ..Surroundings::default()
    };
    let object = &one.object;
    if let Err(message) = admission::owners(&one.spec, &around) {
        let message = format!(
            "two scalers write one replica count: {message} ({})",
            cx.place(&hpa.object)
        );
        cx.report(
            ID,
            object,
            object.at("/spec/scaleTargetRef/name"),
            message,
            ONE,
        );
        return;
    }
    let transfer = one
        .spec
        .metadata
        .annotations
        .get(TRANSFER_HPA)
        .is_some_and(|t| t == "true");
    if hpa_name(&one.spec) == hpa.object.name && !owned_by(&one.spec, &hpa.object) && !transfer {
        let span = hpa.object.at("/metadata/name");
        cx.report(
            ID,
            &hpa.object,
            span,
            format!(
                "HPA {} has the name of the one that KEDA makes for {}: KEDA overwrites it, and \
                 whoever applies this file overwrites KEDA's",
                hpa.object.name,
                object.title()
            ),
            "Remove the HPA, or give the ScaledObject another \
             advanced.horizontalPodAutoscalerConfig.name.",
        );
    }
}

fn hpas(cx: &mut Context<'_>, one: &Hpa<'_>, other: &Hpa<'_>) {
    let field = |h: &Hpa<'_>, f: &str| {
        let value = h.object.get(&format!("/spec/scaleTargetRef/{f}"));
        value.as_str().unwrap_or("").to_owned()
    };
    let group = |h: &Hpa<'_>| {
        let version = field(h, "apiVersion");
        version
            .split_once('/')
            .map_or(String::new(), |(g, _)| g.to_owned())
    };
    let same = field(one, "name") == field(other, "name")
        && field(one, "kind") == field(other, "kind")
        && group(one) == group(other);
    if one.object.name == other.object.name || !same {
        return;
    }
    cx.report(
        ID,
        &one.object,
        one.object.at("/spec/scaleTargetRef/name"),
        format!(
            "two HPAs scale {} {}: HPA {} ({}) does too, and Kubernetes then lets neither act \
             (AmbiguousSelector)",
            field(one, "kind"),
            field(one, "name"),
            other.object.name,
            cx.place(&other.object)
        ),
        "Keep one; several metrics are entries of one HPA.",
    );
}

/// Labels and annotations by which deployment tools know their objects.
const MARKS: &[(&str, &str)] = &[
    ("argocd.argoproj.io/", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/", "Flux"),
    ("helm.toolkit.fluxcd.io/", "Flux"),
    ("fluxcd.io/", "Flux"),
    ("meta.helm.sh/", "Helm"),
    ("helm.sh/chart", "Helm"),
];

fn tool(workload: &Workload<'_>) -> Option<&'static str> {
    for list in ["/metadata/annotations", "/metadata/labels"] {
        let entries = workload.object.get(list).as_object();
        for (key, value) in entries.into_iter().flatten() {
            if key == "app.kubernetes.io/managed-by" && value == "Helm" {
                return Some("Helm");
            }
            if let Some((_, name)) = MARKS.iter().find(|(mark, _)| key.starts_with(mark)) {
                return Some(name);
            }
        }
    }
    None
}

fn in_git(cx: &mut Context<'_>, scaler: &Object<'_>, workload: &Workload<'_>) {
    let object = &workload.object;
    let Some(tool) = tool(workload).filter(|_| object.has("/spec/replicas")) else {
        return;
    };
    let replicas = object.get("/spec/replicas");
    cx.report(
        ("two-writers", Severity::Warning),
        object,
        object.key("/spec/replicas"),
        format!(
            "`replicas: {replicas}` is applied by {tool} and {} scales the same workload: each \
             sync or upgrade sets it back to {replicas}",
            scaler.title()
        ),
        "Leave `replicas` out of the manifest (the scaler sets it), or make the tool ignore the \
         field.",
    )
    .patched([Step::Remove("/spec/replicas".to_owned())]);
}
