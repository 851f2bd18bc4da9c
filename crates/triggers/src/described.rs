//! Trigger types of which only the HPA's side is known here: they can be
//! checked and shown in an HPA, and are refused where they would be read.

use api::selector::Selector;

use crate::metadata::{From, Reader};
use crate::{ConfigError, Input, MetricSpec, MetricType, metric_name};

/// The HPA's side of the types described here; `None` for any other.
pub(crate) fn parse(kind: &str, input: &Input) -> Option<Result<MetricSpec, ConfigError>> {
    let read: fn(&mut Reader<'_>, &Input) -> Result<(String, f64), ConfigError> = match kind {
        "kubernetes-workload" => workload,
        "loki" => loki,
        "metrics-api" => metrics_api,
        _ => return None,
    };
    let spec = || {
        let metric_type = MetricType::parse(input.metric_type.as_deref())?;
        let (name, target) = read(&mut Reader::new(input), input)?;
        Ok(MetricSpec {
            metric_name: metric_name(input.trigger_index, &name),
            metric_type,
            target,
        })
    };
    Some(spec())
}

fn workload(reader: &mut Reader<'_>, input: &Input) -> Result<(String, f64), ConfigError> {
    let wrap = |text| {
        ConfigError(format!(
            "error parsing kubernetes workload metadata: {text}"
        ))
    };
    let selector = reader.required("podSelector");
    let value = reader
        .text(&["value"], &[From::Metadata])
        .and_then(|value| reader.float("value", value));
    reader
        .text(&["activationValue"], &[From::Metadata])
        .and_then(|value| reader.float("activationValue", value));
    if value.unwrap_or_default() <= 0.0 && !input.metric_source {
        reader.fail("value must be a float greater than 0".to_owned());
    }
    reader.take().map_err(|text| {
        wrap(format!(
            "error parsing kubernetes workload metadata: {text}"
        ))
    })?;
    if let Err(error) = Selector::parse(selector.unwrap_or_default()) {
        return Err(wrap(format!("error parsing pod selector: {error}")));
    }
    let name = format!("workload-{}", input.namespace);
    Ok((name, value.unwrap_or_default()))
}

fn loki(reader: &mut Reader<'_>, _input: &Input) -> Result<(String, f64), ConfigError> {
    reader.required("serverAddress");
    reader.required("query");
    let threshold = reader
        .required("threshold")
        .and_then(|value| reader.float("threshold", value));
    reader
        .text(&["activationThreshold"], &[From::Metadata])
        .and_then(|value| reader.float("activationThreshold", value));
    reader.take().map_err(|text| {
        ConfigError(format!(
            "error parsing loki metadata: error parsing loki metadata: {text}"
        ))
    })?;
    Ok(("loki".to_owned(), threshold.unwrap_or_default()))
}

fn metrics_api(reader: &mut Reader<'_>, input: &Input) -> Result<(String, f64), ConfigError> {
    reader.required("url");
    let location = reader.required("valueLocation").unwrap_or_default();
    let target = reader
        .text(&["targetValue"], &[From::Metadata])
        .and_then(|value| reader.float("targetValue", value))
        .unwrap_or_default();
    reader
        .text(&["activationTargetValue"], &[From::Metadata])
        .and_then(|value| reader.float("activationTargetValue", value));
    if target == 0.0 && !input.metric_source {
        reader.fail("no targetValue given in metadata".to_owned());
    }
    reader
        .take()
        .map_err(|text| ConfigError(format!("error parsing metric API metadata: {text}")))?;
    Ok((format!("metric-api-{location}"), target))
}
