//! Random queries over the series of [`super::series`], within the surface
//! that the engine supports.
//!
//! Left out, because there is no one right answer: `limit_ratio`, which picks
//! by a hash of labels that Prometheus itself changes between builds; `limitk`
//! of other vectors than selectors, which have no order; `count_values` of
//! logarithms and the like, whose last digit is the library's; angles that are
//! computed, for the same reason; dates of numbers that are no times; the order
//! of equal elements in `topk` where Prometheus has none (the steps of a range
//! over anything but selectors; counted values and quantiles of buckets); `__name__` in groupings
//! of computed vectors, which differs between its two ways to remove names; and
//! `timestamp` of a selector with `@` and `offset`, where it forgets the offset.

use fastrand::Rng;

const SELECTORS: &[&str] = &[
    "gpu",
    "gpu",
    "gpu{pod=\"a\"}",
    "gpu{pod=~\"a|b\"}",
    "gpu{node!=\"n1\"}",
    "gpu{node!~\"n1.*\",pod!=\"\"}",
    "requests_total",
    "requests_total",
    "requests_total{code=\"200\"}",
    "lat_bucket",
    "lat_bucket{pod=\"b\"}",
    "up",
    "one",
    "one{pod=\"\"}",
    "nothing",
    "{pod=\"a\"}",
    "{__name__=~\"gpu|up\"}",
    "{__name__=~\"requests_total|lat_bucket\",pod=~\".+\"}",
];
const COUNTERS: &[&str] = &["requests_total", "lat_bucket", "requests_total{pod=\"a\"}"];
const NUMBERS: &[&str] = &[
    "0", "1", "2", "3", "10", "0.5", "100", "-1", "1e3", "0.1", "-2.5", "7", "1e300", "Inf",
    "-Inf", "NaN", "0x10",
];
const RANGES: &[&str] = &[
    "15s", "30s", "45s", "1m", "1m30s", "2m", "5m", "10m", "37s", "1m7s50ms", "20m", "1ms", "90",
];
const STEPS: &[&str] = &["15s", "30s", "1m", "10s", "37s", "2m30s", "7s", "90"];
const OFFSETS: &[&str] = &["15s", "1m", "5m", "37s", "-30s", "-2m", "10m"];
const LABELS: &[&str] = &["pod", "node", "code", "le", "zone", "absent", "__name__"];
const AGGREGATIONS: &[&str] = &[
    "sum", "sum", "avg", "avg", "min", "max", "count", "group", "stddev", "stdvar",
];
const OVER_RANGE: &[&str] = &[
    "rate",
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "first_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "present_over_time",
    "absent_over_time",
    "mad_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
];
const EDGED: &[&str] = &["rate", "increase", "delta", "changes", "resets"];
const OF_VECTOR: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "round",
    "deg",
    "rad",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "absent",
    "timestamp",
    "timestamp",
    "sort",
    "sort_desc",
];
const OF_ANGLE: &[&str] = &["sin", "cos", "tan"];
const OF_TIME: &[&str] = &[
    "hour",
    "minute",
    "month",
    "year",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "days_in_month",
];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISON: &[&str] = &["==", "!=", "<", "<=", ">", ">="];
const SETS: &[&str] = &["and", "or", "unless"];

/// A query and the steps at which it is evaluated; step 0 is one time.
#[derive(Clone, Debug)]
pub struct Query {
    pub text: String,
    pub start: i64,
    pub end: i64,
    pub step: i64,
}

/// Any query, evaluated in and around the half hour after `start`.
pub fn any(rng: &mut Rng, start: i64) -> Query {
    let grid = if rng.bool() { 15_000 } else { 1 };
    let from = start + (rng.i64(-60_000..2_100_000) / grid) * grid;
    let at_once = rng.u32(..3) == 0;
    let mut write = Writer {
        rng,
        at_once,
        epoch: start,
    };
    let depth = write.rng.usize(0..4);
    let text = match write.rng.u32(..20) {
        0 => write.scalar(depth),
        // A range is a result only at one time; elsewhere both must refuse.
        1 => write.matrix(1),
        _ => write.vector(depth),
    };
    let steps = [
        1_000, 15_000, 15_000, 30_000, 60_000, 7_137, 137_000, 300_000,
    ];
    let step = if at_once {
        0
    } else {
        steps[write.rng.usize(..steps.len())]
    };
    let end = from + step * write.rng.i64(0..24) + write.rng.i64(0..=step / 2);
    Query {
        text,
        start: from,
        end: if step == 0 { from } else { end },
        step,
    }
}

struct Writer<'a> {
    rng: &'a mut Rng,
    /// Whether there is one step.
    at_once: bool,
    epoch: i64,
}

