//! A receiver of webhooks that answers as a test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::poll::obtain;

/// A request that was received.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("an event is JSON")
    }
}

/// What a receiver answers.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    /// With a header.
    With(u16, &'static str, String),
    /// With a body.
    Body(u16, String),
    /// Nothing, ever.
    Hang,
}

/// A server on this machine. Dropping it closes it.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// Always 200.
    pub async fn start() -> Self {
        Self::answering(|_, _| Reply::Status(200)).await
    }

    /// `answer` gets the number of requests before this one, and the request.
    pub async fn answering(answer: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&seen), Arc::new(answer));
        let take = move |headers: HeaderMap, body: Bytes| {
            let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
            async move {
                let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
                let seen = Seen {
                    id: text("webhook-id"),
                    timestamp: text("webhook-timestamp"),
                    signature: text("webhook-signature"),
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                let reply = {
                    let mut kept = kept.lock().unwrap();
                    let reply = answer(kept.len(), &seen);
                    kept.push(seen);
                    reply
                };
                respond(reply).await
            }
        };
        let router = Router::new().fallback(any(take));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.expect("the receiver serves") });
        Self { address, seen, _serving: serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests, once there are at least `count`.
    pub async fn await_seen(&self, count: usize) -> Vec<Seen> {
        obtain(&format!("{count} events arrive"), Duration::from_secs(30), async || {
            let seen = self.seen();
            (seen.len() >= count).then_some(seen)
        })
        .await
    }
}

async fn respond(reply: Reply) -> Response {
    let status = |it: u16| StatusCode::from_u16(it).unwrap();
    match reply {
        Reply::Status(it) => status(it).into_response(),
        Reply::With(it, name, value) => (status(it), [(name, value)]).into_response(),
        Reply::Body(it, body) => (status(it), body).into_response(),
        Reply::Hang => std::future::pending().await,
    }
}
