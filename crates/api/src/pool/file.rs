//! A file of pools: a line for each, or a YAML list.

use serde_json::Value;

use super::Pool;
use crate::yaml;

impl Pool {
    /// Reads a file of pools: one a line as `--pool` takes it, blank lines and
    /// `#` comments apart, or a YAML (or JSON) list of such texts or of maps
    /// with the same keys. It is a list if its first line that says something
    /// opens one.
    ///
    /// # Errors
    ///
    /// What is wrong and where in the file; a file without any pool.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, String> {
        let said = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let first = text.lines().map(str::trim).find(said);
        let opens_list = first.is_some_and(|line| line.starts_with(['-', '[']));
        let described = match opens_list {
            true => list(text)?,
            false => lines(text),
        };
        let mut pools: Vec<Self> = Vec::new();
        for (place, text) in described {
            let pool = Self::read(&text).map_err(|problem| format!("{place}: {problem}"))?;
            if pools.iter().any(|p| p.name == pool.name) {
                let name = pool.name;
                return Err(format!("{place}: there is a pool \"{name}\" already"));
            }
            pools.push(pool);
        }
        match pools.is_empty() {
            true => Err("no pool in it: write name=gpunp,gpus=1,max=3".to_owned()),
            false => Ok(pools),
        }
    }
}

/// The descriptions with their places.
type Described = Vec<(String, String)>;

fn lines(text: &str) -> Described {
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(n, line)| (format!("line {}", n + 1), line.to_owned()))
        .collect()
}

fn list(text: &str) -> Result<Described, String> {
    let read = yaml::parse_documents_with_places(text).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    for document in read {
        let Value::Array(items) = &document.value else {
            let line = document.line;
            return Err(format!("line {line}: a list of pools is expected here"));
        };
        for (n, item) in items.iter().enumerate() {
            let at = document.places.get(&format!("/{n}"));
            let place = format!("line {}", at.map_or(document.line, |p| p.value.line));
            let text = of_item(item).map_err(|problem| format!("{place}: {problem}"))?;
            out.push((place, text));
        }
    }
    Ok(out)
}

/// `{name: gpunp, max: 3, taint: [a=b:NoSchedule]}` as `--pool` takes it.
fn of_item(item: &Value) -> Result<String, String> {
    let plain = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) => Ok(value.to_string()),
        other => Err(format!("{other} is neither a text nor a number")),
    };
    match item {
        Value::String(text) => Ok(text.clone()),
        Value::Object(fields) => {
            let mut parts = Vec::new();
            for (key, value) in fields {
                match value {
                    Value::Array(list) => {
                        for one in list {
                            parts.push(format!("{key}={}", plain(one)?));
                        }
                    }
                    one => parts.push(format!("{key}={}", plain(one)?)),
                }
            }
            Ok(parts.join(","))
        }
        other => Err(format!(
            "{other} is no pool: write name=…,sku=…,max=… or a map of these"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_of_pools_are_read_in_both_forms() {
        let lines = "# ours\nname=a,gpus=1,max=3\n\nname=b,gpus=2\n";
        let list = "# ours\n- name=a,gpus=1,max=3\n- {name: b, gpus: 2, taint: [x=y:NoSchedule]}\n";
        assert_eq!(Pool::parse_file(lines).unwrap()[1].gpus, 2);
        assert_eq!(Pool::parse_file(list).unwrap()[1].taints.len(), 1);
    }

    #[test]
    fn an_error_names_the_line() {
        let error = |text| Pool::parse_file(text).unwrap_err();
        assert!(error("name=a,gpus=1\nname=b,gpu=2\n").starts_with("line 2: unknown key"));
        assert!(error("- name=a,gpus=1\n- name=a,gpus=1\n").starts_with("line 2: there is"));
        let broken = error("- name=a,gpus=1\n- {name: b\n");
        assert!(broken.starts_with("line "), "{broken}");
        assert!(error("- [1]\n").contains("line 1: [1] is no pool"));
        assert!(error("- name=a,gpus=1\n---\nx: 1\n").starts_with("line 3: a list"));
        assert!(error("# nothing\n").contains("no pool in it"));
    }
}
