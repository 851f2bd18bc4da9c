//! The node-pool controller and its providers.
