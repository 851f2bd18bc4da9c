//! What is compared of a command's answer: texts with everything that differs
//! from run to run (names, times, versions, addresses) replaced.

use std::sync::LazyLock;

use regex::Regex;

/// A normalised answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub rc: String,
    pub stdout: String,
    pub stderr: String,
}

/// Patterns and what stands for them, applied in order to both sides.
static RULES: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let rules: &[(&str, &str)] = &[
        ("11111111-2222-3333-4444-555555555555", "<client-id>"),
        // The recording's nodes were made by hand with the article's kubelet version.
        (r"v1\.31\.7|v1\.37\.2", "<version>"),
        (r"http://<server>", "<server>"),
        // How kubectl calls diff depends on the environment.
        (r"diff -u( -N)?", "diff"),
        (
            r"\b(keda-operator|default-scheduler)-(<host>|0)",
            "$1-<host>",
        ),
        (
            r"<uid(-\d+)?>|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "<uid>",
        ),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4}( \w+)?",
            "<time>",
        ),
        (
            r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
            "<time>",
        ),
        (r#"("?resourceVersion"?: ?"?)\d+"#, "$1<rv>"),
        (r"(Resource Version:\s+)\d+", "$1<rv>"),
        (r"aks-(\w+)-\d{8}-vmss\w{6}", "<$1-node>"),
        (
            r"\b(my-gpu-workload|web|cd|j|cj|bad)-(<rs-hash(-\d)?>|[4-9bcdf]{6,10})(-(<sfx>|[b-z2-9]{5}))?\b",
            "$1-<pod>",
        ),
        (
            r"\b(my-gpu-workload|web|cd|j|cj|bad)-(<rs-hash(-\d)?>|[4-9bcdf]{6,10})(-(<sfx>|[b-z2-9]{5}))?",
            "$1-<pod>",
        ),
        (r"\bj-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "j-<pod>"),
        (
            r#"pod-template-hash"?(=|: )"?[^\s",]+"?"#,
            "pod-template-hash$1<rs-hash>",
        ),
        (r"\.(<event>|[0-9a-f]{14,20})\b", ".<event>"),
        (r"kube-api-access-\w{5}", "kube-api-access-<sfx>"),
        (r"\b(10|192|172|127)\.\d+\.\d+\.\d+(/\d+)?\b", "<ip>"),
        (r"/tmp/\S+|<path>", "<path>"),
        (r"\s*\(x\d+ over [^)]+\)", ""),
        (
            r"(^|[\s(])((\d+y)?(\d+d)?(\d+h)?(\d+m)?(\d+s)|\d+[mhdy](\d+[smhd])?|<age>|<unknown>|<invalid>)($|[\s)])",
            "$1<age>$9",
        ),
        (
            r"(^|[\s(])((\d+y)?(\d+d)?(\d+h)?(\d+m)?(\d+s)|\d+[mhdy](\d+[smhd])?|<age>|<unknown>|<invalid>)($|[\s)])",
            "$1<age>$9",
        ),
        (r"containerd://[0-9a-f]{64}", "containerd://<id>"),
        // klog's time and process.
        (r"^([WIE])\d{4} [\d:.]+ +\d+ ", "$1 "),
        // Whether a ScaledObject's first poll is shown is a race in KEDA: the
        // two recordings of the same commands differ in it.
        (
            r"(v1\.Deployment +\S+ +\d+ +\d+ +\w+ +)(Unknown|False) ",
            "$1<first-poll> ",
        ),
        (r"apiserver-(<id>|[a-z0-9]{26})", "apiserver-<id>"),
        (r" +", " "),
        (r"-{3,}( -{3,})*", "---"),
    ];
    rules
        .iter()
        .map(|(pattern, to)| (Regex::new(pattern).unwrap(), *to))
        .collect()
});

impl Answer {
    pub fn new(rc: &str, stdout: &str, stderr: &str) -> Self {
        Self {
            rc: rc.to_owned(),
            stdout: normalise(stdout),
            stderr: normalise(stderr),
        }
    }

    /// How `got` differs from this, or `None`.
    pub fn difference(&self, got: &Self) -> Option<String> {
        let mut text = String::new();
        if self.rc != got.rc {
            text.push_str(&format!("exit code {} instead of {}\n", got.rc, self.rc));
        }
        for (what, want, got) in [
            ("stdout", &self.stdout, &got.stdout),
            ("stderr", &self.stderr, &got.stderr),
        ] {
            if want != got && sorted(want) != sorted(got) {
                text.push_str(&format!("{what}:\n{}", differing(want, got)));
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

fn normalise(text: &str) -> String {
    // The order of a JSON object's fields means nothing.
    let sorted = serde_json::from_str::<serde_json::Value>(text).ok();
    let sorted = sorted.filter(serde_json::Value::is_object);
    let text = sorted.map_or_else(|| text.to_owned(), |value| format!("{value:#}"));
    let lines = text.lines().map(|line| {
        let mut line = line.to_owned();
        for (pattern, to) in RULES.iter() {
            line = pattern.replace_all(&line, *to).into_owned();
        }
        line.trim_end().to_owned()
    });
    once_each(lines.collect()).join("\n")
}

/// Events by what they say: how often one was repeated, and into how many
/// objects the repeats were folded, depends on the moment.
fn once_each(mut lines: Vec<String>) -> Vec<String> {
    let table = lines.first().is_some_and(|l| l.starts_with("LAST SEEN"));
    let mut events = table;
    let mut seen = std::collections::BTreeSet::new();
    lines.retain(|line| {
        events |= line.starts_with("Events:");
        events &= table || !line.starts_with("Name:");
        !events || seen.insert(line.clone())
    });
    lines
}

/// Rows in any order: names are random, and with them the order of a list.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Lines of one side only, at most 25 of each.
fn differing(want: &str, got: &str) -> String {
    let (mut wanted, mut gotten) = (sorted(want), sorted(got));
    let common: Vec<&str> = {
        let mut rest = gotten.clone();
        wanted
            .iter()
            .copied()
            .filter(|line| match rest.iter().position(|other| other == line) {
                Some(at) => {
                    rest.remove(at);
                    true
                }
                None => false,
            })
            .collect()
    };
    for line in common {
        for side in [&mut wanted, &mut gotten] {
            if let Some(at) = side.iter().position(|other| *other == line) {
                side.remove(at);
            }
        }
    }
    let show = |mark: &str, lines: &[&str]| {
        lines
            .iter()
            .take(25)
            .map(|line| format!("  {mark} {line}\n"))
            .collect::<String>()
    };
    format!("{}{}", show("-", &wanted), show("+", &gotten))
}
