//! What is known of a series by its name: how high it can go, where it comes
//! from, what it counts.

use gpu::fields::{Field, Names};

/// Labels of the pod's owner on Rheostat's page.
pub const OWNER: &[&str] = &[
    "deployment",
    "statefulset",
    "daemonset",
    "workload_kind",
    "workload_name",
];

/// Where a series comes from, which says how many there are and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// dcgm-exporter: one for each GPU (or MIG slice).
    Dcgm,
    /// The replicas' own page: one for each replica.
    Engine,
    /// The kubelet and kube-state-metrics: one for each container or pod.
    Container,
    /// A broker or gateway: it exists without replicas.
    Broker,
    /// A recording rule: `level:metric:operations`.
    Recorded,
    /// Some other exporter.
    Exporter,
    /// The name has no prefix and tells nothing.
    Unknown,
}

/// What a series counts, as far as a rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work that waits.
    Queue,
    /// Memory in use.
    Memory,
    /// Anything else.
    Other,
}

/// The upper end of a series' values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// None that is known.
    None,
    /// This.
    At(f64),
    /// 1 or 100: the name says a share, not its unit.
    Share,
}

/// What a name tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Where it comes from.
    pub origin: Origin,
    /// What it counts.
    pub kind: Kind,
    /// How high it goes.
    pub bound: Bound,
    /// Only the whole device has it, not a MIG slice.
    pub whole_device: bool,
}

impl Metric {
    /// Whether the series is there only while the workload's replicas are.
    pub fn needs_replicas(self) -> bool {
        matches!(
            self.origin,
            Origin::Dcgm | Origin::Engine | Origin::Container
        )
    }

    /// Whether there is surely one series for each replica, device or target.
    pub fn surely_many(self) -> bool {
        !matches!(self.origin, Origin::Recorded | Origin::Unknown)
    }
}

const fn row(origin: Origin, kind: Kind, bound: Bound) -> Metric {
    Metric {
        origin,
        kind,
        bound,
        whole_device: false,
    }
}

const fn engine(kind: Kind) -> Metric {
    row(Origin::Engine, kind, Bound::None)
}

const SHARE_OF_ONE: Bound = Bound::At(1.0);

/// Names that mean something on their own; sources: the engines' metric pages
/// and dcgm-exporter's 1.x compatibility file.
const NAMES: &[(&str, Metric)] = &[
    ("vllm:num_requests_waiting", engine(Kind::Queue)),
    ("vllm:num_requests_swapped", engine(Kind::Queue)),
    ("vllm:num_requests_running", engine(Kind::Other)),
    (
        "vllm:gpu_cache_usage_perc",
        row(Origin::Engine, Kind::Other, SHARE_OF_ONE),
    ),
    (
        "vllm:kv_cache_usage_perc",
        row(Origin::Engine, Kind::Other, SHARE_OF_ONE),
    ),
    (
        "vllm:cpu_cache_usage_perc",
        row(Origin::Engine, Kind::Other, SHARE_OF_ONE),
    ),
    ("sglang:num_queue_reqs", engine(Kind::Queue)),
    ("sglang:num_running_reqs", engine(Kind::Other)),
    (
        "sglang:token_usage",
        row(Origin::Engine, Kind::Other, SHARE_OF_ONE),
    ),
    ("tgi_queue_size", engine(Kind::Queue)),
    ("tgi_batch_current_size", engine(Kind::Other)),
    ("nv_inference_pending_request_count", engine(Kind::Queue)),
    (
        "nv_gpu_utilization",
        row(Origin::Engine, Kind::Other, SHARE_OF_ONE),
    ),
    ("nv_gpu_memory_used_bytes", engine(Kind::Memory)),
    ("llamacpp:requests_deferred", engine(Kind::Queue)),
    ("llamacpp:requests_processing", engine(Kind::Other)),
    (
        "llamacpp:kv_cache_usage_ratio",
        row(Origin::Engine, Kind::Other, SHARE_OF_ONE),
    ),
    (
        "dcgm_gpu_utilization",
        row(Origin::Dcgm, Kind::Other, Bound::At(100.0)),
    ),
    (
        "dcgm_mem_copy_utilization",
        row(Origin::Dcgm, Kind::Other, Bound::At(100.0)),
    ),
    ("dcgm_fb_used", row(Origin::Dcgm, Kind::Memory, Bound::None)),
    (
        "DCGM_FI_DEV_FB_USED_PERCENT",
        row(Origin::Dcgm, Kind::Memory, SHARE_OF_ONE),
    ),
];

/// Name prefixes of what an exporter or engine serves.
const PREFIXES: &[(&str, Origin, Kind)] = &[
    ("DCGM_", Origin::Dcgm, Kind::Other),
    ("dcgm_", Origin::Dcgm, Kind::Other),
    ("vllm:", Origin::Engine, Kind::Other),
    ("sglang:", Origin::Engine, Kind::Other),
    ("llamacpp:", Origin::Engine, Kind::Other),
    ("lmdeploy:", Origin::Engine, Kind::Other),
    ("tgi_", Origin::Engine, Kind::Other),
    ("trtllm_", Origin::Engine, Kind::Other),
    ("nv_inference_", Origin::Engine, Kind::Other),
    ("nv_gpu_", Origin::Engine, Kind::Other),
    ("container_", Origin::Container, Kind::Other),
    ("kube_pod_", Origin::Container, Kind::Other),
    ("rabbitmq_queue_messages", Origin::Broker, Kind::Queue),
    ("kafka_consumergroup_lag", Origin::Broker, Kind::Queue),
    ("kafka_consumer_group_lag", Origin::Broker, Kind::Queue),
    ("redis_key_size", Origin::Broker, Kind::Queue),
    ("redis_list_length", Origin::Broker, Kind::Queue),
    ("celery_queue_length", Origin::Broker, Kind::Queue),
    ("aws_sqs_", Origin::Broker, Kind::Queue),
    (
        "jetstream_consumer_num_pending",
        Origin::Broker,
        Kind::Queue,
    ),
    ("nats_consumer_num_pending", Origin::Broker, Kind::Queue),
];

