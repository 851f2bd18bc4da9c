//! What the HPA makes of a number, by asking the HPA algorithm itself.

use api::quantity::Quantity;
use decide::hpa::{
    HpaInput, HpaMemory, HpaSpec, MetricObservation, PodObservation, ScaleObservation, reconcile,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// More replicas than any rule asks about.
const MOST: i32 = 1_000_000;
/// Doubling from 1 gets past [`MOST`] in fewer rounds.
const ROUNDS: usize = 40;
/// More pods than this need not be imagined to see whether a ratio moves.
const PODS: i32 = 64;

/// A target as the HPA of a trigger has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// `AverageValue` rather than `Value`.
    pub average: bool,
    /// The threshold.
    pub value: f64,
}

fn quantity(value: f64) -> Quantity {
    Quantity::from_f64(value).unwrap_or_default()
}

/// The replicas that the HPA wants after one evaluation at `current` replicas,
/// all of them ready; `behavior` is autoscaling/v2's.
fn next(current: i32, value: f64, target: Target, behavior: &Value) -> i32 {
    let kind = if target.average {
        "AverageValue"
    } else {
        "Value"
    };
    let field = if target.average {
        "averageValue"
    } else {
        "value"
    };
    let mut spec = json!({
        "scaleTargetRef": {"kind": "Deployment", "name": "w", "apiVersion": "apps/v1"},
        "minReplicas": 1, "maxReplicas": MOST,
        "metrics": [{"type": "External", "external": {
            "metric": {"name": "m"},
            "target": {"type": kind, field: quantity(target.value).to_string()},
        }}],
    });
    // Only the tolerance matters here: limits delay, they do not stop.
    let tolerance = &behavior["scaleUp"]["tolerance"];
    if !tolerance.is_null() {
        spec["behavior"] = json!({"scaleUp": {"tolerance": tolerance}});
        api::hpa::default_spec(&mut spec);
    }
    let Ok(spec) = HpaSpec::from_json(&spec) else {
        return current;
    };
    let pod = |n: i32| PodObservation {
        name: format!("p{n}"),
        labels: [("app".to_owned(), "w".to_owned())].into(),
        phase: "Running".to_owned(),
        ready: Some(("True".to_owned(), None)),
        ..PodObservation::default()
    };
    let input = HpaInput {
        namespace: "default".to_owned(),
        name: "h".to_owned(),
        spec,
        scale: ScaleObservation::Found {
            spec_replicas: current,
            status_replicas: current,
            selector: "app=w".to_owned(),
        },
        metrics: [(0, MetricObservation::External(Ok(vec![quantity(value)])))].into(),
        pods: match target.average {
            true => Vec::new(),
            false => (0..current.min(PODS)).map(pod).collect(),
        },
        ..HpaInput::default()
    };
    let decision = reconcile(&input, &HpaMemory::default(), Timestamp::UNIX_EPOCH);
    decision.scale_to.unwrap_or(current)
}

/// Where the replicas come to rest, from one, when `n` replicas together show
/// `value(n)`.
pub fn rests_at(value: impl Fn(i32) -> f64, target: Target, behavior: &Value) -> i32 {
    let mut current = 1;
    for _ in 0..ROUNDS {
        let wanted = next(current, value(current), target, behavior);
        if wanted <= current {
            break;
        }
        current = wanted;
    }
    current
}

/// Whether one replica that shows `value` makes the HPA ask for a second one.
pub fn moves(value: f64, target: Target, behavior: &Value) -> bool {
    next(1, value, target, behavior) > 1
}

/// How many evaluations it takes from one replica to `goal`, when `n` replicas
/// together show `value(n)`; `None` where it is never reached.
pub fn periods_to(goal: i32, value: impl Fn(i32) -> f64, target: Target) -> Option<usize> {
    let mut current = 1;
    for round in 0..ROUNDS {
        if current >= goal {
            return Some(round);
        }
        let wanted = next(current, value(current), target, &Value::Null);
        if wanted <= current {
            return None;
        }
        current = wanted;
    }
    None
}

/// A number as a person writes it.
pub fn show(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn average(value: f64) -> Target {
        Target {
            average: true,
            value,
        }
    }

    #[test]
    fn a_mean_of_100_ends_at_the_ceiling() {
        for (target, end) in [(5.0, 20), (70.0, 2), (80.0, 2), (95.0, 1), (0.8, 125)] {
            assert_eq!(rests_at(|_| 100.0, average(target), &Value::Null), end);
        }
        assert_eq!(rests_at(|_| 1.0, average(0.8), &Value::Null), 2);
    }

    #[test]
    fn saturated_replicas_climb_without_end_unless_the_target_is_out_of_reach() {
        let saturated = |n: i32| 100.0 * f64::from(n);
        assert!(moves(100.0, average(70.0), &Value::Null));
        assert!(!moves(100.0, average(95.0), &Value::Null));
        let exact = json!({"scaleUp": {"tolerance": "0"}});
        assert!(moves(100.0, average(95.0), &exact));
        assert_eq!(periods_to(4, saturated, average(70.0)), Some(3));
        let value = Target {
            average: false,
            value: 0.8,
        };
        assert!(moves(1.0, value, &Value::Null));
        let far = Target {
            value: 80.0,
            ..value
        };
        assert!(!moves(1.0, far, &Value::Null));
    }
}
