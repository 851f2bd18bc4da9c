//! No text makes the rules or the renderers fail in any other way than by
//! saying that it cannot be read.

#![allow(clippy::unwrap_used)]

mod support;

use lint::{Source, Text};
use proptest::prelude::*;
use support::{GPUNP, deployment, scaled, with_pools};

fn base() -> String {
    let spec = "minReplicaCount: 0\nmaxReplicaCount: 20\nfallback: {failureThreshold: 3, replicas: 1}\n\
                advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 60}}}}";
    let query =
        "avg(rate(DCGM_FI_DEV_GPU_UTIL{deployment=\"ü\",pod=~\"m-.*\"}[5m])) > 3 or vector(0)";
    scaled(
        query,
        "5",
        spec,
        "activationThreshold: \"2\"\nmetricName: x",
    ) + &deployment(
        "vllm/vllm-openai",
        2,
        "nodeSelector: {team: ml}",
        "args: [--max-num-seqs, \"8\"]",
    )
}

/// Pieces that turn one construct into another.
const PIECES: &[&str] = &[
    "",
    "0",
    "-1",
    "99999999999",
    "null",
    "[]",
    "{}",
    "'",
    "\"",
    "{",
    "}",
    "by (pod) ",
    "sum(",
    ")",
    "é",
    "\n",
    "\n---\n",
    "  ",
    "#",
    "|",
    "&a ",
    "*a",
    "1e400",
    "nvidia.com/mig-1g.10gb",
    "topk(2, ",
    "HorizontalPodAutoscaler",
    "ScaledJob",
    "prometheus",
    "cpu",
    "Value",
    "true",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_manifests_are_read_or_refused(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, 0..PIECES.len()), 1..4)
    ) {
        let mut text = base();
        for (at, length, piece) in cuts {
            let start = text.floor_char_boundary(at.index(text.len()));
            let end = text.floor_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, PIECES[piece]);
        }
        let sources = [Source { name: "m.yaml".to_owned(), text }];
        if let Ok(report) = lint::lint(&sources, &with_pools(&[GPUNP])) {
            for finding in &report.findings {
                let span = finding.span;
                prop_assert!(span.line > 0 && span.column > 0);
                let part = sources[0].text.get(span.start..span.end);
                prop_assert!(part.is_some(), "{}: {span:?} is no part of the text", finding.id);
                let line = sources[0].text[..span.start].matches('\n').count() + 1;
                prop_assert_eq!(line, span.line, "{}: {}", finding.id, finding.message);
                let known = lint::RULES.iter().any(|rule| rule.id == finding.id);
                prop_assert!(known && !finding.fix.is_empty() && !finding.message.is_empty());
            }
            let style = Text { colour: false, width: 100 };
            let once = lint::text(&report, &sources, style);
            let again = lint::lint(&sources, &with_pools(&[GPUNP])).unwrap();
            prop_assert_eq!(once, lint::text(&again, &sources, style));
            lint::json(&report, &sources);
            lint::sarif(&report, &sources, "0");
        }
    }
}
