//! `visavis listen`: brings events to a program on the developer's machine, signed as webhooks are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;

use crate::net::event_stream::{Message, Parser};
use crate::net::{Client, Guard, HeaderMap, HeaderValue, Method, Request, StatusCode, Target, header};
use crate::webhooks::signature::{self, Secret};

#[derive(Args)]
pub(super) struct ListenArgs {
    /// Where to bring the events, such as <http://localhost:3000/hook>
    #[arg(long)]
    forward_to: String,
    /// An API key with the scope read
    #[arg(long, env = "VISAVIS_KEY", hide_env_values = true)]
    key: String,
    /// Where the API is
    #[arg(long, env = "VISAVIS_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Secret to sign with: `whsec_` and 24 to 64 bytes in Base64 [default: a new one, printed at start]
    #[arg(long, env = "VISAVIS_LISTEN_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Begin behind the event of this id [default: with what happens from now on]
    #[arg(long)]
    since: Option<uuid::Uuid>,
}

/// A stream says something every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// Longer than a stream lives.
const LONGEST: Duration = Duration::from_mins(30);
/// Between a stream and the next.
const AGAIN: Duration = Duration::from_secs(1);
/// As in production.
const PATIENCE: Duration = Duration::from_secs(15);

/// What one stream came to.
enum StreamEnd {
    /// As streams do, after a while or with their server.
    Again,
    /// Trying again will not help.
    Refused(String),
}

struct Forwarder {
    client: Client,
    api: Target,
    receiver: Target,
    key: HeaderValue,
    secret: Secret,
    last: Option<String>,
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
        println!("signed with {}", secret.reveal());
        secret
    };
    let last = args.since.map(|it| it.to_string());
    let mut session = Forwarder { client, api, receiver, key, secret, last };
    loop {
        match session.stream().await {
            Ok(StreamEnd::Again) => {}
            Ok(StreamEnd::Refused(why)) => bail!("{why}"),
            Err(error) => eprintln!("{error:#}: trying again"),
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
                println!("{} {} {}", message.kind, message.id, self.forward(&message).await);
                self.last = Some(message.id);
            }
        }
        Ok(StreamEnd::Again)
    }

    /// Brings it once, and says what came of it: a developer sees what is wrong and replays.
    async fn forward(&self, message: &Message) -> String {
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs()).cast_signed();
        let signature = self.secret.sign(&message.id, timestamp, &message.data);
        let Some(headers) = signature::headers(&message.id, timestamp, &signature) else {
            return "is malformed".to_owned();
        };
        let (target, body) = (self.receiver.clone(), Some(Bytes::from(message.data.clone())));
        let request = Request { method: Method::POST, target, headers, body, timeout: PATIENCE, max_answer: 1024 };
        match self.client.send_and_cut(request).await {
            Ok(answer) => answer.status.as_u16().to_string(),
            Err(error) => error.to_string(),
        }
    }
}
