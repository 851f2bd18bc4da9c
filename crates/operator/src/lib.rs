//! Reconcilers for KEDA's resources and the external metrics API.
