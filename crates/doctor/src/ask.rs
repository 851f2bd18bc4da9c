//! What a metric store is asked about a trigger's query, and what the answers
//! say of each label matcher.

use std::collections::{BTreeMap, BTreeSet};

use api::near;
use lint::query::Query;
use promql::labels::{METRIC_NAME, MatchOp, Matcher, is_label_name, quote};

use crate::seen::MatcherSeen;

/// Series of one name that are looked at, the newest first: what a hundred
/// nodes have, in an answer of less than a megabyte.
pub const MOST: usize = 2_000;
/// Selectors of one query that are looked up.
const SELECTORS: usize = 8;
/// Values that are shown of a label.
const VALUES: usize = 3;

/// A series selector of a query.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The selector, without range and offset.
    pub text: String,
    /// Name of the series.
    pub name: String,
    /// The other matchers.
    pub matchers: Vec<Matcher>,
}

/// The selectors of a query that name their series.
///
/// # Errors
/// What is wrong with the query.
pub fn selectors(text: &str) -> Result<Vec<Wanted>, String> {
    let query = Query::parse(text).map_err(|error| error.render(text))?;
    let mut found: Vec<Wanted> = Vec::new();
    for used in query.uses() {
        if used.name.is_empty() || found.len() == SELECTORS {
            continue;
        }
        let matchers: Vec<Matcher> = used
            .matchers
            .iter()
            .filter(|m| m.name != METRIC_NAME)
            .cloned()
            .collect();
        let listed: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        let selector = match listed.as_slice() {
            [] => named(used.name),
            _ if plain(used.name) => format!("{}{{{}}}", used.name, listed.join(",")),
            _ => format!("{{{},{}}}", by_name(used.name), listed.join(",")),
        };
        if found.iter().all(|known| known.text != selector) {
            found.push(Wanted {
                text: selector,
                name: used.name.to_owned(),
                matchers,
            });
        }
    }
    Ok(found)
}

fn plain(name: &str) -> bool {
    is_label_name(&name.replace(':', "_"))
}

fn by_name(name: &str) -> String {
    format!("__name__={}", quote(name))
}

fn named(name: &str) -> String {
    if plain(name) {
        name.to_owned()
    } else {
        format!("{{{}}}", by_name(name))
    }
}

impl Wanted {
    /// How many series it selects.
    pub fn matching(&self) -> String {
        format!("count({})", self.text)
    }

    /// Time of the newest sample of those, in seconds since the epoch.
    pub fn newest(&self) -> String {
        format!("max(timestamp({}))", self.text)
    }

    /// The newest series of its name, with the times of their samples as values.
    pub fn named(&self) -> String {
        format!("topk({MOST}, timestamp({}))", named(&self.name))
    }

    /// Time of the newest sample of its name within some hours.
    pub fn last_seen(&self) -> String {
        let name = named(&self.name);
        format!("max(max_over_time(timestamp({name})[6h:5m]))")
    }

    /// Names that begin as its own does; not every store takes it.
    pub fn relatives(&self) -> Option<String> {
        let end = self.name.find(['_', ':'])?;
        let prefix = &self.name[..=end];
        let pattern = quote(&format!("{prefix}.*"));
        Some(format!("group by (__name__) ({{__name__=~{pattern}}})"))
    }

