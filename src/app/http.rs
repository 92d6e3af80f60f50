//! The role `api`: what the handlers need, and the server that runs them.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::HeaderValue;
use axum_server::accept::NoDelayAcceptor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Process, Role};
use crate::api::{self, AdminToken, ApiContext, Feed, Limits, Probe, Waiters};
use crate::config::ApiArgs;
use crate::desk::Desk;
use crate::images::Images;
use crate::lifecycle::Lifecycle;
use crate::store;
use crate::vision::Provider;
use crate::webhooks::Endpoints;

/// Time for the head of a new connection's first request.
const FIRST_REQUEST: Duration = Duration::from_secs(20);

/// Time for the heads of later requests, and therefore for an idle connection.
const NEXT_REQUEST: Duration = Duration::from_secs(75);

/// Bytes of a body that a connection of HTTP/1.1, or a stream of HTTP/2, takes before a handler asks for them. Until
/// then its sender is unknown and nobody is charged. A proxy nearby needs no more.
const READ_AHEAD: u32 = 64 << 10;

/// The same for all streams of an HTTP/2 connection together.
const READ_AHEAD_OF_STREAMS: u32 = 512 << 10;

/// How long readiness keeps an answer of the database.
const DATABASE_HOLDS: Duration = Duration::from_secs(3);
/// How long it keeps one of the blob store. In a bucket each costs three requests.
const BLOBS_HOLD: Duration = Duration::from_secs(10);
/// Time limit of a probe of the blob store.
const BLOBS_LIMIT: Duration = Duration::from_millis(2500);

/// A server that listens and does not answer yet.
pub(super) struct HttpServer {
    address: SocketAddr,
    serving: Pin<Box<dyn Future<Output = std::io::Result<()>> + Send>>,
}

impl HttpServer {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process stops.
    pub(super) fn start(self, life: &Lifecycle) {
        life.spawn("api", async move {
            if let Err(error) = self.serving.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
    }
}

/// Makes the server. `provider` is where the networks of this process compute, if it has any.
///
/// # Errors
/// When the address is in use, a setting is malformed, or the signing keys cannot be published.
pub(super) async fn prepare(process: &Process, provider: Option<Provider>) -> anyhow::Result<HttpServer> {
    let address = process.args.listen;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    info!(%address, "listening");
    let public_url = process.args.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    if !public_url.starts_with("https://") {
        warn!(public_url, "links to images are not https: set VISAVIS_PUBLIC_URL to the URL that clients use");
    }
    let origins = origins(&process.args.api)?;
    let context = context(process, &public_url, provider).await?;
    let router = api::router(context, &origins);
    let serving = serve(listener.into_std()?, router, process.life.stopping().clone())?;
    Ok(HttpServer { address, serving: Box::pin(serving) })
}

async fn context(process: &Process, public_url: &str, provider: Option<Provider>) -> anyhow::Result<ApiContext> {
    let Process { args, store, intake, life, guard, .. } = process;
    let admin = admin_token(&args.api)?;
    let images = Images::new(store.clone(), intake.media.clone(), public_url)?;
    images.publish_keys().await.context("the signing keys cannot be published")?;
    let (pepper, rates) = (intake.pepper.clone(), intake.defaults.rates.clone());
    let is_secure = public_url.starts_with("https://");
    let proxies = args.api.trusted_proxies.clone();
    let desk = Desk::start(store.for_desk(), images.clone(), pepper.clone(), rates, is_secure, proxies, life)?;
    let signing = images.clone();
    Ok(ApiContext {
        store: store.clone(),
        pepper,
        intake: intake.clone(),
        images,
        waiters: Waiters::start(store.clone(), life),
        endpoints: Endpoints::new(store.clone(), intake.media.keyring().clone(), *guard),
        feed: Feed::start(store.clone(), life),
        desk,
        limits: Limits::new(args.api.body_budget << 20),
        admin,
        probes: probes(process).into(),
        provider: provider.map(Provider::name),
        signer: Some(Arc::new(move |value| signing.signer().sign_detached(value).ok())),
    })
}

fn admin_token(args: &ApiArgs) -> anyhow::Result<Option<AdminToken>> {
    let Some(token) = &args.admin_token else { return Ok(None) };
    let token = AdminToken::new(token).context("VISAVIS_ADMIN_TOKEN must have at least 32 characters")?;
    Ok(Some(token))
}

fn origins(args: &ApiArgs) -> anyhow::Result<Vec<HeaderValue>> {
    let origins = args.cors_origins.iter().filter(|origin| !origin.is_empty()).map(|origin| origin.parse());
    origins.collect::<Result<_, _>>().context("VISAVIS_CORS_ORIGINS is malformed: write https://host, with commas")
}

/// What must work before this process gets traffic.
fn probes(process: &Process) -> Vec<Probe> {
    let (store, media) = (process.store.clone(), process.intake.media.clone());
    let mut probes = vec![
        Probe::new("database", DATABASE_HOLDS, move || {
            let store = store.clone();
            Box::pin(async move {
                store.check_writing().await.map_err(|error| match error {
                    store::Error::ReadOnly => "read-only",
                    _ => "no answer",
                })
            })
        }),
        Probe::new("blobs", BLOBS_HOLD, move || {
            let media = media.clone();
            Box::pin(async move {
                media.probe(BLOBS_LIMIT).await.map_err(|error| {
                    warn!(%error, "the blob store is not ready");
                    "cannot be written"
                })
            })
        }),
    ];
    if [Role::Worker, Role::Relay, Role::Intake].into_iter().any(|role| process.has(role)) {
        let broker = process.broker.clone();
        let ask = move || if broker.is_connected() { Ok(()) } else { Err("not connected") };
        probes.push(Probe::new("broker", Duration::ZERO, move || Box::pin(std::future::ready(ask()))));
    }
    probes
}

/// Serves until `stopping`, and then finishes the requests that have begun. Connections without a complete request head
/// are closed after a time limit, and do not delay the end.
fn serve(
    listener: std::net::TcpListener,
    router: Router,
    stopping: CancellationToken,
) -> std::io::Result<impl Future<Output = std::io::Result<()>>> {
    let handle = axum_server::Handle::new();
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(NoDelayAcceptor::new())
        .handle(handle.clone())
        .first_request_timeout(FIRST_REQUEST);
    server.http_builder().http1().header_read_timeout(NEXT_REQUEST).max_buf_size(READ_AHEAD as usize);
    let mut http2 = server.http_builder().http2();
    http2.keep_alive_interval(FIRST_REQUEST);
    http2.initial_stream_window_size(READ_AHEAD).initial_connection_window_size(READ_AHEAD_OF_STREAMS);
    Ok(async move {
        let serving = server.serve(router.into_make_service_with_connect_info::<SocketAddr>());
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended,
            () = stopping.cancelled() => handle.graceful_shutdown(None),
        }
        serving.await
    })
}
