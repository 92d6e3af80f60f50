//! `visavis submit`: publishes pairs of images over AMQP, waits for the answers, and prints a table.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::queue::connection::Broker;
use crate::queue::producer::{Producer, ProducerReply};

#[derive(Args)]
pub(super) struct SubmitArgs {
    /// CSV with the columns name, kind, reference, probe, and perhaps `approve_score`; image paths are relative to the file
    pairs: PathBuf,
    /// Submit the whole list so many times: a load
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Mode of every request: FAST or ACCURATE [default: the server's]
    #[arg(long)]
    search_mode: Option<String>,
    /// Seconds to wait for the next answer before giving up
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// The producer's broker URL; `AMQP_URL` when this is not set
    #[arg(long, env = "VISAVIS_PRODUCER_AMQP_URL", hide_env_values = true)]
    producer_amqp_url: Option<String>,
    #[arg(long, env = "AMQP_URL", hide_env_values = true, hide = true)]
    amqp_url: Option<String>,
}

#[derive(Deserialize)]
struct SubmitPair {
    name: String,
    kind: String,
    reference: PathBuf,
    probe: PathBuf,
    /// Of a `face_match`, 0-100; the organisation's where it is left out.
    #[serde(default)]
    approve_score: Option<f64>,
}

/// One submission on its way.
struct Sent {
    pair: usize,
    at: Instant,
}

/// What became of it.
struct Done {
    pair: usize,
    after: Duration,
    answer: ProducerReply,
}

/// Submissions that are published before their confirms are awaited; bounds the memory that a load takes.
const WINDOW: usize = 16;

pub(super) async fn run(args: SubmitArgs) -> anyhow::Result<ExitCode> {
    let url = args.producer_amqp_url.as_ref().or(args.amqp_url.as_ref());
    let url = url.context("set VISAVIS_PRODUCER_AMQP_URL, or AMQP_URL, to the broker's URL")?;
    let (pairs, bodies) = read_pairs(&args.pairs, args.search_mode.as_deref())?;
    let mut producer = Producer::connect(Broker::parse(url)?).await?;

    let total = pairs.len() * args.repeat as usize;
    let bar = ProgressBar::new(total as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} answered, {elapsed}")?);
    let patience = Duration::from_secs(args.patience);
    let begun = Instant::now();
    let mut queue = (0..args.repeat).flat_map(|_| 0..pairs.len()).peekable();
    let mut sent: HashMap<String, Sent> = HashMap::new();
    let mut done: Vec<Done> = Vec::with_capacity(total);
    while done.len() < total {
        let window: Vec<_> = queue.by_ref().take(WINDOW).collect();
        if !window.is_empty() {
            let messages = window.into_iter().map(|pair| {
                let id = Uuid::now_v7().to_string();
                sent.insert(id.clone(), Sent { pair, at: Instant::now() });
                (id, bodies[pair].clone())
            });
            producer.submit(messages.collect::<Vec<_>>()).await.context(
                "cannot publish to the exchange visavis.submissions: has `visavis serve` run on this broker, and may this \
                 user publish there?",
            )?;
        }
        // While there is more to send, take only the answers that are there already.
        let mut wait = if queue.peek().is_some() { Duration::ZERO } else { patience };
        loop {
            match producer.next_answer(wait).await {
                Ok(answer) if answer.kind == "accepted" => {}
                Ok(answer) => {
                    if let Some(sent) = sent.remove(&answer.correlation_id) {
                        done.push(Done { pair: sent.pair, after: sent.at.elapsed(), answer });
                        bar.inc(1);
                    }
                }
                Err(crate::queue::Error::Timeout { .. }) if wait.is_zero() => break,
                Err(crate::queue::Error::Timeout { .. }) => {
                    bar.abandon();
                    let (answered, seconds) = (done.len(), args.patience);
                    bail!("{answered} of {total} were answered, then none in {seconds} s: is `visavis serve` running?");
                }
                Err(error) => {
                    bar.abandon();
                    bail!("{} of {total} were answered, then: {error}", done.len());
                }
            }
            if done.len() == total {
                break;
            }
            wait = if queue.peek().is_some() { Duration::ZERO } else { patience };
        }
    }
    bar.finish_and_clear();

    let elapsed = begun.elapsed();
    print_table(&pairs, &done);
    if args.repeat > 1 {
        print_rates(&mut done, elapsed);
    }
    if let Some(id) = done.iter().find_map(|it| it.answer.payload["id"].as_str()) {
        println!("\nOne of them in full:");
        if Path::new(".local/env").exists() {
            println!("  set -a; . .local/env; set +a");
        }
        println!("  curl -s -H \"Authorization: Bearer $VISAVIS_KEY\" \"$VISAVIS_URL/v1/jobs/{id}?wait=30\"");
    }
    let failed = done.iter().any(|it| it.answer.kind == "failed");
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The pairs, and each one's request as it will be sent.
fn read_pairs(path: &Path, mode: Option<&str>) -> anyhow::Result<(Vec<SubmitPair>, Vec<Vec<u8>>)> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pairs: Vec<SubmitPair> = reader.deserialize().collect::<Result<_, _>>().with_context(|| {
        format!("{} must have the columns name, kind, reference, probe, and may have approve_score", path.display())
    })?;
    if pairs.is_empty() {
        bail!("{} has no pairs", path.display());
    }
    let mut images: HashMap<&Path, String> = HashMap::new();
    for image in pairs.iter().flat_map(|pair| [pair.reference.as_path(), pair.probe.as_path()]) {
        let file = folder.join(image);
        let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        images.insert(image, BASE64_STANDARD.encode(bytes));
    }
    let bodies = pairs.iter().map(|pair| {
        let (reference, probe) = match pair.kind.as_str() {
            "likeness_check" => ("photo", "probe_image"),
            _ => ("source_image", "target_image"),
        };
        let mut request = json!({
            reference: images[pair.reference.as_path()],
            probe: images[pair.probe.as_path()],
        });
        if let Some(score) = pair.approve_score {
            request["approve_score"] = json!(score);
        }
        if let Some(mode) = mode {
            request["search_mode"] = json!(mode);
        }
        let body = json!({ "version": 1, "kind": pair.kind, "request": request, "metadata": { "pair": pair.name } });
        body.to_string().into_bytes()
    });
    let bodies = bodies.collect();
    Ok((pairs, bodies))
}

/// One row a pair: its first submission.
fn print_table(pairs: &[SubmitPair], done: &[Done]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["PAIR", "KIND", "REQUEST ID", "ANSWER", "STATUS", "SCORE", "MS", "BECAUSE"]);
    for (index, pair) in pairs.iter().enumerate() {
        let Some(first) = done.iter().find(|it| it.pair == index) else { continue };
        let payload = &first.answer.payload;
        let text = |field: &str| payload[field].as_str().unwrap_or("-").to_owned();
        let score = payload["score"].as_f64().map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
        table.add_row([
            Cell::new(&pair.name),
            Cell::new(&pair.kind),
            Cell::new(text("request_id")),
            Cell::new(&first.answer.kind),
            Cell::new(text("status")),
            Cell::new(score).set_alignment(CellAlignment::Right),
            Cell::new(first.after.as_millis()).set_alignment(CellAlignment::Right),
            Cell::new(because(payload)),
        ]);
    }
    println!("{table}");
}

fn because(payload: &Value) -> String {
    let warnings =
        payload["warnings"].as_array().map(|it| it.iter().filter_map(|it| it["risk"].as_str()).collect::<Vec<_>>());
    match (payload["code"].as_str(), payload["failure"]["code"].as_str(), warnings) {
        (Some(code), _, _) => match payload["field"].as_str() {
            Some(field) => format!("{code}: {field}"),
            None => code.to_owned(),
        },
        (None, Some(code), _) => code.to_owned(),
        (None, None, Some(mut warnings)) => {
            // Of both images at once, say.
            warnings.dedup();
            warnings.join(", ")
        }
        (None, None, None) => String::new(),
    }
}

fn print_rates(done: &mut [Done], elapsed: Duration) {
    done.sort_by_key(|it| it.after);
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((done.len() - 1) as f64 * share).round() as usize;
        done[index].after.as_millis()
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = done.len() as f64 / elapsed.as_secs_f64();
    println!(
        "\n{} jobs in {:.1} s: {rate:.1} jobs/s; from publishing to the last answer p50 {} ms, p95 {} ms",
        done.len(),
        elapsed.as_secs_f64(),
        at(0.50),
        at(0.95),
    );
}
