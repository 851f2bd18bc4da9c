//! The HorizontalPodAutoscaler algorithm.
