//! `rheostat crds`: the CustomResourceDefinitions, for `kubectl apply -f -`.

use std::io::Write as _;

use anyhow::Result;

/// Arguments of `rheostat crds`.
#[derive(clap::Args)]
pub struct Args {
    /// How to print them
    #[arg(long, default_value = "yaml", value_parser = ["yaml", "json"])]
    format: String,
}

/// Prints the definitions: YAML documents, or one JSON List.
pub fn run(args: &Args) -> Result<()> {
    let crds = api::keda::crds();
    let mut out = std::io::stdout().lock();
    if args.format == "json" {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": crds});
        writeln!(out, "{list:#}")?;
    } else {
        for crd in crds {
            write!(out, "---\n{}", api::yaml::to_string(&crd))?;
        }
    }
    Ok(())
}
