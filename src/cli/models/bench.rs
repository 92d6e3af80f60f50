//! `visavis models bench`: how long one run of each network takes, alone on one thread.

use std::num::NonZeroUsize;
use std::time::Instant;

use clap::Args;
use comfy_table::{Cell, CellAlignment};
use ndarray::Array4;
use serde_json::json;

use crate::cli::output::{OutputArgs, table};
use crate::config::VisionArgs;
use crate::vision::Runtime;
use crate::vision::RuntimeFault;
use crate::vision::network::Onnx;

#[derive(Args)]
pub(in crate::cli) struct BenchArgs {
    /// Measured runs of each network
    #[arg(long, default_value = "50")]
    repeat: NonZeroUsize,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    vision: VisionArgs,
}

/// Runs before the measured ones: they fill caches, allocate memory and raise the core's clock.
const WARM_UP: usize = 5;

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let pack = args.vision.pack()?;
    let runtime = args.vision.runtime(&pack)?;
    let provider = runtime.provider().to_string();
    let mut table = table(["NETWORK", "INPUT", "PROVIDER", "MEDIAN MS", "P95 MS"]);
    let mut documents = Vec::new();
    for network in pack.networks() {
        let times = measure(network, &runtime, args.repeat.get())?;
        let (side, median, p95) = (network.interface.side, share(&times, 0.5), share(&times, 0.95));
        let number = |ms: f64| Cell::new(format!("{ms:.2}")).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(network.label()),
            Cell::new(format!("{side} x {side}")),
            Cell::new(&provider),
            number(median),
            number(p95),
        ]);
        documents.push(json!({
            "network": network.label(),
            "side": side,
            "provider": provider,
            "median_ms": median,
            "p95_ms": p95,
        }));
    }
    args.output.print(&json!({ "networks": documents }), || table.to_string())
}

/// Milliseconds of each run, in ascending order.
fn measure(network: &Onnx, runtime: &Runtime, repeat: usize) -> Result<Vec<f64>, RuntimeFault> {
    let mut model = network.open(runtime)?;
    let side = network.interface.side;
    // Values of the size that pictures give. The time does not depend on them.
    let input = Array4::from_shape_fn((1, 3, side, side), |(_, c, y, x)| if (c + y + x) % 2 == 0 { 0.5 } else { -0.5 });
    for _ in 0..WARM_UP {
        model.run(input.view())?;
    }
    let mut times = Vec::with_capacity(repeat);
    for _ in 0..repeat {
        let start = Instant::now();
        model.run(input.view())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// The shortest time within which `share` of the runs ended: a quantile.
fn share(ascending: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of runs, and an index below it"
    )]
    let at = (ascending.len() as f64 * share).ceil() as usize;
    ascending.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_least_time_that_so_many_runs_stay_within() {
        let times: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!((share(&times, 0.5), share(&times, 0.95), share(&times[..1], 0.5)), (10.0, 19.0, 1.0));
    }
}
