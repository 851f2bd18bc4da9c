//! Volumes, claims and their classes.

use serde_json::{Value, json};

use super::{Printer, age};
use crate::value::{at, deleting, name, strings, text};

fn modes(object: &Value, path: &[&str]) -> String {
    strings(object, path)
        .iter()
        .map(|mode| match *mode {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect::<Vec<_>>()
        .join(",")
}

pub(super) const CLASSES: Printer = (
    &[
        ("Name", "string", 0),
        ("Provisioner", "string", 0),
        ("ReclaimPolicy", "string", 0),
        ("VolumeBindingMode", "string", 0),
        ("AllowVolumeExpansion", "string", 0),
        ("Age", "string", 0),
    ],
    |c, now| {
        let default = at(c, &["metadata", "annotations"])
            .is_some_and(|a| a["storageclass.kubernetes.io/is-default-class"] == "true");
        let or = |text: &str, other: &str| {
            if text.is_empty() {
                other.to_owned()
            } else {
                text.to_owned()
            }
        };
        vec![
            json!(format!(
                "{}{}",
                name(c),
                if default { " (default)" } else { "" }
            )),
            json!(text(c, &["provisioner"])),
            json!(or(text(c, &["reclaimPolicy"]), "Delete")),
            json!(or(text(c, &["volumeBindingMode"]), "Immediate")),
            json!(c["allowVolumeExpansion"] == true),
            json!(age(c, now)),
        ]
    },
);

pub(super) const VOLUMES: Printer = (
    &[
        ("Name", "string", 0),
        ("Capacity", "string", 0),
        ("Access Modes", "string", 0),
        ("Reclaim Policy", "string", 0),
        ("Status", "string", 0),
        ("Claim", "string", 0),
        ("StorageClass", "string", 0),
        ("VolumeAttributesClass", "string", 0),
        ("Reason", "string", 0),
        ("Age", "string", 0),
        ("VolumeMode", "string", 1),
    ],
    |v, now| {
        let claim = at(v, &["spec", "claimRef"]).map_or_else(String::new, |c| {
            format!("{}/{}", text(c, &["namespace"]), text(c, &["name"]))
        });
        let status = if deleting(v) {
            "Terminating"
        } else {
            text(v, &["status", "phase"])
        };
        vec![
            json!(name(v)),
            json!(text(v, &["spec", "capacity", "storage"])),
            json!(modes(v, &["spec", "accessModes"])),
            json!(text(v, &["spec", "persistentVolumeReclaimPolicy"])),
            json!(status),
            json!(claim),
            json!(text(v, &["spec", "storageClassName"])),
            json!("<unset>"),
            json!(text(v, &["status", "reason"])),
            json!(age(v, now)),
            json!(text(v, &["spec", "volumeMode"])),
        ]
    },
);

pub(super) const CLAIMS: Printer = (
    &[
        ("Name", "string", 0),
        ("Status", "string", 0),
        ("Volume", "string", 0),
        ("Capacity", "string", 0),
        ("Access Modes", "string", 0),
        ("StorageClass", "string", 0),
        ("VolumeAttributesClass", "string", 0),
        ("Age", "string", 0),
        ("VolumeMode", "string", 1),
    ],
    |c, now| {
        let status = if deleting(c) {
            "Terminating"
        } else {
            text(c, &["status", "phase"])
        };
        let bound = !text(c, &["spec", "volumeName"]).is_empty();
        let modes = if bound {
            modes(c, &["status", "accessModes"])
        } else {
            String::new()
        };
        let capacity = if bound {
            text(c, &["status", "capacity", "storage"])
        } else {
            ""
        };
        vec![
            json!(name(c)),
            json!(status),
            json!(text(c, &["spec", "volumeName"])),
            json!(capacity),
            json!(modes),
            json!(text(c, &["spec", "storageClassName"])),
            json!("<unset>"),
            json!(age(c, now)),
            json!(text(c, &["spec", "volumeMode"])),
        ]
    },
);
