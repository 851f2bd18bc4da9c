//! `cargo xtask codegen chart`: what has its source elsewhere. The chart's
//! definitions come from `crates/api`; `deploy/operator.yaml`, for those who
//! have no Helm, is what the chart makes of its own values. The rights of the
//! operator so stand in one place, `charts/rheostat/templates/rbac.yaml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const CHART: &str = "charts/rheostat";
const MANIFEST: &str = "deploy/operator.yaml";
const NAMESPACE: &str = "rheostat";

const MADE: &str = "# Made by `cargo xtask codegen chart`; change crates/api/src/keda instead.\n";

const HEAD: &str = "\
# The operator of Rheostat in a cluster of its own namespace: rights, APIs and
# the Deployment. KEDA's CustomResourceDefinitions come first:
#
#   rheostat crds | kubectl apply --server-side -f -
#   kubectl apply -f deploy/operator.yaml
#
# A cluster has one server of external.metrics.k8s.io; where KEDA's is
# installed, it must go first.
#
# Made by `cargo xtask codegen chart`; change charts/rheostat instead.
apiVersion: v1
kind: Namespace
metadata:
  name: rheostat
";

pub fn run() -> Result<()> {
    let root = crate::root()?;
    for (path, text) in definitions() {
        let path = root.join(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let helm = testbed::helm4().build(&mut |line| eprintln!("{line}"))?;
    let path = root.join(MANIFEST);
    fs::write(&path, manifest(&helm, &root)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{CHART}/crds and {MANIFEST} are written");
    Ok(())
}

/// Files of definitions, from the checkout's root.
fn definitions() -> Vec<(PathBuf, String)> {
    let named = |crd: serde_json::Value| {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        let path = Path::new(CHART).join("crds").join(format!("{name}.yaml"));
        (path, format!("{MADE}{}", api::yaml::to_string(&crd)))
    };
    api::keda::crds().into_iter().map(named).collect()
}

/// What the chart makes of its own values, behind its namespace.
fn manifest(helm: &Path, root: &Path) -> Result<String> {
    let made = Command::new(helm)
        .args(["template", NAMESPACE, CHART, "--namespace", NAMESPACE])
        .current_dir(root)
        .output()
        .with_context(|| format!("cannot run {}", helm.display()))?;
    if !made.status.success() {
        bail!(
            "helm template {CHART}: {}",
            String::from_utf8_lossy(&made.stderr).trim()
        );
    }
    let mut text = HEAD.to_owned();
    for line in String::from_utf8(made.stdout)?.lines() {
        // Helm's own lines, and the empty ones that it leaves between documents.
        if !line.is_empty() && !line.starts_with("# Source: ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charts_definitions_are_those_of_the_program() {
        let root = crate::root().unwrap();
        let wanted = definitions();
        for (path, text) in &wanted {
            let there = fs::read_to_string(root.join(path)).unwrap_or_default();
            let stale = "is stale: run `cargo xtask codegen chart`";
            assert!(there == *text, "{} {stale}", path.display());
        }
        let there = fs::read_dir(root.join(CHART).join("crds")).unwrap();
        assert_eq!(there.count(), wanted.len());
    }

    #[test]
    fn the_manifest_is_what_the_chart_makes() {
        let root = crate::root().unwrap();
        for program in [testbed::helm3(), testbed::helm4()] {
            let found = program.for_test(&mut |line| eprintln!("{line}"));
            let Some(helm) = testbed::or_skip(found) else {
                continue;
            };
            let there = fs::read_to_string(root.join(MANIFEST)).unwrap();
            assert!(
                there == manifest(&helm, &root).unwrap(),
                "{MANIFEST} is stale ({}): run `cargo xtask codegen chart`",
                program.name
            );
        }
    }
}
