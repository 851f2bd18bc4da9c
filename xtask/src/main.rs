//! The task runner: `cargo xtask TASK`.
fn main() {}
