//! The composition root: starts the roles of a process and stops them in good order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::HeaderValue;
use axum_server::accept::NoDelayAcceptor;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::{self, AdminToken, ApiContext, Feed, Limits, Probe, ProbeFuture, Waiters};
use crate::config::ServeArgs;
use crate::desk::Desk;
use crate::images::Images;
use crate::intake;
use crate::janitor;
use crate::jobs;
use crate::lifecycle::{Lifecycle, PATIENCE};
use crate::net;
use crate::relay::{self, RelaySettings};
use crate::vision::{Engine, EngineSettings, Provider};
use crate::webhooks::{Dispatcher, Endpoints};
use crate::worker::Worker;
use crate::worker::slots::Slots;

/// A part of the work that a process can take on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Every role.
    All,
    /// HTTP: jobs in, results out.
    Api,
    /// Submissions from the broker into Postgres.
    Intake,
    /// Doorbells and replies from Postgres to the broker; the sweeper.
    Relay,
    /// Comparisons.
    Worker,
    /// Events to webhook endpoints.
    Webhooks,
    /// Erasure of images whose time is over.
    Janitor,
}

/// For connections and compute threads to end, once the work has.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// For the head of a new connection's first request.
const FIRST_REQUEST: Duration = Duration::from_secs(20);

/// For the heads of the others: how long a connection may be kept without a request, too.
const NEXT_REQUEST: Duration = Duration::from_secs(75);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When a part that a role needs is missing at start.
pub async fn serve(args: ServeArgs, roles: &[Role]) -> anyhow::Result<()> {
    let plays = |role| roles.contains(&role) || roles.contains(&Role::All);
    let life = Lifecycle::new();
    stop_on_signal(&life)?;

    let store = args.database.store().await?;
    let broker = args.broker.broker()?;
    let mut intake = args.intake.intake(store.clone())?;
    intake.defaults.rates = args.vision.rates()?;
    let mut engine = None;
    let mut provider = None;
    let mut address = None;

    // Once, and before anything runs: what the operator should know stands at the log's head.
    let guard = args.outgoing.guard();
    if plays(Role::Worker) {
        let sources = Arc::new(args.identity.sources(&intake, guard)?);
        let (started, on) = start_engine(&args).await?;
        let started = Arc::new(started);
        provider = Some(on.name());
        engine = Some(Arc::clone(&started));
        // One job more than there are threads: its images are fetched while the others compute.
        let slots = Slots::new(threads(&args).get() + 1);
        let (store, media, pepper) = (store.clone(), intake.media.clone(), intake.pepper.clone());
        let context = jobs::Context { engine: started, sources, video: args.video.frames()? };
        Worker { store, media, pepper, context, slots, life: life.clone() }.start(&broker);
    }
    if plays(Role::Relay) {
        let settings = RelaySettings { lane_depth: args.lane_depth, ..RelaySettings::default() };
        relay::start(&store, &broker, settings, &life);
    }
    if plays(Role::Intake) {
        intake::amqp::start(&intake, &broker, &life);
        intake::dead_letters::start(&intake, &broker, &life);
    }
    if plays(Role::Webhooks) {
        let client = net::Client::new(guard)?;
        Dispatcher::new(store.clone(), intake.media.keyring().clone(), client, args.webhooks.settings()).start(&life);
    }
    if plays(Role::Janitor) {
        janitor::start(&store, &intake.media, &life);
    }
    if plays(Role::Api) {
        let listener =
            TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
        let listening = listener.local_addr()?;
        info!(address = %listening, "listening");
        address = Some(listening);
        let public_url = args.public_url.clone().unwrap_or_else(|| format!("http://{listening}"));
        if !public_url.starts_with("https://") {
            warn!(public_url, "URLs of images are not https: set VISAVIS_PUBLIC_URL to what clients see of this API");
        }
        let images = Images::new(store.clone(), intake.media.clone(), &public_url)?;
        images.publish_keys().await.context("the signing keys cannot be published")?;
        let mut probes = vec![probe("database", {
            let store = store.clone();
            move || {
                let store = store.clone();
                Box::pin(async move { store.ping().await.is_ok() })
            }
        })];
        if [Role::Worker, Role::Relay, Role::Intake].into_iter().any(plays) {
            let broker = broker.clone();
            probes.push(probe("broker", move || Box::pin(std::future::ready(broker.is_connected()))));
        }
        let waiters = Waiters::start(store.clone(), &life);
        let feed = Feed::start(store.clone(), &life);
        let limits = Limits::new(args.api.body_budget << 20);
        let admin = args
            .api
            .admin_token
            .as_deref()
            .map(|token| AdminToken::new(token).context("VISAVIS_ADMIN_TOKEN must have at least 32 characters"));
        let origins = args.api.cors_origins.iter().filter(|it| !it.is_empty()).map(|it| it.parse());
        let origins = origins.collect::<Result<Vec<HeaderValue>, _>>().context("VISAVIS_CORS_ORIGINS is malformed")?;
        let signing = images.clone();
        let signer: api::Signer = Arc::new(move |value| signing.signer().sign_detached(value).ok());
        let (admin, probes, signer) = (admin.transpose()?, probes.into(), Some(signer));
        let endpoints = Endpoints::new(store.clone(), intake.media.keyring().clone(), guard);
        let (pepper, rates) = (intake.pepper.clone(), intake.defaults.rates.clone());
        let is_secure = public_url.starts_with("https://");
        let desk = Desk::start(store.clone(), images.clone(), pepper.clone(), rates, is_secure, &life);
        let context = ApiContext {
            store: store.clone(),
            pepper,
            intake,
            images,
            waiters,
            endpoints,
            feed,
            desk,
            limits,
            admin,
            probes,
            provider,
            signer,
        };
        let router = api::router(context, &origins);
        let serving = serve_http(listener.into_std()?, router, life.stopping().clone())?;
        life.spawn("api", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
    }
    info!(?roles, "started");
    if let Some(file) = &args.ready_file {
        write_ready_file(file, address).with_context(|| format!("cannot write {}", file.display()))?;
    }

    let orderly = life.finish(PATIENCE).await;
    // A connection that nobody answers, or a thread that computes on, must not keep the process.
    let closed = tokio::time::timeout(LAST_WORDS, store.close()).await.is_ok();
    if let Some(engine) = engine {
        let joined = tokio::task::spawn_blocking(move || engine.shutdown());
        let _ = tokio::time::timeout(LAST_WORDS, joined).await;
    }
    let orderly = orderly && closed;
    info!(orderly, "stopped");
    Ok(())
}

/// Writes the file at once or not at all, so that nobody reads half an address.
fn write_ready_file(file: &Path, address: Option<SocketAddr>) -> std::io::Result<()> {
    let draft = file.with_added_extension("new");
    let address = address.map_or_else(String::new, |address| address.to_string());
    std::fs::write(&draft, format!("{address}\n"))?;
    std::fs::rename(&draft, file)
}

/// Serves until `stopping`, and then what was begun. Whoever opens a connection and does not say what for is not waited
/// for: not before its first request, nor within the head of one.
fn serve_http(
    listener: std::net::TcpListener,
    router: Router,
    stopping: CancellationToken,
) -> std::io::Result<impl Future<Output = std::io::Result<()>>> {
    let handle = axum_server::Handle::new();
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(NoDelayAcceptor::new())
        .handle(handle.clone())
        .first_request_timeout(FIRST_REQUEST);
    server.http_builder().http1().header_read_timeout(NEXT_REQUEST);
    server.http_builder().http2().keep_alive_interval(FIRST_REQUEST);
    Ok(async move {
        let serving = server.serve(router.into_make_service());
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended,
            () = stopping.cancelled() => handle.graceful_shutdown(None),
        }
        serving.await
    })
}

