//! How long ago something was, in as few letters as Kubernetes uses.

use jiff::Timestamp;
use serde_json::Value;

use crate::value;

/// The age of an object.
pub(crate) fn age(object: &Value, now: Timestamp) -> String {
    since(value::text(object, &["metadata", "creationTimestamp"]), now)
}

/// How long ago a time was; `<unknown>` where there is none.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    if time.is_empty() {
        return "<unknown>".to_owned();
    }
    let Ok(then) = time.parse::<Timestamp>() else {
        return "<invalid>".to_owned();
    };
    human(now.duration_since(then).as_millis())
}

/// A duration in the short form, from milliseconds.
pub(crate) fn human(milliseconds: i128) -> String {
    let seconds = milliseconds.div_euclid(1000);
    if milliseconds <= -2000 {
        return "<invalid>".to_owned();
    }
    if milliseconds < 0 {
        return "0s".to_owned();
    }
    let pair = |big: i128, a: char, small: i128, b: char| {
        if small == 0 {
            format!("{big}{a}")
        } else {
            format!("{big}{a}{small}{b}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    let years = days / 365;
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () if days < 730 => format!("{days}d"),
        () if years < 8 => pair(years, 'y', days % 365, 'd'),
        () => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn ages_read_as_kubernetes_prints_them() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (179 * 60 + 59, "179m"),
            (3 * 3600, "3h"),
            (7 * 3600 + 59 * 60, "7h59m"),
            (8 * 3600 + 59 * 60, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (7 * 86_400 + 3600, "7d1h"),
            (8 * 86_400 + 3600, "8d"),
            (729 * 86_400, "729d"),
            (731 * 86_400, "2y1d"),
            (9 * 365 * 86_400, "9y"),
        ] {
            assert_eq!(human(seconds * 1000), text, "{seconds}");
        }
    }
}
