//! Sets of fields as `FieldsV1` writes them: a tree whose keys are `f:name`, `k:{keys}`,
//! `v:value` and `i:index`, and whose nodes may be members themselves (`.`).

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A set of fields. The root itself is never a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    member: bool,
    children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Adds one path.
    pub fn insert(&mut self, path: &[String]) {
        match path {
            [] => self.member = true,
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Takes one path and all below it away.
    pub fn remove_tree(&mut self, path: &[&str]) {
        match path {
            [] => *self = FieldSet::default(),
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.remove_tree(rest);
                    if child.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    pub fn union(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (key, theirs) in &other.children {
            self.children.entry(key.clone()).or_default().union(theirs);
        }
    }

    /// Member by member: what is in `other` goes, what is below it stays.
    pub fn subtract(&mut self, other: &FieldSet) {
        self.member &= !other.member;
        self.children.retain(|key, mine| {
            if let Some(theirs) = other.children.get(key) {
                mine.subtract(theirs);
            }
            !mine.is_empty()
        });
    }

    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let children = self.children.iter().filter_map(|(key, mine)| {
            let both = mine.intersection(other.children.get(key)?);
            (!both.is_empty()).then(|| (key.clone(), both))
        });
        FieldSet {
            member: self.member && other.member,
            children: children.collect(),
        }
    }

    /// Whether this very path is a member.
    pub fn has(&self, path: &[String]) -> bool {
        self.at(path).is_some_and(|s| s.member)
    }

    /// Whether the path or anything below it is a member.
    pub fn touches(&self, path: &[String]) -> bool {
        self.at(path).is_some_and(|s| !s.is_empty())
    }

    fn at(&self, path: &[String]) -> Option<&FieldSet> {
        path.iter().try_fold(self, |s, key| s.children.get(key))
    }

    /// All members, parents before children.
    pub fn paths(&self) -> Vec<Vec<String>> {
        fn walk(set: &FieldSet, path: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
            if set.member {
                out.push(path.clone());
            }
            for (key, child) in &set.children {
                path.push(key.clone());
                walk(child, path, out);
                path.pop();
            }
        }
        let mut out = Vec::new();
        walk(self, &mut Vec::new(), &mut out);
        out
    }

    /// Reads `fieldsV1`.
    pub fn read(fields: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        let Some(map) = fields.as_object() else {
            return set;
        };
        for (key, value) in map {
            if key == "." {
                set.member = true;
                continue;
            }
            let mut child = FieldSet::read(value);
            child.member |= value.as_object().is_none_or(Map::is_empty);
            set.children.insert(key.clone(), child);
        }
        set
    }

    /// Writes `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut map = Map::new();
        for (key, child) in &self.children {
            let mut inner = child.write();
            if child.member
                && !child.children.is_empty()
                && let Value::Object(o) = &mut inner
            {
                o.insert(".".into(), json!({}));
            }
            map.insert(key.clone(), inner);
        }
        Value::Object(map)
    }
}

/// A path as conflict messages print it: `.spec.containers[name="c"].image`.
pub(crate) fn display(path: &[String]) -> String {
    let mut out = String::new();
    for element in path {
        match element.split_once(':') {
            Some(("f", name)) => {
                out.push('.');
                out.push_str(name);
            }
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                out.push_str(&format!("[{}]", keys.join(",")));
            }
            Some(("v", value)) => out.push_str(&format!("[={value}]")),
            Some((_, index)) => out.push_str(&format!("[{index}]")),
            None => {}
        }
    }
    out
}
