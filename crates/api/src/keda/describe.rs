//! What `kubectl explain` says about KEDA's kinds; `descriptions.txt` has the texts. They are put
//! into the definitions alone: nothing else reads them.

use serde_json::{Value, json};

const TEXTS: &str = include_str!("descriptions.txt");

/// Puts the texts about a kind into its schema.
pub(super) fn describe(kind: &str, schema: &mut Value) {
    for (path, text) in lines() {
        let (of, path) = path.split_once('.').unwrap_or((path, ""));
        let authentication = of.is_empty() && kind.ends_with("TriggerAuthentication");
        if (of == kind || authentication)
            && let Some(place) = find(schema, path)
        {
            place["description"] = json!(text);
        }
    }
}

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEXTS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
}

/// The schema of a field; a list's items have its place.
fn find<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut at = schema;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        if at.get("items").is_some() {
            at = &mut at["items"];
        }
        at = at.get_mut("properties")?.get_mut(step)?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::crds::openapi;
    use super::*;

    #[test]
    fn each_text_is_about_a_field_that_is_there() {
        for (path, text) in lines() {
            let (of, path) = path.split_once('.').unwrap_or((path, ""));
            let kind = if of.is_empty() {
                "TriggerAuthentication"
            } else {
                of
            };
            let mut schema = openapi(kind).unwrap_or_else(|| panic!("no kind {kind}"));
            assert!(find(&mut schema, path).is_some(), "{kind} has no {path}");
            assert!(text.ends_with('.'), "{text}");
        }
    }
}