/// Looks a series up.
pub fn lookup(name: &str) -> Metric {
    if let Some((_, metric)) = NAMES.iter().find(|(known, _)| *known == name) {
        return *metric;
    }
    if let Some((field, names)) = Field::by_name(name) {
        return of_field(field, names);
    }
    let bound = by_suffix(name);
    if let Some((_, origin, kind)) = PREFIXES.iter().find(|(p, ..)| name.starts_with(p)) {
        return row(*origin, *kind, bound);
    }
    if name.contains(':') {
        return row(Origin::Recorded, Kind::Other, bound);
    }
    if !name.contains('_') && name != "up" {
        return row(Origin::Unknown, Kind::Other, Bound::None);
    }
    row(Origin::Exporter, Kind::Other, bound)
}

fn of_field(field: Field, names: Names) -> Metric {
    let percent = match names {
        Names::Classic => Bound::At(100.0),
        Names::Dcgm47 => SHARE_OF_ONE,
    };
    let (kind, bound, whole_device) = match field {
        Field::GpuUtil | Field::MemCopyUtil | Field::EncUtil | Field::DecUtil => {
            (Kind::Other, percent, true)
        }
        Field::GrEngineActive
        | Field::TensorActive
        | Field::DramActive
        | Field::SmActive
        | Field::SmOccupancy
        | Field::Fp64Active
        | Field::Fp32Active
        | Field::Fp16Active => (Kind::Other, SHARE_OF_ONE, false),
        Field::FbFree | Field::FbUsed | Field::FbReserved => (Kind::Memory, Bound::None, false),
        _ => (Kind::Other, Bound::None, true),
    };
    Metric {
        origin: Origin::Dcgm,
        kind,
        bound,
        whole_device,
    }
}

/// Prometheus' naming rules: `_ratio` is 0 to 1. A percentage says so.
fn by_suffix(name: &str) -> Bound {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| name.ends_with(s));
    if ends(&["_ratio", "_ACTIVE", "_OCCUPANCY", "_RATIO"]) {
        SHARE_OF_ONE
    } else if ends(&["_percent", "_percentage", "_pct"]) {
        Bound::At(100.0)
    } else if ends(&[
        "_utilization",
        "_util",
        "_usage_perc",
        "_UTIL",
        "_duty_cycle",
    ]) {
        Bound::Share
    } else {
        Bound::None
    }
}

/// The other name of a DCGM series, where 4.9 renamed it: (name, whether the
/// given one is the classic one, what a classic value is multiplied with).
pub fn renamed(name: &str) -> Option<(&'static str, bool, f64)> {
    let (field, names) = Field::by_name(name)?;
    let info = field.info();
    if info.classic == info.renamed {
        return None;
    }
    Some(match names {
        Names::Classic => (info.renamed, true, info.scale),
        Names::Dcgm47 => (info.classic, false, info.scale),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_bounds_and_origins() {
        let table = [
            ("DCGM_FI_DEV_GPU_UTIL", Origin::Dcgm, Bound::At(100.0)),
            ("DCGM_FI_DEV_GPU_UTIL_RATIO", Origin::Dcgm, Bound::At(1.0)),
            ("DCGM_FI_PROF_SM_ACTIVE", Origin::Dcgm, Bound::At(1.0)),
            ("DCGM_FI_DEV_FB_USED", Origin::Dcgm, Bound::None),
            ("vllm:num_requests_waiting", Origin::Engine, Bound::None),
            ("vllm:kv_cache_usage_perc", Origin::Engine, Bound::At(1.0)),
            ("rabbitmq_queue_messages_ready", Origin::Broker, Bound::None),
            ("job:gpu_util:sum", Origin::Recorded, Bound::None),
            ("http_requests_in_flight", Origin::Exporter, Bound::None),
            ("disk_usage_percent", Origin::Exporter, Bound::At(100.0)),
            ("my_gpu_utilization", Origin::Exporter, Bound::Share),
            ("q", Origin::Unknown, Bound::None),
            ("up", Origin::Exporter, Bound::None),
        ];
        for (name, origin, bound) in table {
            let metric = lookup(name);
            assert_eq!((metric.origin, metric.bound), (origin, bound), "{name}");
        }
    }

    #[test]
    fn renames_go_both_ways() {
        assert_eq!(
            renamed("DCGM_FI_DEV_GPU_UTIL"),
            Some(("DCGM_FI_DEV_GPU_UTIL_RATIO", true, 0.01))
        );
        assert_eq!(
            renamed("DCGM_FI_DEV_GPU_UTIL_RATIO"),
            Some(("DCGM_FI_DEV_GPU_UTIL", false, 0.01))
        );
        assert_eq!(renamed("DCGM_FI_PROF_SM_ACTIVE"), None);
    }
}
