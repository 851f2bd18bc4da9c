//! The trigger types KEDA knows, and which of them exist here.

use crate::{BuildError, Context, Input, MetricSpec, Trigger, cron, described, prometheus};

/// Every trigger type of KEDA, sorted.
#[rustfmt::skip]
const KNOWN: &[&str] = &[
    "activemq", "apache-kafka", "arangodb", "artemis-queue",
    "aws-cloudwatch", "aws-dynamodb", "aws-dynamodb-streams", "aws-kinesis-stream",
    "aws-sqs-queue", "azure-app-insights", "azure-blob", "azure-data-explorer",
    "azure-eventhub", "azure-log-analytics", "azure-monitor", "azure-pipelines",
    "azure-queue", "azure-servicebus", "beanstalkd", "cassandra",
    "couchdb", "cpu", "cron", "datadog",
    "dynatrace", "elastic-forecast", "elasticsearch", "etcd",
    "external", "external-mock", "external-push", "forgejo-runner",
    "gcp-cloudtasks", "gcp-pubsub", "gcp-stackdriver", "gcp-storage",
    "github-runner", "graphite", "huawei-cloudeye", "ibmmq",
    "influxdb", "kafka", "kubernetes-resource", "kubernetes-workload",
    "liiklus", "loki", "memory", "metrics-api",
    "mongodb", "mssql", "mysql", "nats-jetstream",
    "new-relic", "nsq", "opensearch", "openstack-metric",
    "openstack-swift", "postgresql", "predictkube", "prometheus",
    "pulsar", "rabbitmq", "redis", "redis-cluster",
    "redis-cluster-streams", "redis-sentinel", "redis-sentinel-streams", "redis-streams",
    "selenium-grid", "solace-direct-messaging", "solace-event-queue", "solarwinds",
    "solr", "splunk", "splunk-observability", "sumologic",
    "temporal",
];

/// Whether KEDA has a trigger of this type.
pub fn is_known(kind: &str) -> bool {
    KNOWN.binary_search(&kind).is_ok()
}

/// Reads a trigger without building it: for HPA generation and lint.
pub fn parse(kind: &str, input: &Input) -> Result<MetricSpec, BuildError> {
    match kind {
        "prometheus" => Ok(prometheus::Config::parse(input)?.spec),
        "cron" => Ok(cron::Config::parse(input)?.spec),
        other => match described::parse(other, input) {
            Some(spec) => Ok(spec?),
            None => Err(absent(other)),
        },
    }
}

/// Builds a trigger that can be read.
pub fn build(kind: &str, input: &Input, ctx: &Context) -> Result<Box<dyn Trigger>, BuildError> {
    match kind {
        "prometheus" => {
            let config = prometheus::Config::parse(input)?;
            Ok(Box::new(prometheus::Prometheus::new(config, ctx)?))
        }
        "cron" => Ok(Box::new(cron::Cron::new(cron::Config::parse(input)?, ctx))),
        other => Err(absent(other)),
    }
}

fn absent(kind: &str) -> BuildError {
    if is_known(kind) {
        BuildError::NotSupported(kind.to_owned())
    } else {
        BuildError::UnknownType(kind.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_for_the_binary_search() {
        assert!(KNOWN.is_sorted());
        assert!(is_known("prometheus") && is_known("temporal") && !is_known("prom"));
    }

    #[test]
    fn unknown_and_unsupported_types_read_differently() {
        let input = Input::default();
        let text = |kind| parse(kind, &input).expect_err("not built").to_string();
        assert_eq!(text("promethius"), "no scaler found for type: promethius");
        assert!(text("kafka").contains("kafka is not supported yet by Rheostat"));
    }
}
