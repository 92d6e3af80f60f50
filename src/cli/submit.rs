//! `visavis submit`: publishes pairs of images over AMQP, waits for the answers and prints them as a table.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use comfy_table::{Cell, CellAlignment};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::output::{OutputArgs, table};
use crate::queue::connection::Broker;
use crate::queue::producer::{Producer, ProducerReply};

#[derive(Args)]
pub(super) struct SubmitArgs {
    /// CSV file with the columns name, kind, reference, probe and, if wanted, `approve_score`; paths of images are
    /// relative to it
    pairs: PathBuf,
    /// Submit the whole list this many times, to measure a load
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// Mode of every request: FAST or ACCURATE [default: the server's default]
    #[arg(long)]
    search_mode: Option<String>,
    /// Seconds without an answer after which the command gives up
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Broker URL of the producer, such as <amqp://acme:password@localhost/%2f> [default: `AMQP_URL`]
    #[arg(long, env = "VISAVIS_PRODUCER_AMQP_URL", hide_env_values = true)]
    producer_amqp_url: Option<String>,
    #[arg(long, env = "AMQP_URL", hide_env_values = true, hide = true)]
    amqp_url: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Deserialize)]
struct SubmitPair {
    name: String,
    kind: String,
    reference: PathBuf,
    probe: PathBuf,
    /// Score from 0 to 100 at which a `face_match` approves; the organisation's setting when it is left out.
    #[serde(default)]
    approve_score: Option<f64>,
}

/// A submission that has no answer yet.
struct Sent {
    pair: usize,
    at: Instant,
}

/// A submission and its answer.
struct Done {
    pair: usize,
    after: Duration,
    answer: ProducerReply,
}

/// Submissions published before their confirms are awaited. It bounds the memory of a load.
const WINDOW: usize = 16;

pub(super) async fn run(args: SubmitArgs) -> anyhow::Result<ExitCode> {
    let url = args.producer_amqp_url.as_ref().or(args.amqp_url.as_ref());
    let url = url.context(
        "set VISAVIS_PRODUCER_AMQP_URL or AMQP_URL to the broker's URL, such as amqp://acme:password@localhost/%2f",
    )?;
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
        // While there is more to send, do not wait for answers.
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
    let has_failed = done.iter().any(|submission| submission.answer.kind == "failed");
    let load = (args.repeat > 1).then(|| load(&done, elapsed));
    let rows = rows(&pairs, &done);
    args.output.print(&document(&rows, load.as_ref()), || text(&rows, load.as_ref()))?;
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The pairs, and the request of each as it is sent.
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

/// The first submission of each pair.
fn rows<'a>(pairs: &'a [SubmitPair], done: &'a [Done]) -> Vec<(&'a SubmitPair, &'a Done)> {
    let first = |index: usize| done.iter().find(|submission| submission.pair == index);
    pairs.iter().enumerate().filter_map(|(index, pair)| Some((pair, first(index)?))).collect()
}

fn document(rows: &[(&SubmitPair, &Done)], load: Option<&Load>) -> Value {
    let row = |(pair, first): &(&SubmitPair, &Done)| {
        let payload = &first.answer.payload;
        json!({
            "name": pair.name,
            "kind": pair.kind,
            "answer": first.answer.kind,
            "job_id": payload["id"],
            "request_id": payload["request_id"],
            "status": payload["status"],
            "score": payload["score"],
            "milliseconds": milliseconds(first.after),
            "because": because(payload),
        })
    };
    json!({ "pairs": rows.iter().map(row).collect::<Vec<_>>(), "load": load })
}

fn text(rows: &[(&SubmitPair, &Done)], load: Option<&Load>) -> String {
    let mut table = table(["PAIR", "KIND", "REQUEST ID", "ANSWER", "STATUS", "SCORE", "MS", "BECAUSE"]);
    for (pair, first) in rows {
        let payload = &first.answer.payload;
        let text = |field: &str| payload[field].as_str().unwrap_or("-").to_owned();
        let score = payload["score"].as_f64().map_or_else(|| "-".to_owned(), |score| format!("{score:.2}"));
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
    let mut text = table.to_string();
    if let Some(Load { jobs, seconds, jobs_per_second, p50_ms, p95_ms }) = load {
        let _ = write!(
            text,
            "\n\n{jobs} jobs in {seconds:.1} s: {jobs_per_second:.1} jobs/s; from publishing to the last answer p50 \
             {p50_ms} ms, p95 {p95_ms} ms",
        );
    }
    if let Some(id) = rows.iter().find_map(|(_, first)| first.answer.payload["id"].as_str()) {
        text.push_str("\n\nOne of the jobs in full:");
        if Path::new(".local/env").exists() {
            text.push_str("\n  set -a; . .local/env; set +a");
        }
        let _ =
            write!(text, "\n  curl -s -H \"Authorization: Bearer $VISAVIS_KEY\" \"$VISAVIS_URL/v1/jobs/{id}?wait=30\"");
    }
    text
}

/// Why an answer is what it is: the code of a refusal or failure, or the warnings.
fn because(payload: &Value) -> String {
    let risk = |warning: &Value| warning["risk"].as_str().map(ToOwned::to_owned);
    let warnings = payload["warnings"].as_array().map(|list| list.iter().filter_map(risk).collect::<Vec<_>>());
    match (payload["code"].as_str(), payload["failure"]["code"].as_str(), warnings) {
        (Some(code), _, _) => match payload["field"].as_str() {
            Some(field) => format!("{code}: {field}"),
            None => code.to_owned(),
        },
        (None, Some(code), _) => code.to_owned(),
        (None, None, Some(mut warnings)) => {
            // Both images may have the same warning.
            warnings.dedup();
            warnings.join(", ")
        }
        (None, None, None) => String::new(),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How fast a load was processed. Times run from publishing to the last answer.
#[derive(Serialize)]
struct Load {
    jobs: usize,
    seconds: f64,
    jobs_per_second: f64,
    p50_ms: u64,
    p95_ms: u64,
}

fn load(done: &[Done], elapsed: Duration) -> Load {
    let mut times: Vec<_> = done.iter().map(|submission| submission.after).collect();
    times.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        milliseconds(times[index])
    };
    let seconds = elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let jobs_per_second = done.len() as f64 / seconds;
    Load { jobs: done.len(), seconds, jobs_per_second, p50_ms: at(0.50), p95_ms: at(0.95) }
}
