//! Function calls: dispatch, functions of instant vectors and of time.

use super::aggregate::by_value;
use super::histogram::Wanted;
use super::labelfns::absent_labels;
use super::select::newest;
use super::{Evaluator, QueryError, Result, Sample, Value, no_duplicates, time};
use crate::labels::Labels;
use crate::number::{format_bound, is_histogram};
use crate::parser::ast::{Edges, Expr, Kind, ValueType};
use crate::parser::functions::Function;

impl Evaluator<'_> {
    pub(super) fn call(
        &mut self,
        e: &Expr,
        func: &Function,
        args: &[Expr],
        t: i64,
    ) -> Result<Value> {
        let seconds = t as f64 / 1e3;
        let scalar = |v: f64| Ok(Value::Scalar(v));
        match func.name {
            "time" => scalar(seconds),
            "pi" => scalar(std::f64::consts::PI),
            "start" => scalar(self.span.start as f64 / 1e3),
            "end" => scalar(self.span.end as f64 / 1e3),
            "step" => scalar(self.span.step as f64 / 1e3),
            "range" => scalar((self.span.end - self.span.start) as f64 / 1e3),
            "min_of" => scalar(go_min(self.scalar(&args[0], t)?, self.scalar(&args[1], t)?)),
            "max_of" => scalar(go_max(self.scalar(&args[0], t)?, self.scalar(&args[1], t)?)),
            "scalar" => {
                let v = self.vector(&args[0], t)?;
                let mut floats = v.iter().filter(|s| !is_histogram(s.v));
                match (floats.next(), floats.next()) {
                    (Some(s), None) => scalar(s.v),
                    _ => scalar(f64::NAN),
                }
            }
            _ => self.vector_call(e, func, args, t).map(Value::Vector),
        }
    }

    fn vector_call(
        &mut self,
        e: &Expr,
        func: &Function,
        args: &[Expr],
        t: i64,
    ) -> Result<Vec<Sample>> {
        let seconds = t as f64 / 1e3;
        match func.name {
            "vector" => Ok(vec![Sample::new(
                Labels::empty(),
                self.scalar(&args[0], t)?,
            )]),
            "label_replace" => self.label_replace(args, t),
            "label_join" => self.label_join(args, t),
            "info" => self.info(e, args, t),
            "absent" => {
                let v = self.vector(&args[0], t)?;
                let gone = Sample::new(absent_labels(args[0].inner()), 1.0);
                Ok(if v.is_empty() { vec![gone] } else { Vec::new() })
            }
            "absent_over_time" => {
                let mut any = false;
                self.for_each_series(&args[0], t, |_, _| {
                    any = true;
                    Ok(())
                })?;
                let gone = Sample::new(absent_labels(args[0].inner()), 1.0);
                Ok(if any { Vec::new() } else { vec![gone] })
            }
            "timestamp" | "start_timestamp" => self.timestamps(func.name, &args[0], t),
            "sort" | "sort_desc" => {
                let mut v = self.vector(&args[0], t)?;
                if self.sort_is_pointless(e) {
                    return Ok(v);
                }
                v.retain(|s| !is_histogram(s.v));
                v.sort_by(|a, b| by_value(a.v, b.v, func.name == "sort_desc"));
                Ok(v)
            }
            "sort_by_label" | "sort_by_label_desc" => {
                let mut v = self.vector(&args[0], t)?;
                if self.sort_is_pointless(e) {
                    return Ok(v);
                }
                let mut names = Vec::new();
                for a in &args[1..] {
                    names.push(self.text(a, t)?);
                }
                v.sort_by(|a, b| {
                    let by = names
                        .iter()
                        .map(|n| natural_order(a.labels.get(n), b.labels.get(n)));
                    let o = by.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then);
                    o.then_with(|| a.labels.cmp(&b.labels))
                });
                if func.name.ends_with("desc") {
                    v.reverse();
                }
                Ok(v)
            }
            "histogram_quantile" => {
                let q = self.scalar(&args[0], t)?;
                let v = self.vector(&args[1], t)?;
                self.histogram_quantile(
                    &[Wanted {
                        q,
                        at: &args[0],
                        label: None,
                    }],
                    v,
                    &args[1],
                )
            }
            "histogram_quantiles" => {
                let v = self.vector(&args[0], t)?;
                let label = self.text(&args[1], t)?;
                let mut qs = Vec::new();
                for a in &args[2..] {
                    let q = self.scalar(a, t)?;
                    let label = Some((label.clone(), format_bound(q)));
                    qs.push(Wanted { q, at: a, label });
                }
                let v = self.histogram_quantile(&qs, v, &args[0])?;
                no_duplicates(v.iter().map(|s| &s.labels))?;
                Ok(v)
            }
            "histogram_fraction" => {
                let (lo, hi) = (self.scalar(&args[0], t)?, self.scalar(&args[1], t)?);
                let v = self.vector(&args[2], t)?;
                self.histogram_fraction(lo, hi, v, &args[2])
            }
            name if name.starts_with("histogram_") => {
                // These look at native histograms only, so that floats have no result.
                let v = self.vector(&args[0], t)?;
                v.iter().try_for_each(|s| self.refuse_histogram(s.v))?;
                Ok(Vec::new())
            }
            "clamp" => {
                let (lo, hi) = (self.scalar(&args[1], t)?, self.scalar(&args[2], t)?);
                // The argument is evaluated all the same: it may have to be refused.
                let clamped = self.map(&args[0], t, |v| go_max(lo, go_min(hi, v)))?;
                Ok(if hi < lo { Vec::new() } else { clamped })
            }
            "clamp_min" => {
                let lo = self.scalar(&args[1], t)?;
                self.map(&args[0], t, |v| go_max(lo, v))
            }
            "clamp_max" => {
                let hi = self.scalar(&args[1], t)?;
                self.map(&args[0], t, |v| go_min(hi, v))
            }
            "round" => {
                let to = if args.len() > 1 {
                    self.scalar(&args[1], t)?
                } else {
                    1.0
                };
                let inverse = 1.0 / to;
                self.map(&args[0], t, |v| (v * inverse + 0.5).floor() / inverse)
            }
            "minute" | "hour" | "day_of_week" | "day_of_month" | "day_of_year"
            | "days_in_month" | "month" | "year" => match args.first() {
                None => Ok(vec![Sample::new(
                    Labels::empty(),
                    time::field(func.name, seconds),
                )]),
                Some(a) => self.map(a, t, |v| time::field(func.name, v)),
            },
            name => match math(name) {
                Some(f) => self.map(&args[0], t, f),
                None => self.range_call(func, args, t),
            },
        }
    }

    /// Applies `f` to each float; histograms have no result.
    fn map(&mut self, arg: &Expr, t: i64, f: impl Fn(f64) -> f64) -> Result<Vec<Sample>> {
        let mut v = self.vector(arg, t)?;
        v.retain(|s| !is_histogram(s.v));
        for s in &mut v {
            s.v = f(s.v);
            s.drop_name = true;
        }
        Ok(v)
    }

    fn sort_is_pointless(&mut self, e: &Expr) -> bool {
        let range = self.span.step > 0;
        if range {
            let text = "sort is ineffective for range queries since results are always ordered \
                        by labels";
            self.warn(e, text);
        }
        range
    }

    fn timestamps(&mut self, name: &str, arg: &Expr, t: i64) -> Result<Vec<Sample>> {
        let inner = arg.inner();
        let mut out = Vec::new();
        if let Kind::Selector(s) = &inner.kind
            && s.edges == Edges::Plain
        {
            let at = self.shifted(&s.time, t, inner)?;
            for x in self.series_of(inner).iter() {
                let Some(i) = newest(x, at, self.options.lookback_ms) else {
                    continue;
                };
                let ms = match name {
                    "timestamp" => x.points[i].0,
                    _ => x
                        .starts
                        .as_ref()
                        .and_then(|s| s.get(i))
                        .copied()
                        .unwrap_or(0),
                };
                let labels = x.labels.clone();
                out.push(Sample {
                    labels,
                    v: ms as f64 / 1e3,
                    drop_name: true,
                });
            }
            return Ok(out);
        }
        if arg.value_type() != ValueType::Vector {
            return Err(QueryError::Execution(
                "an instant vector was expected".into(),
            ));
        }
        for s in self.vector(arg, t)? {
            if name == "timestamp" {
                out.push(Sample {
                    labels: s.labels,
                    v: t as f64 / 1e3,
                    drop_name: true,
                });
            }
        }
        Ok(out)
    }
}

