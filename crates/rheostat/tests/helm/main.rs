//! The real Helm 3 and Helm 4 install, upgrade, roll back and uninstall our
//! chart and a workload's chart, on the lab and on a real control plane; the
//! objects that are there after each step are compared with `objects.txt`.
//!
//! Plain `cargo test` does it on the lab where Helm is built; `cargo xtask e2e
//! --on lab|testbed|KUBECONFIG` where it is told.

#![allow(clippy::unwrap_used)]

mod objects;
mod stage;

use objects::Objects;
use serde_json::Value;
use stage::{Helm, Stage, here};

/// The chart, as the documentation names it.
const CHART: &str = "charts/rheostat";
const METRICS: &str = "v1beta1.external.metrics.k8s.io";
const INSTALL: &[&str] = &[
    "install",
    "rheostat",
    CHART,
    "-n",
    "rheostat",
    "--create-namespace",
];
const WAIT: &[&str] = &["--wait", "--timeout", "120s"];

#[test]
fn helm_3_keeps_what_it_finds() {
    release(&testbed::helm3());
}

#[test]
fn helm_4_keeps_what_it_finds() {
    release(&testbed::helm4());
}

#[test]
fn the_chart_refuses_values_that_it_does_not_know() {
    for program in [testbed::helm3(), testbed::helm4()] {
        let Some(helm) = Helm::without_cluster(&program) else {
            continue;
        };
        helm.run(&["lint", "--strict", CHART]);
        let values = "image.tag=v2,podLabels.team=ml,nodeSelector.agentpool=system,\
                      serviceAccount.annotations.a=b,env.NO_PROXY=10.0.0.0/8,log=debug,\
                      image.pullSecrets[0]=registry,tolerations[0].operator=Exists";
        let made = helm.run(&["template", "r", CHART, "-n", "elsewhere", "--set", values]);
        for part in [
            "image: \"ghcr.io/rheostat-dev/rheostat:v2\"",
            "team: ml",
            "agentpool: system",
            "a: b",
            "{name: NO_PROXY, value: \"10.0.0.0/8\"}",
            "{name: RHEOSTAT_LOG, value: \"debug\"}",
            "- name: \"registry\"",
            "- operator: Exists",
            "namespace: elsewhere}",
        ] {
            assert!(made.contains(part), "{part} is not in\n{made}");
        }
        assert!(!made.contains("namespace: rheostat"), "{made}");
        for (wrong, named) in [
            ("replicaCount=2", "replicaCount"),
            ("image.name=x", "name"),
            ("env.POD_NAME=x", "POD_NAME"),
            ("image.pullPolicy=Sometimes", "pullPolicy"),
        ] {
            let refused = helm.fail(&["template", "r", CHART, "--set", wrong]);
            assert!(refused.contains(named), "{wrong}: {refused}");
        }
    }
}

