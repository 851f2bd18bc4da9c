//! `cargo xtask promqltest DIR`: the query engine against Prometheus' own test files.

use anyhow::{Context as _, bail};
use std::path::Path;

/// Prints one `FILE passed/total` line for each `.test` file of the folder named in `args`,
/// and with `--failures` what failed, each line of that indented.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    let failures = args.iter().any(|a| a == "--failures");
    let dirs: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let [dir] = dirs.as_slice() else {
        bail!("usage: cargo xtask promqltest DIR [--failures]");
    };
    let results = promql::promqltest::run_dir(Path::new(dir))
        .with_context(|| format!("cannot read the test files in {dir}"))?;
    if results.is_empty() {
        bail!("no .test file in {dir}");
    }
    for r in &results {
        println!("{} {}/{}", r.name, r.passed, r.total);
        if failures {
            for f in &r.failures {
                eprintln!("    {}", f.replace('\n', " "));
            }
        }
    }
    Ok(())
}