/// Go's minimum: NaN wins, but not over -Inf.
fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

/// Go's maximum: NaN wins, but not over +Inf.
fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Beyond it x and the root of x² ± 1 are one number; the standard library overflows there.
const LARGE: f64 = (1_u64 << 28) as f64;

fn acosh(v: f64) -> f64 {
    if v > LARGE {
        v.ln() + std::f64::consts::LN_2
    } else {
        v.acosh()
    }
}

fn asinh(v: f64) -> f64 {
    if v.abs() > LARGE {
        (v.abs().ln() + std::f64::consts::LN_2).copysign(v)
    } else {
        v.asinh()
    }
}

fn math(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => acosh,
        "asin" => f64::asin,
        "asinh" => asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "deg" => f64::to_degrees,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => f64::to_radians,
        "sgn" => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

/// Order in which digits compare as numbers.
fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a, b);
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    loop {
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return std::cmp::Ordering::Equal,
            (true, false) => return std::cmp::Ordering::Less,
            (false, true) => return std::cmp::Ordering::Greater,
            _ => {}
        }
        let (da, db) = (digits(a), digits(b));
        let step = if da > 0 && db > 0 {
            let (x, y) = (
                a[..da].trim_start_matches('0'),
                b[..db].trim_start_matches('0'),
            );
            let o = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            if o.is_ne() {
                return o;
            }
            (da, db)
        } else {
            let (x, y) = (a.chars().next(), b.chars().next());
            let o = x.cmp(&y);
            if o.is_ne() {
                return o;
            }
            (x.map_or(1, char::len_utf8), y.map_or(1, char::len_utf8))
        };
        (a, b) = (&a[step.0..], &b[step.1..]);
    }
}
