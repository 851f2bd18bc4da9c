//! What the HPA makes of a number, by asking the HPA algorithm itself.

use api::quantity::Quantity;
use decide::hpa::{
    HpaDecision, HpaInput, HpaMemory, HpaSpec, MetricObservation, PodObservation, Proposal,
    ScaleObservation, reconcile,
};
use decide::scale::hpa_spec::target_text;
use jiff::Timestamp;
use serde_json::{Value, json};

/// More replicas than any rule asks about.
const MOST: i32 = 1_000_000;
/// Doubling from 1 gets past [`MOST`] in fewer rounds.
const ROUNDS: usize = 40;
/// Evaluations after which counting stops: half a day of them.
const EVALUATIONS: usize = 2_880;
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

/// The HPA of one trigger, bounds apart.
pub struct Hpa {
    input: HpaInput,
    average: bool,
}

impl Hpa {
    /// Of a target and autoscaling/v2's `behavior`, `Null` where there is none;
    /// `None` where no HPA can be made of them.
    pub fn of(target: Target, behavior: &Value) -> Option<Self> {
        let (kind, field) = match target.average {
            true => ("AverageValue", "averageValue"),
            false => ("Value", "value"),
        };
        let mut spec = json!({
            "scaleTargetRef": {"kind": "Deployment", "name": "w", "apiVersion": "apps/v1"},
            "minReplicas": 1, "maxReplicas": MOST,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "m"},
                "target": {"type": kind, field: target_text(target.value)},
            }}],
        });
        if behavior.is_object() {
            spec["behavior"] = behavior.clone();
        }
        api::hpa::default_spec(&mut spec);
        Some(Self {
            input: HpaInput {
                namespace: "default".to_owned(),
                name: "h".to_owned(),
                spec: HpaSpec::from_json(&spec).ok()?,
                ..HpaInput::default()
            },
            average: target.average,
        })
    }

    /// One evaluation at `current` replicas, all of them ready, that read
    /// `value`.
    fn evaluate(
        &mut self,
        current: i32,
        value: f64,
        memory: &HpaMemory,
        now: Timestamp,
    ) -> HpaDecision {
        let pod = |n: i32| PodObservation {
            name: format!("p{n}"),
            labels: [("app".to_owned(), "w".to_owned())].into(),
            phase: "Running".to_owned(),
            ready: Some(("True".to_owned(), None)),
            ..PodObservation::default()
        };
        let input = &mut self.input;
        input.scale = ScaleObservation::Found {
            spec_replicas: current,
            status_replicas: current,
            selector: "app=w".to_owned(),
        };
        input.metrics = [(0, MetricObservation::External(Ok(vec![quantity(value)])))].into();
        input.pods = match self.average {
            true => Vec::new(),
            false => (0..current.min(PODS)).map(pod).collect(),
        };
        reconcile(input, memory, now)
    }

    /// What the metric asks for at `current` replicas that read `value`, before
    /// any limit: those delay, they do not stop.
    fn ask(&mut self, current: i32, value: f64) -> Proposal {
        let (memory, now) = (HpaMemory::default(), Timestamp::UNIX_EPOCH);
        let decision = self.evaluate(current, value, &memory, now);
        let proposals = decision.explanation.proposals.into_iter();
        proposals.take(1).next().unwrap_or_default()
    }

    /// Where the replicas come to rest, from one, when `n` replicas together
    /// show `value(n)`.
    pub fn rests_at(&mut self, value: impl Fn(i32) -> f64) -> i32 {
        let mut current = 1;
        for _ in 0..ROUNDS {
            let wanted = self.ask(current, value(current)).replicas;
            match wanted.filter(|wanted| *wanted > current) {
                Some(wanted) => current = wanted.min(MOST),
                None => break,
            }
        }
        current
    }

    /// Whether one replica that shows `value` makes the HPA ask for a second
    /// one; if not, how far above the target it may be without that.
    pub fn moves(&mut self, value: f64) -> Result<(), f64> {
        let asked = self.ask(1, value);
        match asked.replicas {
            Some(wanted) if wanted > 1 => Ok(()),
            _ => Err(asked.tolerance.map_or(0.0, |t| t.up)),
        }
    }

    /// How many evaluations it takes from `start` replicas to `goal`, limits
    /// and windows included, when `n` replicas together show `value(n)`;
    /// `None` where it is not reached in half a day.
    pub fn evaluations(
        &mut self,
        start: i32,
        goal: i32,
        value: impl Fn(i32) -> f64,
    ) -> Option<usize> {
        let (mut current, mut memory, mut now) =
            (start, HpaMemory::default(), Timestamp::UNIX_EPOCH);
        for round in 0..EVALUATIONS {
            if current >= goal {
                return Some(round);
            }
            let decision = self.evaluate(current, value(current), &memory, now);
            let asked = decision.explanation.proposals.first()?.replicas?;
            if asked <= current {
                return None;
            }
            current = decision.scale_to.unwrap_or(current);
            memory = decision.memory;
            now = now.checked_add(self.input.config.sync_period).ok()?;
        }
        None
    }
}

/// A reading as KEDA serves it to the HPA.
fn quantity(value: f64) -> Quantity {
    let active = value > 0.0;
    triggers::Reading { value, active }.quantity()
}

/// A number as a person writes it.
pub fn show(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hpa(average: bool, value: f64, behavior: &Value) -> Hpa {
        Hpa::of(Target { average, value }, behavior).unwrap()
    }

    fn average(value: f64) -> Hpa {
        hpa(true, value, &Value::Null)
    }

    #[test]
    fn a_mean_of_100_ends_at_the_ceiling() {
        for (target, end) in [(5.0, 20), (70.0, 2), (80.0, 2), (95.0, 1), (0.8, 125)] {
            assert_eq!(average(target).rests_at(|_| 100.0), end);
        }
        assert_eq!(average(0.8).rests_at(|_| 1.0), 2);
    }

    #[test]
    fn the_tolerance_is_the_spec_s_or_the_controller_s() {
        assert_eq!(average(70.0).moves(100.0), Ok(()));
        assert_eq!(average(95.0).moves(100.0), Err(0.1));
        let exact = json!({"scaleUp": {"tolerance": "0"}});
        assert_eq!(hpa(true, 95.0, &exact).moves(100.0), Ok(()));
        let wide = json!({"scaleUp": {"tolerance": "500m"}});
        assert_eq!(hpa(true, 70.0, &wide).moves(100.0), Err(0.5));
        assert_eq!(hpa(false, 0.8, &Value::Null).moves(1.0), Ok(()));
        assert!(hpa(false, 80.0, &Value::Null).moves(1.0).is_err());
    }

    #[test]
    fn evaluations_are_counted_with_the_scale_up_rules() {
        let saturated = |n: i32| 100.0 * f64::from(n);
        assert_eq!(average(70.0).evaluations(1, 4, saturated), Some(3));
        assert_eq!(average(95.0).evaluations(1, 4, saturated), None);
        let slow = json!({"scaleUp": {"policies": [
            {"type": "Pods", "value": 1, "periodSeconds": 60}]}});
        // One a minute: at 0, 60 and 120 s.
        let rounds = hpa(true, 20.0, &slow).evaluations(1, 4, saturated);
        assert_eq!(rounds, Some(9));
        let never = json!({"scaleUp": {"selectPolicy": "Disabled"}});
        assert_eq!(hpa(true, 20.0, &never).evaluations(1, 4, saturated), None);
    }
}