/// Our chart comes, changes, changes back and goes, beside a workload that an
/// HPA has scaled.
fn release(program: &testbed::GoProgram) {
    let Some(stage) = Stage::open(program) else {
        return;
    };
    let helm = &stage.helm;
    let served = stage.answers(METRICS);
    let crds = stage.definitions();
    let before = Objects::of(&stage);

    another_server_is_left_alone(&stage);
    helm.run(&[INSTALL, WAIT, stage.install_arguments()].concat());
    before.compare(&stage, "install");
    assert_eq!(log_of(&operator(&stage)), "warn");
    let installed = stage.definitions();
    assert_eq!(installed.len(), api::keda::crds().len());
    // Definitions that were there before belong to somebody else.
    assert!(crds.is_empty() || crds == installed);

    let workload = replicas_stay(&stage);
    claimed_replicas_are_contested(&stage);
    let kept = workload.state();

    let set = "log=info,podLabels.team=ml,resources.limits.memory=1Gi";
    helm.run(
        &[
            &["upgrade", "rheostat", CHART, "-n", "rheostat", "--set", set],
            WAIT,
        ]
        .concat(),
    );
    before.compare(&stage, "upgrade");
    let now = operator(&stage);
    assert_eq!(log_of(&now), "info");
    let pod = &now["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["team"], "ml");
    let limits = &pod["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(limits["memory"], "1Gi");
    // Helm has installed what the program prints.
    stage.upgrade_definitions();
    assert_eq!(installed, stage.definitions());

    helm.run(&[&["rollback", "rheostat", "1", "-n", "rheostat"], WAIT].concat());
    before.compare(&stage, "rollback");
    let now = operator(&stage);
    assert_eq!(log_of(&now), "warn");
    assert_eq!(
        now["spec"]["template"]["metadata"]["labels"]["team"],
        Value::Null
    );

    helm.run(&[&["uninstall", "rheostat", "-n", "rheostat"], WAIT].concat());
    before.compare(&stage, "uninstall");
    assert_eq!(installed, stage.definitions());
    assert_eq!(kept, workload.state());
    // The lab's own operator goes on, whoever was in the books.
    assert_eq!(stage.answers(METRICS), served);

    // And it comes back to ScaledObjects that are there.
    helm.run(&[INSTALL, WAIT, stage.install_arguments()].concat());
    before.compare(&stage, "install");
    assert_eq!(installed, stage.definitions());
    assert_eq!(kept, workload.state());
}

fn operator(stage: &Stage) -> Value {
    stage.get("Deployment", "rheostat", "rheostat-operator")
}

fn log_of(operator: &Value) -> &str {
    let environment = operator["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    let set = environment
        .unwrap()
        .iter()
        .find(|e| e["name"] == "RHEOSTAT_LOG");
    set.unwrap()["value"].as_str().unwrap()
}

/// Where somebody serves the same API, the chart is refused by name and nothing
/// is touched.
fn another_server_is_left_alone(stage: &Stage) {
    stage.another_server(METRICS);
    let there = stage.get("APIService", "", METRICS);
    let refused = stage.helm.fail(INSTALL);
    assert!(refused.contains(METRICS), "{refused}");
    assert!(refused.contains("invalid ownership metadata"), "{refused}");
    let now = stage.get("APIService", "", METRICS);
    assert_eq!(there["metadata"]["uid"], now["metadata"]["uid"]);
    assert_eq!(there["spec"], now["spec"]);
    assert!(
        stage
            .find("Deployment", "rheostat", "rheostat-operator")
            .is_none()
    );
    stage.no_other_server(METRICS);
}

/// A user's chart, and its replicas once an HPA has raised them.
struct Workload<'a> {
    stage: &'a Stage,
    name: &'static str,
    chart: String,
}

impl<'a> Workload<'a> {
    /// `set` are its values.
    fn install(stage: &'a Stage, name: &'static str, set: &str) -> Self {
        let chart = here().join("crates/rheostat/tests/helm/workload");
        let chart = chart.display().to_string();
        let arguments = [
            "install",
            name,
            &chart,
            "-n",
            "gpu",
            "--create-namespace",
            "--set",
            set,
        ];
        stage.helm.run(&arguments);
        stage.autoscale("gpu", name);
        let workload = Self { stage, name, chart };
        stage.until("the replicas are raised", || {
            workload.state()["deployment"]["replicas"] == 3
        });
        workload
    }

    /// Arguments of an upgrade.
    fn upgrade(&self, set: &'static str) -> [&str; 7] {
        ["upgrade", self.name, &self.chart, "-n", "gpu", "--set", set]
    }

    fn state(&self) -> Value {
        self.stage.workload("gpu", self.name)
    }

    fn image(&self) -> Value {
        let deployment = self.stage.get("Deployment", "gpu", self.name);
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    }
}

/// A chart that leaves the replicas out keeps what the HPA has set.
fn replicas_stay(stage: &Stage) -> Workload<'_> {
    let helm = &stage.helm;
    let model = Workload::install(stage, "model", "image=example.com/model:1");
    let raised = model.state();
    helm.run(&model.upgrade("image=example.com/model:2"));
    assert_eq!(model.image(), "example.com/model:2");
    assert_eq!(raised, model.state());
    helm.run(&["rollback", "model", "1", "-n", "gpu"]);
    assert_eq!(model.image(), "example.com/model:1");
    assert_eq!(raised, model.state());
    model
}

/// One that has them fights the HPA: Helm 4 is told so, Helm 3 sets them back.
fn claimed_replicas_are_contested(stage: &Stage) {
    let claims = Workload::install(stage, "claims", "replicas=1");
    let raised = claims.state();
    let upgrade = claims.upgrade("replicas=1,image=example.com/model:2");
    if stage.helm.major == 4 {
        let refused = stage.helm.fail(&upgrade);
        let conflict = "conflict with \"kube-controller-manager\" with subresource \"scale\" using \
                        apps/v1: .spec.replicas";
        assert!(refused.contains(conflict), "{refused}");
        assert_eq!(raised, claims.state());
    } else {
        stage.helm.run(&upgrade);
        stage.until("the HPA has raised them again", || {
            let now = claims.state();
            now["hpa"]["lastScaleTime"] != raised["hpa"]["lastScaleTime"]
                && now["deployment"]["replicas"] == 3
        });
    }
}
