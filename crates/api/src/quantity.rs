//! Kubernetes resource quantities with Go arithmetic.
