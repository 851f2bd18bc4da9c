//! What `kubectl explain` says about types and fields; [`descriptions.txt`] has the texts.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A text, and the values that are allowed, if only some are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Described {
    pub text: &'static str,
    pub values: Vec<&'static str>,
}

/// By type (`*` for all objects) and field (empty for the type itself).
static ALL: LazyLock<BTreeMap<&str, BTreeMap<&str, Described>>> = LazyLock::new(|| {
    let mut all: BTreeMap<&str, BTreeMap<&str, Described>> = BTreeMap::new();
    let mut put = |of, field, text| {
        all.entry(of).or_default().insert(field, described(text));
    };
    let mut of = "";
    for line in include_str!("descriptions.txt").lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match first {
            "#" => {}
            "*" => {
                let (field, text) = rest.split_once(' ').unwrap_or((rest, ""));
                put("*", field, text);
            }
            "T" => {
                let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
                of = name;
                put(of, "", text);
            }
            field => put(of, field, rest),
        }
    }
    all
});

fn described(text: &'static str) -> Described {
    let values = text.strip_prefix('{').and_then(|t| t.split_once("} "));
    match values {
        Some((values, text)) => Described {
            text,
            values: values.split(',').collect(),
        },
        None => Described {
            text,
            values: Vec::new(),
        },
    }
}

/// About a type of the table.
pub(super) fn of_type(name: &str) -> Option<&'static str> {
    ALL.get(name)?.get("").map(|d| d.text)
}

/// About a field of a type of the table.
pub(super) fn of_field(ty: &str, field: &str) -> Option<&'static Described> {
    ALL.get(ty)?.get(field)
}

/// About a field that every object has.
pub(super) fn of_object(field: &str) -> Option<&'static Described> {
    ALL.get("*")?.get(field)
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;

    #[test]
    fn each_text_is_about_something_that_is_there() {
        let table = Table::get();
        for (ty, texts) in ALL.iter().filter(|(ty, _)| **ty != "*") {
            let index = table.index(ty).unwrap_or_else(|| panic!("no type {ty}"));
            let fields = &table.ty(index).fields;
            for (field, Described { text, .. }) in texts {
                let known = field.is_empty() || fields.iter().any(|f| f.name == *field);
                assert!(known, "{ty} has no field {field}");
                assert!(text.ends_with('.') && !text.contains("  "), "{text}");
            }
        }
    }
}
