//! What parses, what does not, and how it is said.

use super::ast::{BinOp, Kind};
use super::*;

fn error(src: &str) -> String {
    match parse(src) {
        Ok(e) => panic!("{src} parses as {e:?}"),
        Err(e) => e.render(src),
    }
}

#[test]
fn queries_seen_in_the_wild_parse() {
    for q in [
        "DCGM_FI_DEV_GPU_UTIL{deployment=\"my-gpu-workload\"}",
        "avg(DCGM_FI_DEV_GPU_UTIL{exported_pod=~`a\\.b.*`}) by (pod,)",
        "sum by (\"x.y\") (rate(vllm:request_success_total[2m])) or vector(0)",
        "histogram_quantile(0.95, sum by (le) (rate(http_bucket[5m])))",
        "a / on(x) group_left(y) b",
        "a + on(x) group_left (b)",
        "sum(a) without () > bool 5m",
        "max_over_time(rate(a[1m])[10m:30s] offset -1h @ end())",
        "{\"a.b\", \"c.d\"!=\"x\"} @ -1.5",
        "-2 ^ 2 + +Inf % nan",
        "sum # comment\n(a)",
        "by + on + sum + offset_total",
        "a{b=\"\\u00e9\\x41\\101\"}",
        "rate(a[step()*2 + 1m] offset (1h - range()))",
        "a == bool ignoring(b) fill(-0.5) c",
    ] {
        if let Err(e) = parse(q) {
            panic!("{q}: {}", e.render(q));
        }
    }
}

#[test]
fn operators_bind_as_documented() {
    let e = parse("1 + 2 * 3 ^ 2 ^ 0").unwrap();
    let Kind::Binary {
        op: BinOp::Add,
        rhs,
        ..
    } = e.kind
    else {
        panic!()
    };
    let Kind::Binary {
        op: BinOp::Mul,
        rhs,
        ..
    } = rhs.kind
    else {
        panic!()
    };
    let Kind::Binary {
        op: BinOp::Pow,
        rhs,
        ..
    } = rhs.kind
    else {
        panic!()
    };
    assert!(matches!(rhs.kind, Kind::Binary { op: BinOp::Pow, .. }));
    let e = parse("a or b and c").unwrap();
    assert!(matches!(e.kind, Kind::Binary { op: BinOp::Or, .. }));
    assert!(matches!(parse("-1 ^ 2").unwrap().kind, Kind::Unary { .. }));
}

#[test]
fn errors_say_where_and_what() {
    for (src, want) in [
        ("", "1:1: parse error: no expression found in input"),
        ("sum(", "1:5: parse error: unexpected end of input"),
        (
            "foo{a.b=\"c\"}",
            "1:6: parse error: unexpected character: '.'",
        ),
        (
            "rate(foo)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "nope(foo)",
            "1:1: parse error: unknown function with name \"nope\"",
        ),
        (
            "{}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        (
            "1 > 2",
            "1:1: parse error: comparisons between scalars must use BOOL modifier",
        ),
        ("a\n+ sum(b,", "2:9: parse error: unexpected end of input"),
        (
            "foo[0s]",
            "1:5: parse error: duration must be greater than 0",
        ),
        (
            "1 + on(a) 2",
            "1:1: parse error: vector matching only allowed between instant vectors",
        ),
    ] {
        assert_eq!(error(src), want);
    }
}

#[test]
fn hostile_queries_are_refused_without_harm() {
    let nested = "(".repeat(5_000) + "a" + &")".repeat(5_000);
    let chain = "a".to_owned() + &"+a".repeat(20_000);
    let signs = "-".repeat(50_000) + "a";
    let duration = format!("a[{}1m{}]", "(".repeat(9_000), ")".repeat(9_000));
    let sum = format!("a[1m{}]", "+1m".repeat(9_000));
    for q in [
        nested,
        chain,
        signs,
        duration,
        sum,
        "a".repeat(MAX_QUERY_BYTES + 1),
    ] {
        assert!(parse(&q).is_err());
    }
    assert!(parse("a{b=~\"((((a{1000}){1000}){1000}){1000})\"}").is_err());
    assert!(parse("\"\\xZZ\"").is_err());
    assert!(parse("\"\\").is_err());
    assert!(parse("\"é\\u00é\"").is_err());
}
