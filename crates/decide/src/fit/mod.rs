//! Whether a pod fits a node, and the scheduler's sentence when it does not.
