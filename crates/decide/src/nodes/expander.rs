//! Which pool grows when several would do.
//!
//! Without more the price decides. Priorities come before it: they are read
//! from the ConfigMap of the cluster autoscaler's priority expander, so that a
//! cluster keeps its own.

use regex::Regex;

/// Pool priorities: a number and the patterns of the groups that have it.
#[derive(Clone, Debug, Default)]
pub struct Priorities(Vec<(i64, Vec<Regex>)>);

/// What is wrong with a list of priorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write e.g. \"10: [aks-gpunp-.*]\", one number and its list of patterns a line")]
pub struct PrioritiesError(String);

impl Priorities {
    /// Reads the ConfigMap's key `priorities`: a number each with a list of
    /// regular expressions on the group's name.
    ///
    /// # Errors
    /// When the text is no such list, or a pattern is not valid.
    pub fn parse(text: &str) -> Result<Self, PrioritiesError> {
        let wrong = |why: String| PrioritiesError(why);
        let value = api::yaml::parse(text).map_err(|e| wrong(e.to_string()))?;
        let map = value
            .as_object()
            .ok_or_else(|| wrong("priorities are not a map".to_owned()))?;
        let mut out = Vec::new();
        for (key, patterns) in map {
            let number: i64 = key
                .parse()
                .map_err(|_| wrong(format!("priority \"{key}\" is not a whole number")))?;
            let list = patterns
                .as_array()
                .ok_or_else(|| wrong(format!("priority {key} has no list of patterns")))?;
            let mut read = Vec::new();
            for pattern in list {
                let pattern = pattern
                    .as_str()
                    .ok_or_else(|| wrong(format!("priority {key}: {pattern} is not a text")))?;
                // The matcher's time and memory are linear; a size limit bounds the rest.
                let pattern = regex::RegexBuilder::new(pattern)
                    .size_limit(1 << 16)
                    .build()
                    .map_err(|e| wrong(format!("priority {key}: pattern \"{pattern}\": {e}")))?;
                read.push(pattern);
            }
            out.push((number, read));
        }
        out.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        Ok(Self(out))
    }

    /// The highest priority that a group has. A group without one is used only
    /// where no other would do.
    pub fn of(&self, group: &str) -> Option<i64> {
        self.0
            .iter()
            .find(|(_, patterns)| patterns.iter().any(|p| p.is_match(group)))
            .map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_read_as_the_priority_expander_reads_them() {
        let text = "10:\n  - .*spot.*\n50:\n  - ^aks-gpu\n  - h100\n";
        let read = Priorities::parse(text).unwrap();
        assert_eq!(read.of("aks-spot-1-vmss"), Some(10));
        assert_eq!(
            read.of("aks-gpuspot-1-vmss"),
            Some(50),
            "the highest counts"
        );
        assert_eq!(read.of("aks-cpu-1-vmss"), None);
        let error = |text| Priorities::parse(text).unwrap_err().to_string();
        assert!(error("high: [a]").contains("\"high\" is not a whole number"));
        assert!(error("10: gpu").contains("priority 10 has no list"));
        assert!(error("10: ['(']").contains("pattern \"(\""));
        assert!(error("[1]").contains("not a map"));
    }
}
