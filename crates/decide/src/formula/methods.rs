//! Methods of times and spans.

use jiff::Zoned;

use super::types::Type;
use super::value::Value;

/// What a method returns; `None` where the type has no such method here.
pub(super) fn returns(of: &Type, name: &str) -> Option<Type> {
    Some(match (of, name) {
        (
            Type::Time,
            "Year" | "Month" | "Day" | "Hour" | "Minute" | "Second" | "Nanosecond" | "Unix"
            | "UnixMilli" | "UnixMicro" | "UnixNano" | "Weekday" | "YearDay",
        ) => Type::Int,
        (Type::Time, "UTC") => Type::Time,
        (Type::Duration, "Hours" | "Minutes" | "Seconds") => Type::Float,
        (Type::Duration, "Milliseconds" | "Microseconds" | "Nanoseconds") => Type::Int,
        (Type::Duration, "Abs") => Type::Duration,
        _ => return None,
    })
}

/// Calls a method without arguments.
pub(super) fn call(of: &Value, name: &str) -> Result<Value, String> {
    let missing = || format!("type {} has no method {name}", of.type_name());
    match of {
        Value::Time(at, zone) => {
            let local: Zoned = at.to_zoned(zone.clone());
            Ok(Value::Int(match name {
                "Year" => local.year().into(),
                "Month" => local.month().into(),
                "Day" => local.day().into(),
                "Hour" => local.hour().into(),
                "Minute" => local.minute().into(),
                "Second" => local.second().into(),
                "Nanosecond" => local.subsec_nanosecond().into(),
                "Unix" => at.as_second(),
                "UnixMilli" => at.as_millisecond(),
                "UnixMicro" => at.as_microsecond(),
                "UnixNano" => at.as_nanosecond() as i64,
                "Weekday" => local.weekday().to_sunday_zero_offset().into(),
                "YearDay" => local.day_of_year().into(),
                "UTC" => return Ok(Value::Time(*at, jiff::tz::TimeZone::UTC)),
                _ => return Err(missing()),
            }))
        }
        Value::Duration(nanos) => {
            let float = |unit: f64| Ok(Value::Float(*nanos as f64 / unit));
            match name {
                "Hours" => float(3.6e12),
                "Minutes" => float(6e10),
                "Seconds" => float(1e9),
                "Milliseconds" => Ok(Value::Int(nanos / 1_000_000)),
                "Microseconds" => Ok(Value::Int(nanos / 1_000)),
                "Nanoseconds" => Ok(Value::Int(*nanos)),
                "Abs" => Ok(Value::Duration(nanos.saturating_abs())),
                _ => Err(missing()),
            }
        }
        _ => Err(missing()),
    }
}
