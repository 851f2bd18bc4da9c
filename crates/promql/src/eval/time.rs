//! Calendar functions over seconds since the epoch, in UTC.

/// The calendar field that a function names, of a time in seconds.
pub(super) fn field(name: &str, seconds: f64) -> f64 {
    if !seconds.is_finite() || seconds.abs() > 1e15 {
        return f64::NAN;
    }
    let s = seconds.trunc() as i64;
    let days = s.div_euclid(86_400);
    let in_day = s.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let v = match name {
        "minute" => in_day / 60 % 60,
        "hour" => in_day / 3_600,
        "day_of_week" => (days + 4).rem_euclid(7),
        "day_of_month" => day,
        "day_of_year" => days - days_of(year, 1, 1) + 1,
        "days_in_month" => {
            let (y, m) = if month == 12 {
                (year + 1, 1)
            } else {
                (year, month + 1)
            };
            days_of(y, m, 1) - days_of(year, month, 1)
        }
        "month" => month,
        _ => year,
    };
    v as f64
}

// Years are counted from March, which puts the leap day last.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_of_known_days() {
        let leap = 1_709_164_800.0; // 2024-02-29T00:00:00Z, a Thursday
        assert_eq!(field("year", leap), 2024.0);
        assert_eq!(field("month", leap), 2.0);
        assert_eq!(field("day_of_month", leap), 29.0);
        assert_eq!(field("day_of_year", leap), 60.0);
        assert_eq!(field("days_in_month", leap), 29.0);
        assert_eq!(field("day_of_week", leap), 4.0);
        assert_eq!(field("year", -1.0), 1969.0);
        assert_eq!(field("hour", -1.0), 23.0);
    }
}
