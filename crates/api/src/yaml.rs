//! The one place that reads YAML, with the readings of kubectl.
