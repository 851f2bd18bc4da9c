//! The HPA of a ScaledObject: found, made, changed, renamed and deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::keda::ScaledObject;
use decide::scale::hpa_spec::{self, HpaPlan};
use serde_json::Value;

use crate::reconcile::{Failure, Reconciler};
use crate::state::{Key, key_of};
use crate::watches::Source;
use crate::{io, scalers};

const BAD_HPA: &str = "failed to ensure HPA is correctly created for ScaledObject";

impl Reconciler {
    /// The HPA of this name, from the watch once it has listed all; KEDA adopts
    /// whatever has the name.
    pub(crate) async fn find_hpa(
        &self,
        key: &Key,
        name: &str,
    ) -> Result<Option<Arc<Value>>, String> {
        {
            let state = self.shared.state();
            if state.synced.contains(&Source::Hpa) {
                let found = state.hpas.get(&(key.0.clone(), name.to_owned()));
                return Ok(found.cloned());
            }
        }
        self.ask_hpa(key, name).await
    }

    async fn ask_hpa(&self, key: &Key, name: &str) -> Result<Option<Arc<Value>>, String> {
        let api = io::in_namespace(&self.shared.client, &key.0, &io::hpas());
        match api.get(name).await {
            Ok(found) => Ok(Some(Arc::new(io::to_value(&found)))),
            Err(error) if io::is_not_found(&error) => Ok(None),
            Err(error) => Err(io::message(&error)),
        }
    }

    pub(crate) async fn delete_hpa(&self, key: &Key, name: &str) -> Result<(), String> {
        let api = io::in_namespace(&self.shared.client, &key.0, &io::hpas());
        let deleted = io::delete(&api, name).await;
        deleted.map_err(|error| io::message(&error))?;
        let gone = (key.0.clone(), name.to_owned());
        self.shared.state().hpas.remove(&gone);
        Ok(())
    }

    /// Creates, updates or renames the HPA; tells whether it is a new one.
    pub(crate) async fn ensure_hpa(
        &self,
        key: &Key,
        object: &mut ScaledObject,
    ) -> Result<bool, Failure> {
        let fail = |error: String| Failure::of(BAD_HPA, error);
        let wanted_name = hpa_spec::hpa_name(object);
        let found_name = hpa_spec::hpa_name_in_use(object);
        let mut live = self.find_hpa(key, &found_name).await.map_err(fail)?;
        if found_name != wanted_name {
            if live.is_some() {
                self.delete_hpa(key, &found_name).await.map_err(fail)?;
            }
            live = self.find_hpa(key, &wanted_name).await.map_err(fail)?;
        }
        let scalers = scalers::of(&self.shared, key, object).await;
        let scalers = scalers.map_err(fail)?;
        let gvkr = object.status.scale_target_gvkr.clone().unwrap_or_default();
        let plan = hpa_spec::hpa_for(object, &scalers.specs, &gvkr, &self.shared.options.version);
        let plan = plan.map_err(|error| fail(error.to_string()))?;
        note_metrics(object, &plan);
        let created = self.write_hpa(key, &wanted_name, plan.hpa, live).await;
        let created = created.map_err(fail)?;
        object.status.hpa_name = wanted_name;
        Ok(created)
    }

    /// Makes the HPA what is wanted; tells whether there was none.
    async fn write_hpa(
        &self,
        key: &Key,
        name: &str,
        wanted: Value,
        live: Option<Arc<Value>>,
    ) -> Result<bool, String> {
        let api = io::in_namespace(&self.shared.client, &key.0, &io::hpas());
        let mut live = live;
        let mut written = None;
        if live.is_none() {
            match io::create(&api, wanted.clone()).await {
                Ok(made) => written = Some(made),
                // Somebody else made it, and the watch has not told yet.
                Err(error) => {
                    let found = match io::is_conflict(&error) {
                        true => self.ask_hpa(key, name).await?,
                        false => None,
                    };
                    live = Some(found.ok_or_else(|| io::message(&error))?);
                }
            }
        }
        if let Some(live) = &live
            && hpa_spec::changes(&wanted, live).any()
        {
            let replaced = io::replace(&api, name, wanted).await;
            written = Some(replaced.map_err(|error| io::message(&error))?);
        }
        if let Some(written) = written {
            // Kept now, so that the watch's echo is no news.
            let mut state = self.shared.state();
            state.hpas.insert(key_of(&written), Arc::new(written));
        }
        Ok(live.is_none())
    }
}

/// Writes down what the HPA will ask for, and forgets the health of metrics
/// that are no more.
fn note_metrics(object: &mut ScaledObject, plan: &HpaPlan) {
    let status = &mut object.status;
    let external = &plan.external_metric_names;
    status.external_metric_names.clone_from(external);
    let resource = &plan.resource_metric_names;
    status.resource_metric_names.clone_from(resource);
    let composite = &plan.composite_scaler_name;
    status.composite_scaler_name.clone_from(composite);
    let names: BTreeSet<&String> = plan.external_metric_names.iter().collect();
    status.health.retain(|metric, _| names.contains(metric));
    let activity = &mut status.triggers_activity;
    activity.retain(|metric, _| names.contains(metric));
}
