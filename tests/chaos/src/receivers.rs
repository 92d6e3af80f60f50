//! Receivers of webhooks: some fail, some hang, some do their work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::plan::Trouble;
use crate::proxy::Proxy;
use crate::witness::{Endpoint, WebhookSeen, Witness};

/// A server with several endpoints, behind a bad network.
pub struct Receivers {
    proxy: Proxy,
    is_calm: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

/// How an endpoint behaves until the calm: in the path of its URL.
const MANNERS: [&str; 3] = ["sound", "failing", "hanging"];

impl Receivers {
    /// # Errors
    /// When no port is free.
    pub async fn start(witness: Arc<Witness>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Proxy::before(listener.local_addr()?).await?;
        let is_calm = Arc::new(AtomicBool::new(false));
        let (calm, counter) = (Arc::clone(&is_calm), Arc::new(AtomicUsize::new(0)));
        let take = move |Path(manner): Path<String>, headers: HeaderMap, body: Bytes| {
            let (witness, calm, counter) = (Arc::clone(&witness), Arc::clone(&calm), Arc::clone(&counter));
            async move {
                let turn = counter.fetch_add(1, Ordering::Relaxed);
                let is_calm = calm.load(Ordering::Relaxed);
                let fails = !is_calm && manner == "failing" && turn % 10 < 3;
                let hangs = !is_calm && manner == "hanging" && turn % 10 < 1;
                see(&witness, &headers, &body, !fails && !hangs);
                if hangs {
                    std::future::pending::<()>().await;
                }
                if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
            }
        };
        let router = Router::new().route("/{manner}", post(take));
        let mut serving = JoinSet::new();
        serving.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { proxy, is_calm, _serving: serving })
    }

    /// One URL for each manner.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        MANNERS.iter().map(|manner| format!("http://{}/{manner}", self.proxy.address)).collect()
    }

    pub async fn suffer(&self, trouble: Trouble) {
        self.proxy.suffer(trouble).await;
    }

    /// From now on every endpoint takes everything.
    pub fn calm(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        self.proxy.heal();
    }
}

fn see(witness: &Witness, headers: &HeaderMap, body: &[u8], is_taken: bool) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, timestamp, signature) = (text("webhook-id"), text("webhook-timestamp"), text("webhook-signature"));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let mut sight = witness.sight();
    // The secret that signed it tells the endpoint.
    let endpoint = sight.endpoints.iter().find(|endpoint| is_signed_by(endpoint, &signed, &signature));
    let seen = WebhookSeen {
        endpoint: endpoint.map_or(Uuid::nil(), |endpoint| endpoint.id),
        is_signed: endpoint.is_some(),
        id,
        body: serde_json::from_slice(body).unwrap_or_default(),
        is_taken,
    };
    sight.webhooks.push(seen);
}

/// Standard Webhooks: `v1,` and the HMAC-SHA256 of id, timestamp and body, in Base64.
fn is_signed_by(endpoint: &Endpoint, signed: &[u8], signatures: &str) -> bool {
    let secret = endpoint.secret.strip_prefix("whsec_").unwrap_or_default();
    let Ok(secret) = BASE64_STANDARD.decode(secret) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    signatures
        .split(' ')
        .filter_map(|signature| BASE64_STANDARD.decode(signature.strip_prefix("v1,")?).ok())
        .any(|tag| hmac::verify(&key, signed, &tag).is_ok())
}
