//! `keda.sh/v1alpha1`: ScaledObject, ScaledJob, TriggerAuthentication, ClusterTriggerAuthentication.
