//! Go durations (`1m30s`), as Kubernetes and KEDA write them.
