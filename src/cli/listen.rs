//! `visavis listen`: forwards events to a program on the developer's machine, signed like webhooks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::output::StreamOutputArgs;
use crate::net::event_stream::{Message, Parser};
use crate::net::{Client, Guard, HeaderMap, HeaderValue, Method, Request, StatusCode, Target, header};
use crate::webhooks::signature::{self, Secret};

#[derive(Args)]
pub(super) struct ListenArgs {
    /// URL that gets the events, such as <http://localhost:3000/hook>
    #[arg(long)]
    forward_to: String,
    /// API key with the scope read, such as the one that `visavis tenant key` prints
    #[arg(long, env = "VISAVIS_KEY", hide_env_values = true)]
    key: String,
    /// URL of the API
    #[arg(long, env = "VISAVIS_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Signing secret: `whsec_` and 24 to 64 bytes in Base64 [default: a new one, printed at start]
    #[arg(long, env = "VISAVIS_LISTEN_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Begin with the event after this one, named by its webhook-id [default: with the next event]
    #[arg(long)]
    since: Option<uuid::Uuid>,
    #[command(flatten)]
    output: StreamOutputArgs,
}

/// Longest silence of a stream: the API sends a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// Longer than the API keeps a stream open.
const LONGEST: Duration = Duration::from_mins(30);
/// Pause between one stream and the next.
const AGAIN: Duration = Duration::from_secs(1);
/// Time limit for the receiver, as in production.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a stream ended.
enum StreamEnd {
    /// The API closed it, as it does regularly and when it restarts.
    Closed,
    /// Another attempt will fail in the same way.
    Refused(String),
}

/// Reads events from the API and forwards each to the receiver.
struct Forwarder {
    client: Client,
    api: Target,
    receiver: Target,
    key: HeaderValue,
    secret: Secret,
    /// Id of the newest event that was forwarded.
    last: Option<String>,
    output: StreamOutputArgs,
}

/// What became of one event at the receiver.
enum Forwarded {
    /// The receiver answered with this HTTP status.
    Status(u16),
    Failed(String),
}

pub(super) async fn run(args: ListenArgs) -> anyhow::Result<()> {
    let client = Client::new(Guard::anywhere())?;
    let receiver = client.guard().check(&args.forward_to).context("--forward-to")?;
    let api = client.guard().check(&format!("{}/v1/events", args.url.trim_end_matches('/'))).context("--url")?;
    let mut key = HeaderValue::try_from(format!("Bearer {}", args.key)).context("--key is no API key")?;
    key.set_sensitive(true);
    let secret = if let Some(text) = &args.secret {
        Secret::parse(text).context("--secret must be whsec_ and 24 to 64 bytes in Base64")?
    } else {
        let secret = Secret::from_random(rand::random());
        let text = secret.reveal();
        args.output.print(&json!({ "signing_secret": text }), || format!("signed with {text}"))?;
        secret
    };
    let last = args.since.map(|id| id.to_string());
    let mut session = Forwarder { client, api, receiver, key, secret, last, output: args.output };
    loop {
        match session.stream().await {
            Ok(StreamEnd::Closed) => {}
            Ok(StreamEnd::Refused(why)) => bail!("{why}"),
            Err(error) => eprintln!("{error:#}: connecting again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

impl Forwarder {
    async fn stream(&mut self) -> anyhow::Result<StreamEnd> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, self.key.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(last) = &self.last {
            headers.insert("last-event-id", HeaderValue::try_from(last)?);
        }
        let (target, body) = (self.api.clone(), None);
        let request = Request { method: Method::GET, target, headers, body, timeout: LONGEST, max_answer: 0 };
        let opened =
            tokio::time::timeout(PATIENCE, self.client.open(request)).await.context("the API does not answer")?;
        let mut answer = opened.context("the API does not answer")?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Ok(StreamEnd::Refused("--key is no valid API key".to_owned())),
            StatusCode::FORBIDDEN => return Ok(StreamEnd::Refused("--key lacks the scope read".to_owned())),
            StatusCode::BAD_REQUEST => {
                return Ok(StreamEnd::Refused("--since names no event of this account".to_owned()));
            }
            status => bail!("the API answers {status}"),
        }
        eprintln!("listening");
        let mut parser = Parser::default();
        while let Some(bytes) = tokio::time::timeout(SILENCE, answer.chunk())
            .await
            .context("the API went silent")?
            .context("the stream broke off")?
        {
            for message in parser.push(&bytes) {
                let forwarded = self.forward(&message).await;
                self.output.print(&document(&message, &forwarded), || line(&message, &forwarded))?;
                self.last = Some(message.id);
            }
        }
        Ok(StreamEnd::Closed)
    }

    /// Forwards one event, once. A failed event is not retried: a developer corrects the receiver and runs the command
    /// again with `--since`.
    async fn forward(&self, message: &Message) -> Forwarded {
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()).cast_signed();
        let signature = self.secret.sign(&message.id, timestamp, &message.data);
        let Some(headers) = signature::headers(&message.id, timestamp, &signature) else {
            return Forwarded::Failed("the event's id fits no header".to_owned());
        };
        let (target, body) = (self.receiver.clone(), Some(Bytes::from(message.data.clone())));
        let request = Request { method: Method::POST, target, headers, body, timeout: PATIENCE, max_answer: 1024 };
        match self.client.send_and_cut(request).await {
            Ok(answer) => Forwarded::Status(answer.status.as_u16()),
            Err(error) => Forwarded::Failed(error.to_string()),
        }
    }
}

/// The id of what the event is about, such as the job's. Receivers see it as `data.id`.
fn data_id(message: &Message) -> Option<String> {
    let body: Value = serde_json::from_str(&message.data).ok()?;
    Some(body.pointer("/data/id")?.as_str()?.to_owned())
}

/// `type data.id webhook-id -> status`: the values that a receiver finds in the event and in the header webhook-id.
fn line(message: &Message, forwarded: &Forwarded) -> String {
    let about = data_id(message).unwrap_or_else(|| "-".to_owned());
    let result = match forwarded {
        Forwarded::Status(status) => status.to_string(),
        Forwarded::Failed(reason) => reason.clone(),
    };
    format!("{} {about} webhook-id {} -> {result}", message.kind, message.id)
}

fn document(message: &Message, forwarded: &Forwarded) -> Value {
    let (status, error) = match forwarded {
        Forwarded::Status(status) => (Some(status), None),
        Forwarded::Failed(reason) => (None, Some(reason)),
    };
    json!({
        "type": message.kind,
        "id": data_id(message),
        "webhook_id": message.id,
        "status": status,
        "error": error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_the_receiver_sees() {
        let data = r#"{"type":"job.completed","data":{"id":"job-1"}}"#.to_owned();
        let message = Message { id: "event-1".to_owned(), kind: "job.completed".to_owned(), data };
        let answered = Forwarded::Status(204);
        assert_eq!(line(&message, &answered), "job.completed job-1 webhook-id event-1 -> 204");
        let failed = document(&message, &Forwarded::Failed("no connection".to_owned()));
        let expected = json!({
            "type": "job.completed", "id": "job-1", "webhook_id": "event-1", "status": null, "error": "no connection",
        });
        assert_eq!(failed, expected);
    }
}
