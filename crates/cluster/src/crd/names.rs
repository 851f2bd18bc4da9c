//! Which names a CustomResourceDefinition gets: a name of a group goes to whoever had it first.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::RESOURCE;
use crate::cluster::Cluster;
use crate::value;

/// The names of a definition that are its own, once there are any.
pub(super) fn accepted_names(crd: &Value) -> Option<&Value> {
    let names = value::at(crd, &["status", "acceptedNames"])?;
    (!value::text(names, &["plural"]).is_empty()).then_some(names)
}

/// The names that a definition gets, and the last reason why it does not get all.
///
/// A name goes to whoever of the group had it first. Kinds that the server brings along count
/// too: it could not tell the two apart.
pub(super) fn claim(cluster: &Cluster, crd: &Value) -> (Value, Option<(&'static str, String)>) {
    let group = value::text(crd, &["spec", "group"]);
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for row in cluster.registry().rows() {
        if row.custom.is_none() && row.group == group {
            resources.extend([row.plural.clone(), row.singular.clone()]);
            resources.extend(row.short_names.iter().cloned());
            kinds.extend([row.kind.clone(), row.list_kind.clone()]);
        }
    }
    for other in cluster.list(RESOURCE, None) {
        let theirs = &other["status"]["acceptedNames"];
        if value::name(&other) == value::name(crd)
            || value::text(&other, &["spec", "group"]) != group
        {
            continue;
        }
        let name = |key: &str| value::text(theirs, &[key]).to_owned();
        resources.extend([name("plural"), name("singular")]);
        let short = value::strings(theirs, &["shortNames"]);
        resources.extend(short.into_iter().map(str::to_owned));
        kinds.extend([name("kind"), name("listKind")]);
    }
    let mut names = crd["spec"]["names"].clone();
    let ours = &crd["status"]["acceptedNames"];
    let mut conflict = None;
    for (key, used, reason) in [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("shortNames", &resources, "ShortNamesConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let wanted = match key {
            "shortNames" => value::strings(&names, &[key]),
            _ => vec![value::text(&names, &[key])],
        };
        let taken: Vec<String> = wanted
            .into_iter()
            .filter(|n| !n.is_empty() && used.contains(*n))
            .map(|n| format!("\"{n}\" is already in use"))
            .collect();
        let message = match taken.as_slice() {
            [] => continue,
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        conflict = Some((reason, message));
        match ours.get(key) {
            Some(kept) => names[key] = kept.clone(),
            None if matches!(key, "plural" | "kind") => names[key] = json!(""),
            None => {
                if let Some(map) = names.as_object_mut() {
                    map.remove(key);
                }
            }
        }
    }
    (names, conflict)
}
