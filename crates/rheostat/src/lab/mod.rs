//! `rheostat lab`: the embedded cluster, live.

mod lines;
mod panel;
mod stop;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::pool::Pool;
use cluster::{ChangeKind, Component};
use lab::front::{self, Desk, FrontConfig};
use lab::pacer::{Pacer, Speed};
use lab::story::{Applier, Story, Told, play};
use lab::{Delays, Lab, LabOptions};

/// Loopback, any free port.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Arguments of `rheostat lab`.
#[derive(clap::Args)]
#[command(after_help = "\
Load of a simulated GPU workload: annotation lab.rheostat.dev/load on its Deployment: busy (the \
default), idle, a number of GPUs' worth of work (3.5), util:50, or trace:FILE#column@peak.")]
pub struct Args {
    /// Write the kubeconfig here instead of to a private temporary folder
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Address of the Kubernetes API; port 0 takes any free one
    /// [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of the Prometheus API of the embedded store
    /// [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR")]
    listen_prometheus: Option<SocketAddr>,
    /// A node pool: name=…,sku=…,gpus=…,min=…,max=…,count=…,price=…,taint=…,provision=… (repeatable;
    /// any replaces the default pools)
    #[arg(long, value_name = "POOL")]
    pool: Vec<String>,
    /// Apply a manifest file or folder at start (repeatable)
    #[arg(long, value_name = "FILE")]
    apply: Vec<PathBuf>,
    /// Play a story: a file of steps with what to do, what to wait for and what it means
    #[arg(long, value_name = "STORY")]
    play: Option<PathBuf>,
    /// Simulated seconds a real second, or max (as fast as it computes, no outside clients)
    /// [default: 1, with --play 20]
    #[arg(long, value_name = "N|max")]
    speed: Option<Speed>,
    /// Leave out controllers of the lab, for others in their place: kube-scheduler,
    /// deployment-controller and so on. The lab's day then begins now
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    without: Vec<Component>,
    /// Seed of everything random: names, ties, simulated faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after so much simulated time
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    run_for: Option<Duration>,
    /// How to tell what happens
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
    /// Simulated time between two samples of a GPU
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    sample: Duration,
    /// Simulated time between two scrapes of a GPU node's page
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    scrape: Duration,
    /// Period of the HorizontalPodAutoscaler controller
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    hpa_period: Duration,
    /// From Ready until a new node's device plugin shows its GPUs
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    gpu_ready: Duration,
    /// From a pod's binding until it runs
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pod_start: Duration,
    /// How long a node is unneeded before it goes
    #[arg(long, value_name = "DURATION", default_value = "600s", value_parser = duration)]
    unneeded: Duration,
    /// Simulate no kubelets, GPU pages and usage of pods: something else runs the pods, kwok for
    /// example
    #[arg(long)]
    no_kubelets: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = api::duration::GoDuration::parse(text).map_err(|e| e.to_string())?;
    if parsed.0 <= 0 {
        return Err(format!("'{text}' is not above zero"));
    }
    Ok(parsed.to_std())
}