impl Writer<'_> {
    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.rng.usize(..of.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            let selector = self.one(SELECTORS);
            return format!("{selector}{}", self.shift());
        }
        let below = depth - 1;
        match self.rng.u32(..100) {
            0..25 => self.over_range(below),
            25..47 => self.aggregation(below),
            47..70 => self.binary(below),
            70..82 => self.of_vector(below),
            82..86 => format!("-{}", self.operand(below)),
            86..90 => self.labels(below),
            90..93 => self.histogram(below),
            93..96 => format!("vector({})", self.scalar(below)),
            96..97 => format!("info({})", self.vector(below)),
            _ => self.vector(0),
        }
    }

    fn over_range(&mut self, below: usize) -> String {
        match self.rng.u32(..12) {
            0 => {
                let level = self.level();
                format!("quantile_over_time({level}, {})", self.matrix(below))
            }
            1 => {
                let ahead = self.one(&["60", "3600", "-30", "0", "0.5"]);
                format!("predict_linear({}, {ahead})", self.matrix(below))
            }
            2 => {
                let (a, b) = (
                    self.one(&["0.1", "0.5", "0.9"]),
                    self.one(&["0.1", "0.5", "0.9"]),
                );
                format!(
                    "double_exponential_smoothing({}, {a}, {b})",
                    self.matrix(below)
                )
            }
            3 => {
                let (f, selector) = (self.one(&["rate", "increase"]), self.one(COUNTERS));
                format!("{f}({selector}[{}])", self.range())
            }
            4 => {
                let (f, selector) = (self.one(EDGED), self.one(SELECTORS));
                let smooth = !matches!(f, "changes" | "resets") && self.chance(50);
                let edge = if smooth { "smoothed" } else { "anchored" };
                format!("{f}({selector}[{}] {edge})", self.range())
            }
            _ => format!("{}({})", self.one(OVER_RANGE), self.matrix(below)),
        }
    }

    fn aggregation(&mut self, below: usize) -> String {
        let inner = self.vector(below);
        let grouping = self.grouping(below == 0);
        match self.rng.u32(..10) {
            0 => {
                let f = self.one(&["topk", "bottomk"]);
                let unordered = ["count_values", "histogram_"];
                let ordered =
                    below == 0 || (self.at_once && !unordered.iter().any(|f| inner.contains(f)));
                let k = if ordered {
                    self.one(&["1", "2", "3", "0", "50"])
                } else {
                    "50"
                };
                format!("{f}{grouping}({k}, {inner})")
            }
            1 => format!("quantile{grouping}({}, {inner})", self.level()),
            2 => format!("count_values{grouping}(\"value\", {})", self.one(SELECTORS)),
            3 => {
                let k = self.one(&["1", "2", "0", "50"]);
                format!("limitk{grouping}({k}, {})", self.one(SELECTORS))
            }
            _ => format!("{}{grouping}({inner})", self.one(AGGREGATIONS)),
        }
    }

    fn binary(&mut self, below: usize) -> String {
        let side = self.rng.usize(..=below);
        if self.chance(35) {
            let (scalar, vector) = (self.scalar(side.min(1)), self.operand(below));
            let op = self.compute();
            return if self.rng.bool() {
                format!("{vector} {op} {scalar}")
            } else {
                format!("{scalar} {op} {vector}")
            };
        }
        let left = self.operand(below);
        // Often the same series twice: random pairs seldom match.
        let right = if self.chance(30) {
            left.clone()
        } else {
            self.operand(side)
        };
        let matching = self.matching();
        if self.chance(25) {
            return format!("{left} {}{matching} {right}", self.one(SETS));
        }
        let op = self.compute();
        let group = if matching.is_empty() || self.chance(50) {
            String::new()
        } else {
            let include = if self.rng.bool() {
                self.list(2, true)
            } else {
                String::new()
            };
            format!(" {}({include})", self.one(&["group_left", "group_right"]))
        };
        let fill = if self.chance(10) {
            let f = self.one(&["fill", "fill_left", "fill_right"]);
            format!(" {f}({})", self.one(&["0", "1", "NaN", "-3"]))
        } else {
            String::new()
        };
        format!("{left} {op}{matching}{group}{fill} {right}")
    }

    fn compute(&mut self) -> String {
        if self.chance(60) {
            return self.one(ARITHMETIC).to_owned();
        }
        let bool = if self.chance(40) { " bool" } else { "" };
        format!("{}{bool}", self.one(COMPARISON))
    }

    fn of_vector(&mut self, below: usize) -> String {
        let inner = self.vector(below);
        match self.rng.u32(..10) {
            0 => format!(
                "clamp({inner}, {}, {})",
                self.one(NUMBERS),
                self.one(NUMBERS)
            ),
            1 => format!("clamp_min({inner}, {})", self.scalar(0)),
            2 => format!("clamp_max({inner}, {})", self.scalar(0)),
            3 => format!(
                "round({inner}, {})",
                self.one(&["0.1", "5", "10", "0", "-3", "NaN"])
            ),
            4 => {
                let f = self.one(OF_TIME);
                let shift = self.rng.i64(-400_000_000..400_000_000);
                let inner = if inner.contains('@') { "gpu" } else { &*inner };
                format!("{f}(timestamp({inner}) + {shift})")
            }
            5 => format!("{}({})", self.one(OF_ANGLE), self.one(SELECTORS)),
            _ => {
                let f = self.one(OF_VECTOR);
                let forgets = f == "timestamp" && inner.contains('@') && inner.contains("offset");
                format!("{}({inner})", if forgets { "abs" } else { f })
            }
        }
    }

    fn labels(&mut self, below: usize) -> String {
        let inner = self.vector(below);
        let (to, from) = (self.one(LABELS), self.one(LABELS));
        match self.rng.u32(..4) {
            0 => format!("label_join({inner}, \"{to}\", \"-\", \"{from}\", \"node\")"),
            1 => {
                let f = self.one(&["sort_by_label", "sort_by_label_desc"]);
                format!("{f}({inner}, \"{from}\", \"pod\", \"node\", \"code\", \"le\")")
            }
            _ => {
                let with = self.one(&["$1", "x", "", "x-$1-y", "${1}0"]);
                let pattern = self.one(&["(.*)", "n(.)", "(a|b)", "", "(?P<all>.+)"]);
                format!("label_replace({inner}, \"{to}\", \"{with}\", \"{from}\", \"{pattern}\")")
            }
        }
    }

    fn histogram(&mut self, below: usize) -> String {
        let inner = match self.rng.u32(..4) {
            0 => self.vector(below),
            1 => "lat_bucket".to_owned(),
            2 => format!("rate(lat_bucket[{}])", self.range()),
            _ => format!("sum by (le) (rate(lat_bucket[{}]))", self.range()),
        };
        if self.chance(25) {
            let (a, b) = (
                self.one(&["0", "0.05", "0.5", "-Inf"]),
                self.one(&["0.7", "1", "2", "+Inf"]),
            );
            return format!("histogram_fraction({a}, {b}, {inner})");
        }
        format!("histogram_quantile({}, {inner})", self.level())
    }

    fn scalar(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.rng.u32(..12) {
                0 => "time()".to_owned(),
                1 => "pi()".to_owned(),
                2 => self
                    .one(&["start()", "end()", "step()", "range()"])
                    .to_owned(),
                _ => self.one(NUMBERS).to_owned(),
            };
        }
        let below = depth - 1;
        match self.rng.u32(..10) {
            0..4 => format!("scalar({})", self.vector(below)),
            4 => format!("-({})", self.scalar(below)),
            5 => {
                let f = self.one(&["min_of", "max_of"]);
                format!("{f}({}, {})", self.scalar(below), self.scalar(below))
            }
            6 => {
                let (a, b) = (self.scalar(below), self.scalar(below));
                format!("({a} {} bool {b})", self.one(COMPARISON))
            }
            _ => {
                let (a, b) = (self.scalar(below), self.scalar(below));
                format!("({a} {} {b})", self.one(ARITHMETIC))
            }
        }
    }

    fn matrix(&mut self, depth: usize) -> String {
        if depth == 0 || self.chance(60) {
            let selector = self.one(SELECTORS);
            return format!("{selector}[{}]{}", self.range(), self.shift());
        }
        let inner = self.operand(depth - 1);
        let step = if self.chance(25) { "" } else { self.one(STEPS) };
        format!("{inner}[{}:{step}]{}", self.range(), self.shift())
    }

    fn operand(&mut self, depth: usize) -> String {
        format!("({})", self.vector(depth))
    }

    fn range(&mut self) -> String {
        if self.chance(4) {
            return self
                .one(&[
                    "1m + 15s",
                    "2 * 45s",
                    "step() + 1m",
                    "range() / 2 + 1m",
                    "5m - 30s",
                ])
                .to_owned();
        }
        self.one(RANGES).to_owned()
    }

    /// `offset` and `@`.
    fn shift(&mut self) -> String {
        let offset = |w: &mut Self| format!(" offset {}", w.one(OFFSETS));
        match self.rng.u32(..30) {
            0..3 => offset(self),
            3 => " @ start()".to_owned(),
            4 => " @ end()".to_owned(),
            5 => {
                let at = self.epoch + self.rng.i64(0..2_000_000);
                format!(" @ {}.{:03}", at / 1_000, at % 1_000)
            }
            6 => format!(" @ end(){}", offset(self)),
            _ => String::new(),
        }
    }

    fn grouping(&mut self, named: bool) -> String {
        match self.rng.u32(..5) {
            0..2 => format!(" by ({}) ", self.list(2, named)),
            2 => format!(" without ({}) ", self.list(2, named)),
            _ => String::new(),
        }
    }

    fn matching(&mut self) -> String {
        match self.rng.u32(..6) {
            0..2 => format!(" on ({})", self.list(2, true)),
            2..4 => format!(" ignoring ({})", self.list(2, true)),
            _ => String::new(),
        }
    }

    fn list(&mut self, most: usize, named: bool) -> String {
        let mut names: Vec<&str> = (0..self.rng.usize(..=most))
            .map(|_| self.one(LABELS))
            .collect();
        names.retain(|name| named || *name != "__name__");
        names.dedup();
        names.join(", ")
    }

    fn level(&mut self) -> &'static str {
        self.one(&["0.5", "0.9", "0.99", "0", "1", "0.25", "-1", "2", "NaN"])
    }
}
