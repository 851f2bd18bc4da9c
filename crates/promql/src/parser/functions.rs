//! The functions of the language: names, arguments, results.

use super::ast::ValueType;
use ValueType::{Matrix as M, Scalar as S, String as T, Vector as V};

/// A function's signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Name.
    pub name: &'static str,
    /// Types of the arguments; the last one repeats where more are allowed.
    pub args: &'static [ValueType],
    /// Fewest arguments.
    pub min: usize,
    /// Most arguments.
    pub max: usize,
    /// Type of the result.
    pub returns: ValueType,
}

const fn f(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Function {
    Function {
        name,
        args,
        min: args.len(),
        max: args.len(),
        returns,
    }
}

const fn opt(
    name: &'static str,
    args: &'static [ValueType],
    min: usize,
    max: usize,
    returns: ValueType,
) -> Function {
    Function {
        name,
        args,
        min,
        max,
        returns,
    }
}

const MANY: usize = 1_000;

static FUNCTIONS: &[Function] = &[
    f("abs", &[V], V),
    f("absent", &[V], V),
    f("absent_over_time", &[M], V),
    f("acos", &[V], V),
    f("acosh", &[V], V),
    f("asin", &[V], V),
    f("asinh", &[V], V),
    f("atan", &[V], V),
    f("atanh", &[V], V),
    f("avg_over_time", &[M], V),
    f("ceil", &[V], V),
    f("changes", &[M], V),
    f("clamp", &[V, S, S], V),
    f("clamp_max", &[V, S], V),
    f("clamp_min", &[V, S], V),
    f("cos", &[V], V),
    f("cosh", &[V], V),
    f("count_over_time", &[M], V),
    opt("day_of_month", &[V], 0, 1, V),
    opt("day_of_week", &[V], 0, 1, V),
    opt("day_of_year", &[V], 0, 1, V),
    opt("days_in_month", &[V], 0, 1, V),
    f("deg", &[V], V),
    f("delta", &[M], V),
    f("deriv", &[M], V),
    f("double_exponential_smoothing", &[M, S, S], V),
    f("end", &[], S),
    f("exp", &[V], V),
    f("first_over_time", &[M], V),
    f("floor", &[V], V),
    f("histogram_avg", &[V], V),
    f("histogram_count", &[V], V),
    f("histogram_fraction", &[S, S, V], V),
    f("histogram_quantile", &[S, V], V),
    opt("histogram_quantiles", &[V, T, S], 3, 12, V),
    f("histogram_stddev", &[V], V),
    f("histogram_stdvar", &[V], V),
    f("histogram_sum", &[V], V),
    opt("hour", &[V], 0, 1, V),
    f("idelta", &[M], V),
    f("increase", &[M], V),
    opt("info", &[V, V], 1, 2, V),
    f("irate", &[M], V),
    opt("label_join", &[V, T, T, T], 3, MANY, V),
    f("label_replace", &[V, T, T, T, T], V),
    f("last_over_time", &[M], V),
    f("ln", &[V], V),
    f("log10", &[V], V),
    f("log2", &[V], V),
    f("mad_over_time", &[M], V),
    f("max_of", &[S, S], S),
    f("max_over_time", &[M], V),
    f("min_of", &[S, S], S),
    f("min_over_time", &[M], V),
    opt("minute", &[V], 0, 1, V),
    opt("month", &[V], 0, 1, V),
    f("pi", &[], S),
    f("predict_linear", &[M, S], V),
    f("present_over_time", &[M], V),
    f("quantile_over_time", &[S, M], V),
    f("rad", &[V], V),
    f("range", &[], S),
    f("rate", &[M], V),
    f("resets", &[M], V),
    opt("round", &[V, S], 1, 2, V),
    f("scalar", &[V], S),
    f("sgn", &[V], V),
    f("sin", &[V], V),
    f("sinh", &[V], V),
    f("sort", &[V], V),
    opt("sort_by_label", &[V, T], 1, MANY, V),
    opt("sort_by_label_desc", &[V, T], 1, MANY, V),
    f("sort_desc", &[V], V),
    f("sqrt", &[V], V),
    f("start", &[], S),
    f("start_timestamp", &[V], V),
    f("stddev_over_time", &[M], V),
    f("stdvar_over_time", &[M], V),
    f("step", &[], S),
    f("sum_over_time", &[M], V),
    f("tan", &[V], V),
    f("tanh", &[V], V),
    f("time", &[], S),
    f("timestamp", &[V], V),
    f("ts_of_first_over_time", &[M], V),
    f("ts_of_last_over_time", &[M], V),
    f("ts_of_max_over_time", &[M], V),
    f("ts_of_min_over_time", &[M], V),
    f("vector", &[S], V),
    opt("year", &[V], 0, 1, V),
];

/// Finds a function by its name.
pub fn by_name(name: &str) -> Option<&'static Function> {
    FUNCTIONS
        .binary_search_by(|f| f.name.cmp(name))
        .ok()
        .map(|i| &FUNCTIONS[i])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_is_sorted() {
        assert!(super::FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
    }
}
