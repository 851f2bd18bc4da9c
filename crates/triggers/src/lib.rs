//! Trigger sources and their credentials.