async fn start_engine(args: &ServeArgs) -> anyhow::Result<(Engine, Provider)> {
    let vision = args.vision.clone();
    let threads = threads(args);
    let start = move || {
        let pack = vision.pack()?;
        let runtime = vision.runtime(&pack)?;
        let (name, provider) = (pack.name().to_owned(), runtime.provider());
        anyhow::Ok((Engine::start(EngineSettings { threads, queue: threads }, pack, runtime)?, name, provider))
    };
    let started = tokio::task::spawn_blocking(start).await?;
    let (engine, pack, provider) = started.context("the vision engine does not start")?;
    let liveness = engine.liveness_model().unwrap_or("none");
    info!(threads, pack, liveness, %provider, "vision engine ready");
    Ok((engine, provider))
}

fn threads(args: &ServeArgs) -> std::num::NonZeroUsize {
    args.threads.unwrap_or(EngineSettings::default().threads)
}

fn stop_on_signal(life: &Lifecycle) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let signalled = life.clone();
    life.spawn("signals", async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = signalled.stopping().cancelled() => {}
        }
        signalled.stop();
    });
    Ok(())
}

fn probe(name: &'static str, ask: impl Fn() -> ProbeFuture + Send + Sync + 'static) -> Probe {
    Probe { name, ask: Arc::new(ask) }
}
