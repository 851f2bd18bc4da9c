//! KEDA's resources (`keda.sh/v1alpha1`): types, names and CRD manifests.

mod crds;
mod describe;
mod schema;
mod types;

pub use crds::{crds, openapi};
pub use types::*;

/// KEDA's API group.
pub const GROUP: &str = "keda.sh";
/// The one version of KEDA's resources.
pub const VERSION: &str = "v1alpha1";
/// Keeps an object until the operator has let go of it.
pub const FINALIZER: &str = "finalizer.keda.sh";
/// Label on ScaledObjects and in the metric selectors of their HPAs.
pub const SCALED_OBJECT_LABEL: &str = "scaledobject.keda.sh/name";
/// Full pause.
pub const PAUSED: &str = "autoscaling.keda.sh/paused";
/// Full pause at a number of replicas.
pub const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// No scale-down.
pub const PAUSED_SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
/// No scale-up.
pub const PAUSED_SCALE_OUT: &str = "autoscaling.keda.sh/paused-scale-out";
/// Treated as active.
pub const FORCE_ACTIVATION: &str = "autoscaling.keda.sh/force-activation";
/// Lets the webhook accept an existing HPA.
pub const TRANSFER_HPA: &str = "scaledobject.keda.sh/transfer-hpa-ownership";
/// On an HPA: `false` hides it from the webhook.
pub const HPA_OWNERSHIP: &str = "validations.keda.sh/hpa-ownership";
/// Comma list of labels that are not copied to the HPA.
pub const HPA_EXCLUDED_LABELS: &str = "scaledobject.keda.sh/hpa-excluded-labels";