    /// The nearest of some names to its own.
    pub fn near_names<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut names: Vec<(usize, &str)> = names
            .into_iter()
            .map(|name| (near::edits(name, &self.name), name))
            .collect();
        names.sort_unstable();
        let near = names.into_iter().take(VALUES);
        near.map(|(_, name)| name.to_owned()).collect()
    }

    /// Holds each matcher against the label sets of the series of its name.
    pub fn examine(&self, series: &[BTreeMap<String, String>]) -> Vec<MatcherSeen> {
        let value = |labels: &BTreeMap<String, String>, matcher: &Matcher| {
            let value = labels.get(&matcher.name).map_or("", String::as_str);
            matcher.matches(value)
        };
        let mut left: Vec<&BTreeMap<String, String>> = series.iter().collect();
        let mut seen = Vec::new();
        for matcher in &self.matchers {
            left.retain(|labels| value(labels, matcher));
            let alone = series.iter().filter(|labels| value(labels, matcher));
            let having = series.iter().filter_map(|labels| labels.get(&matcher.name));
            let having: Vec<&str> = having.map(String::as_str).collect();
            let values: BTreeSet<&str> = having.iter().copied().collect();
            let alone = alone.count();
            seen.push(MatcherSeen {
                matcher: matcher.to_string(),
                label: matcher.name.clone(),
                alone: alone as u64,
                together: left.len() as u64,
                with_label: having.len() as u64,
                instead: match alone {
                    0 => instead(matcher, series),
                    _ => None,
                },
                values: nearest_values(matcher, &values),
            });
        }
        seen
    }
}

fn nearest_values(matcher: &Matcher, values: &BTreeSet<&str>) -> Vec<String> {
    let wanted = core(&matcher.value);
    let mut values: Vec<(usize, &str)> = values
        .iter()
        .map(|value| (near::edits(value, wanted), *value))
        .collect();
    values.sort_unstable();
    let near = values.into_iter().take(VALUES);
    near.map(|(_, value)| value.to_owned()).collect()
}

/// The part of a pattern that is a plain name: `my-gpu-workload-.*` without
/// what follows.
fn core(pattern: &str) -> &str {
    pattern
        .trim_start_matches(['^', '.', '*'])
        .trim_end_matches(['$', '*', '.', '+', '-'])
}