/// Runs the lab until it is told to stop.
pub fn run(args: Args) -> Result<()> {
    let pools = if args.pool.is_empty() {
        Pool::defaults()
    } else {
        Pool::parse_all(&args.pool)?
    };
    let story = args.play.as_deref().map(Story::read).transpose()?;
    let speed = args
        .speed
        .unwrap_or(if story.is_some() && args.without.is_empty() {
            Speed::Times(20.0)
        } else {
            Speed::Times(1.0)
        });
    let clients =
        args.listen.is_some() || args.listen_prometheus.is_some() || args.kubeconfig.is_some();
    if speed == Speed::Max && clients {
        bail!(
            "--speed max lets no clients in: leave out --listen, --listen-prometheus and \
             --kubeconfig, or give a number as the speed"
        );
    }
    if speed == Speed::Max && story.is_none() && args.run_for.is_none() {
        bail!("--speed max has no end: give --for DURATION or --play STORY");
    }
    if speed != Speed::Times(1.0) && !args.without.is_empty() {
        bail!(
            "--without is for programs beside the lab, which live in real time: leave out --speed"
        );
    }
    let start = if args.without.is_empty() {
        LabOptions::default().start
    } else {
        jiff::Timestamp::now()
    };
    let options = LabOptions {
        start,
        without: args.without.iter().copied().collect(),
        seed: args.seed,
        pools,
        kubelets: !args.no_kubelets,
        delays: Delays {
            sample: args.sample,
            scrape: args.scrape,
            hpa_period: args.hpa_period,
            gpu_ready: args.gpu_ready,
            pod_start: args.pod_start,
            unneeded: args.unneeded,
        },
        ..LabOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("cannot start the simulation")?;
    match runtime.block_on(live(args, options, story, speed)) {
        // The reader has had enough: not an error, and everything is put away.
        Err(error) if error.is::<lines::Closed>() => Ok(()),
        other => other,
    }
}

async fn live(args: Args, options: LabOptions, story: Option<Story>, speed: Speed) -> Result<()> {
    let lab = Lab::start(options).await?;
    let (mut stop, on_signal) = stop::on_signal()?;
    let pacer = Pacer::new(match speed {
        Speed::Times(times) => times,
        Speed::Max => f64::MAX,
    });
    let bell = pacer.bell();
    on_signal.also_ring(bell.clone());
    let doors = match speed {
        Speed::Max => None,
        Speed::Times(_) => {
            let config = FrontConfig {
                listen: args.listen.unwrap_or(ANY_PORT),
                prometheus: args.listen_prometheus.unwrap_or(ANY_PORT),
                kubeconfig: args.kubeconfig.clone(),
            };
            let (doors, knocks) = front::open(&config, bell.clone())?;
            let desk = Desk {
                cluster: lab.cluster.clone(),
                store: lab.store.clone(),
                bell,
            };
            tokio::spawn(front::receive(desk, knocks));
            Some(doors)
        }
    };
    let mut out = lines::Teller::new(&args.format, speed, &lab);
    out.start(&lab, doors.as_ref(), speed)?;
    if speed != Speed::Max {
        tokio::spawn(pacer.run());
    }

    let mut changes = lab.cluster.subscribe();
    let mut applier = Applier::new(lab.client.clone());
    for file in &args.apply {
        for outcome in applier.apply(file).await? {
            let verb = if outcome.created {
                "created"
            } else {
                "configured"
            };
            out.did(lab.cluster.now(), &format!("{} {verb}", outcome.object))?;
        }
    }
    let (told, mut telling) = tokio::sync::mpsc::unbounded_channel::<(jiff::Timestamp, Told)>();
    let clock = lab.clock;
    let client = lab.client.clone();
    let mut playing = tokio::spawn(async move {
        match story {
            None => Ok(false),
            Some(story) => {
                let tell = |at, what| {
                    // The reader outlives the story.
                    let _ = told.send((at, what));
                };
                play(&story, client, clock, tell).await.map(|()| true)
            }
        }
    });
    let end = args.run_for.map(|time| tokio::time::Instant::now() + time);
    let mut frames = tokio::time::interval(out.frame());
    let mut played = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => break,
            name = lab.failed() => bail!("the lab's {name} stopped: this is a bug, please report it"),
            // Before the story's own words, so that a cause is told before
            // what the story makes of it.
            change = changes.next() => {
                if change.kind == ChangeKind::Lagged {
                    out.did(lab.cluster.now(), "(too much at once: some lines are left out)")?;
                } else if let Some(line) = lab::narrate::line(&change, lab.cluster.now()) {
                    out.line(&line)?;
                }
            }
            Some((at, what)) = telling.recv() => out.told(at, &what)?,
            result = &mut playing, if !played => {
                while let Ok((at, what)) = telling.try_recv() {
                    out.told(at, &what)?;
                }
                played = true;
                if result.context("the story's task ended")?? {
                    out.end_of_story(doors.is_some())?;
                    if speed == Speed::Max && end.is_none() {
                        break;
                    }
                }
            }
            _ = frames.tick() => out.draw(&lab)?,
            () = until(end) => break,
        }
    }
    out.finish(&lab)?;
    drop(doors);
    Ok(())
}

async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
