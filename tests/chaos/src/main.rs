//! `chaos`: visavis under load and faults, then an audit. `./dev chaos` builds it and starts the services.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos::plan::{Plan, Size};
use chaos::report;
use chaos::run::{Order, run};
use chaos::services::Addresses;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Puts several processes of visavis under load and faults, and audits what came of it.
#[derive(Parser)]
struct Arguments {
    /// Draws load and faults; the same seed and size give the same plan [default: any]
    #[arg(long)]
    seed: Option<u64>,
    /// How long load and faults last
    #[arg(long, default_value_t = 15.0)]
    minutes: f64,
    #[arg(long, default_value_t = 10_000)]
    jobs: usize,
    /// SIGKILLs, evenly over the time
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// Faults of other sorts [default: as many as SIGKILLs]
    #[arg(long)]
    faults: Option<usize>,
    /// Sorts of faults that are left out, such as poison,read-only
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Minutes that everything may take to end after the load
    #[arg(long, default_value_t = 10.0)]
    patience: f64,
    /// Print the faults of the plan, and do nothing
    #[arg(long)]
    plan: bool,
    /// Keep the database and the logs; after a violation they stay anyway
    #[arg(long)]
    keep: bool,
    /// The binary of visavis
    #[arg(long, env = "VISAVIS_BIN")]
    binary: PathBuf,
    /// A binary of another version, which every second process runs
    #[arg(long)]
    other_binary: Option<PathBuf>,
    #[arg(long, env = "VISAVIS_MODELS")]
    models: PathBuf,
    #[arg(long, env = "VISAVIS_ONNXRUNTIME")]
    onnxruntime: PathBuf,
    #[command(flatten)]
    addresses: Addresses,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    // HTTP clients need a TLS provider even if they speak no TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let size = Size {
        seed: arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
        jobs: arguments.jobs,
        kills: arguments.kills,
        faults: arguments.faults.unwrap_or(arguments.kills),
        load: Duration::from_secs_f64(arguments.minutes * 60.0),
    };
    let plan = Plan::draw(size, &arguments.without);
    println!("seed {} (to repeat: --seed {0})", size.seed);
    if arguments.plan {
        print!("{plan}");
        return Ok(ExitCode::SUCCESS);
    }
    let order = Order {
        plan,
        addresses: arguments.addresses,
        binary: arguments.binary,
        other: arguments.other_binary,
        models: arguments.models,
        onnxruntime: arguments.onnxruntime,
        patience: Duration::from_secs_f64(arguments.patience * 60.0),
        keep: arguments.keep,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    // An interrupted run has no audit, and leaves nothing behind.
    let outcome = tokio::select! {
        outcome = run(order) => outcome?,
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::FAILURE),
    };
    print!("{}", report::table(&outcome.checks));
    println!("{}", outcome.summary);
    Ok(if outcome.is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