/// A matcher that selects something and may say what this one was meant to.
///
/// A label under another name comes first (`exported_pod` for `pod`), then a
/// value with a typing error, then a label whose values contain the value, such
/// as the pods of a Deployment.
fn instead(matcher: &Matcher, series: &[BTreeMap<String, String>]) -> Option<String> {
    if matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex) {
        return None;
    }
    let all: BTreeSet<&str> = series
        .iter()
        .flat_map(|labels| labels.keys().map(String::as_str))
        .filter(|label| *label != METRIC_NAME)
        .collect();
    let bare = matcher.name.trim_start_matches("exported_");
    let exported = format!("exported_{bare}");
    let likely = [bare, exported.as_str()]
        .into_iter()
        .filter(|label| *label != matcher.name)
        .chain(near::meant(&matcher.name, all.iter().copied()));
    for label in likely {
        let renamed = Matcher::new(label, matcher.op, &matcher.value).ok()?;
        if series.iter().any(|labels| {
            let value = labels.get(label).map_or("", String::as_str);
            renamed.matches(value)
        }) {
            return Some(renamed.to_string());
        }
    }
    let values = |label: &str| -> BTreeSet<&str> {
        let found = series.iter().filter_map(|labels| labels.get(label));
        found.map(String::as_str).collect()
    };
    if matcher.op == MatchOp::Equal
        && let Some(near) = near::meant(&matcher.value, values(&matcher.name))
    {
        return Some(format!("{}={}", matcher.name, quote(near)));
    }
    let wanted = core(&matcher.value);
    if wanted.len() < 3 {
        return None;
    }
    // A pod's name begins with its workload's; one in the middle may be anything.
    let begins = |label: &&str| {
        let values = values(label);
        values.iter().any(|v| *v != wanted && v.starts_with(wanted))
    };
    let same = |label: &&str| values(label).contains(wanted);
    let others = || all.iter().copied().filter(|label| *label != matcher.name);
    if let Some(label) = others().find(same) {
        return Some(format!("{label}={}", quote(wanted)));
    }
    // The label that is about pods, where several begin so.
    let mut labels: Vec<&str> = others().filter(begins).collect();
    labels.sort_by_key(|label| !label.ends_with("pod"));
    let label = labels.first()?;
    Some(format!("{label}=~{}", quote(&format!("{wanted}-.*"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(sets: &[&[(&str, &str)]]) -> Vec<BTreeMap<String, String>> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        sets.iter()
            .map(|set| set.iter().map(own).collect())
            .collect()
    }

    fn wanted(query: &str) -> Wanted {
        selectors(query).unwrap().remove(0)
    }

    #[test]
    fn a_query_is_taken_apart_into_its_selectors() {
        let texts = |query: &str| -> Vec<String> {
            let found = selectors(query).unwrap().into_iter();
            found.map(|w| w.text).collect()
        };
        assert_eq!(
            texts("avg(rate(a:b{x=\"1\",y=~\"2.*\"}[5m] offset 1m)) / max(c) + max(c)"),
            ["a:b{x=\"1\",y=~\"2.*\"}", "c"]
        );
        assert_eq!(
            texts("{\"my.gpu\",a=\"1\"}"),
            ["{__name__=\"my.gpu\",a=\"1\"}"]
        );
        assert_eq!(texts("vector(1) + count({job=\"x\"})"), [""; 0]);
        assert!(selectors("avg(").is_err());
        let asked = wanted("DCGM_FI_DEV_GPU_UTIL{a=\"b\"}");
        assert_eq!(
            asked.relatives().unwrap(),
            "group by (__name__) ({__name__=~\"DCGM_.*\"})"
        );
        for query in [
            asked.matching(),
            asked.newest(),
            asked.named(),
            asked.last_seen(),
        ] {
            promql::parser::parse(&query).unwrap();
        }
    }

    #[test]
    fn each_matcher_is_held_against_what_is_there() {
        let stock = series(&[
            &[
                ("exported_pod", "my-gpu-workload-5d9c-x"),
                ("exported_namespace", "default"),
                ("pod", "dcgm-exporter-abcde"),
                ("gpu", "0"),
            ],
            &[
                ("exported_pod", "other-1"),
                ("pod", "dcgm-exporter-vwxyz"),
                ("gpu", "0"),
            ],
        ]);
        let first = |query: &str| wanted(query).examine(&stock).remove(0);
        // (matcher, series that satisfy it, series with the label, instead)
        for (matcher, alone, having, instead) in [
            (
                "deployment=\"my-gpu-workload\"",
                0,
                0,
                Some("exported_pod=~\"my-gpu-workload-.*\""),
            ),
            (
                "pod=~\"my-gpu-workload-.*\"",
                0,
                2,
                Some("exported_pod=~\"my-gpu-workload-.*\""),
            ),
            (
                "namespace=\"default\"",
                0,
                0,
                Some("exported_namespace=\"default\""),
            ),
            (
                "exported_namespace=\"defualt\"",
                0,
                1,
                Some("exported_namespace=\"default\""),
            ),
            (
                "exported_pdo=~\"other.*\"",
                0,
                0,
                Some("exported_pod=~\"other.*\""),
            ),
            ("gpu=\"0\"", 2, 2, None),
            ("deployment!=\"x\"", 2, 0, None),
            ("zone=\"eu\"", 0, 0, None),
        ] {
            let seen = first(&format!("q{{{matcher}}}"));
            assert_eq!(
                (seen.alone, seen.with_label, seen.instead.as_deref()),
                (alone, having, instead),
                "{matcher}"
            );
            assert_eq!(seen.matcher, matcher);
        }
        let two = wanted("q{exported_pod=\"other-1\",exported_namespace=\"default\"}");
        let two = two.examine(&stock);
        assert_eq!((two[1].alone, two[1].together), (1, 0));
        let near = wanted("q{exported_pod=\"othr-1\"}").examine(&stock);
        assert_eq!(near[0].values[0], "other-1");
    }

    #[test]
    fn the_nearest_names_come_first() {
        let asked = wanted("DCGM_FI_DEV_GPU_UTILL");
        let names = ["DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_UTIL", "up", "a"];
        assert_eq!(asked.near_names(names)[0], "DCGM_FI_DEV_GPU_UTIL");
    }
}
