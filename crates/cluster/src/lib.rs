//! An embedded, in-memory, Kubernetes-compatible control plane.
