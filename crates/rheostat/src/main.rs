//! The `rheostat` program: one file for each command.

mod connect;
mod crds;
mod daemon;
mod doctor;
mod explain;
mod inout;
mod lab;
mod lint;
mod log;
mod nodepools;
mod operator;
mod replay;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// GPU workload autoscaling for Kubernetes.
#[derive(Parser)]
#[command(
    name = "rheostat",
    version,
    max_term_width = 100,
    after_help = "Logs go to standard error; RHEOSTAT_LOG chooses what (warn, info, operator=debug, …)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole pipeline on this machine, with simulated GPU nodes
    Lab(Box<lab::Args>),
    /// Run the controllers for KEDA's resources and the external metrics API
    Operator(Box<operator::Args>),
    /// Order and remove nodes of node pools for pods that wait and replicas that come
    Nodepools(Box<nodepools::Args>),
    /// Find traps in scaling manifests
    Lint(lint::Args),
    /// Show what a policy would have done on recorded load, and what it would have cost
    Replay(Box<replay::Args>),
    /// Say why a replica count is what it is, now or at a past moment
    Explain(explain::Args),
    /// Find the first broken link between GPU and node pool in a cluster, and its cure
    Doctor(doctor::Args),
    /// Print the CustomResourceDefinitions of KEDA's resources
    Crds(crds::Args),
}

fn main() -> ExitCode {
    log::start();
    let result = match Cli::parse().command {
        Command::Lab(args) => lab::run(*args),
        Command::Operator(args) => operator::run(*args),
        Command::Nodepools(args) => nodepools::run(*args),
        Command::Lint(args) => return lint::run(&args),
        Command::Replay(args) => return replay::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Doctor(args) => return doctor::run(&args),
        Command::Crds(args) => crds::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
