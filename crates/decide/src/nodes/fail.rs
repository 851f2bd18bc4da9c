//! Machines that will not come, orders that took too long, and machines that
//! have lost their node.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::events::Event;
use super::types::{
    InstanceState, Observed, Plan, Registration, Removal, Settings, after, elapsed,
};
use super::world::usable;

/// Tells about failures, removes what failed and leaves its pool alone for a while.
pub(super) fn handle(settings: &Settings, seen: &Observed, now: Timestamp, plan: &mut Plan) {
    for pool in &seen.pools {
        let mut failures: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
        let mut late = Vec::new();
        let mut vanished = Vec::new();
        for instance in &pool.instances {
            match &instance.state {
                InstanceState::Failed {
                    class,
                    code,
                    message,
                } => {
                    if plan.state.reported.insert(instance.name.clone()) {
                        *failures.entry((class, code, message)).or_default() += 1;
                        plan.removals.push(Removal {
                            group: pool.group.clone(),
                            node: instance.name.clone(),
                            accepted: Vec::new(),
                        });
                    }
                }
                InstanceState::Deleting => {}
                InstanceState::Creating | InstanceState::Running => {
                    let node = seen.cluster.node(&instance.name);
                    if node.is_some_and(|n| usable(n, pool)) || !pool.scales() {
                        continue;
                    }
                    if let Some(Registration::Gone(since)) =
                        plan.state.machines.get(&instance.name).cloned()
                    {
                        // The order was served long ago: its pool has not failed.
                        let asked = plan.state.leaving.get(&instance.name);
                        if asked.is_some_and(|l| l.removed) {
                            continue;
                        }
                        if elapsed(since, now) < settings.vanished {
                            plan.wake_at(Some(after(since, settings.vanished)));
                        } else if plan.state.reported.insert(instance.name.clone()) {
                            vanished.push((instance, since));
                        }
                        continue;
                    }
                    if elapsed(instance.ordered, now) < settings.provision {
                        plan.wake_at(Some(after(instance.ordered, settings.provision)));
                    } else if node.is_none() && plan.state.reported.insert(instance.name.clone()) {
                        late.push(instance);
                    }
                }
            }
        }
        let failed = !failures.is_empty() || !late.is_empty();
        for ((class, code, message), count) in failures {
            plan.events.push(Event::did_not_come(
                &pool.group,
                count,
                class,
                code,
                message,
            ));
        }
        if !late.is_empty() {
            plan.events
                .push(Event::timed_out(&pool.group, settings.provision));
        }
        for instance in late {
            plan.removals.push(Removal {
                group: pool.group.clone(),
                node: instance.name.clone(),
                accepted: vec![Event::given_up(instance)],
            });
        }
        for (instance, since) in vanished {
            plan.removals.push(Removal {
                group: pool.group.clone(),
                node: instance.name.clone(),
                accepted: vec![Event::vanished(instance, elapsed(since, now))],
            });
        }
        if failed {
            plan.state.failed(settings, &pool.group, now);
        }
    }
}
