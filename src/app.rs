//! The composition root: starts the roles of a process and stops them in good order.

mod http;
mod ready_file;
mod watchdog;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use ready_file::ReadyFile;

use crate::config::ServeArgs;
use crate::images::binding;
use crate::intake::{self, Intake};
use crate::janitor;
use crate::jobs;
use crate::jobs::slots::Slots;
use crate::lifecycle::{Lifecycle, PATIENCE};
use crate::net::{self, Guard};
use crate::queue::connection::Broker;
use crate::relay::{self, RelaySettings};
use crate::store::Store;
use crate::vision::{Engine, EngineSettings, Provider};
use crate::webhooks::Dispatcher;
use crate::worker::{Unrecorded, Worker};

/// A part of the work that a process can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Every role.
    All,
    /// The HTTP API, webhooks' settings and the desk.
    Api,
    /// Takes submissions from the broker into Postgres.
    Intake,
    /// Sends work messages and replies from Postgres to the broker, and puts jobs of dead workers back.
    Relay,
    /// Compares faces.
    Worker,
    /// Delivers events to webhook endpoints.
    Webhooks,
    /// Erases images whose time is over.
    Janitor,
}

/// Time for connections and compute threads to end after the work has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the roles of a process share.
struct Process {
    args: ServeArgs,
    roles: Vec<Role>,
    life: Lifecycle,
    store: Store,
    broker: Broker,
    intake: Intake,
    guard: Guard,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When something that a role needs is missing at start.
pub async fn serve(args: ServeArgs, roles: &[Role]) -> anyhow::Result<()> {
    let process = Process::new(args, roles).await?;
    stop_on_signal(&process.life)?;
    let ready_file = ReadyFile(process.args.ready_file.clone());
    ready_file.remove()?;
    // Whatever can fail comes before any task: a process that cannot do all of its roles touches no queue.
    let engine = if process.has(Role::Worker) { Some(process.start_engine().await?) } else { None };
    let worker = engine.as_ref().map(|(engine, _)| process.worker(engine)).transpose()?;
    let dispatcher = if process.has(Role::Webhooks) { Some(process.dispatcher()?) } else { None };
    let provider = engine.as_ref().map(|(_, provider)| *provider);
    let server = if process.has(Role::Api) { Some(http::prepare(&process, provider).await?) } else { None };

    let address = server.as_ref().map(http::HttpServer::address);
    if let Some(worker) = worker {
        worker.start(&process.broker);
    }
    if process.has(Role::Relay) {
        process.start_relay();
    }
    if process.has(Role::Intake) {
        process.start_intake();
    }
    if let Some(dispatcher) = dispatcher {
        dispatcher.start(&process.life);
    }
    if process.has(Role::Janitor) {
        janitor::start(&process.store, &process.intake.media, &process.life);
    }
    if let Some(server) = server {
        server.start(&process.life);
    }
    let stuck = watchdog::start(&process.store, &process.life, process.has(Role::Relay));
    info!(?roles, "started");
    let written = ready_file.write(address);
    if written.is_err() {
        process.life.stop();
    }
    stop(process, engine.map(|(engine, _)| engine)).await;
    written.and_then(|()| ready_file.remove())?;
    if stuck.is_cancelled() {
        bail!("the connections with the database were stuck, so this process ended itself");
    }
    Ok(())
}

impl Process {
    async fn new(args: ServeArgs, roles: &[Role]) -> anyhow::Result<Self> {
        let life = Lifecycle::new();
        let store = args.database.store().await?;
        let broker = args.broker.broker()?;
        let mut intake = args.intake.intake(store.clone())?;
        intake.defaults.rates = args.vision.rates()?;
        if !roles.iter().all(|role| matches!(role, Role::Relay | Role::Webhooks)) {
            binding::check(&store, &intake.media).await?;
        }
        // Made once, so that its warning is in the log once and near the top.
        let guard = args.outgoing.guard();
        Ok(Self { args, roles: roles.to_owned(), life, store, broker, intake, guard })
    }

    fn has(&self, role: Role) -> bool {
        self.roles.contains(&role) || self.roles.contains(&Role::All)
    }

    fn threads(&self) -> NonZeroUsize {
        self.args.threads.unwrap_or(EngineSettings::default().threads)
    }

    fn worker(&self, engine: &Arc<Engine>) -> anyhow::Result<Worker> {
        let sources = Arc::new(self.args.identity.sources(&self.intake, self.guard)?);
        let context = jobs::Context { engine: Arc::clone(engine), sources, video: self.args.video.frames()? };
        Ok(Worker {
            store: self.store.clone(),
            media: self.intake.media.clone(),
            pepper: self.intake.pepper.clone(),
            context,
            // One job more than there are threads: its images are fetched while the others compute.
            slots: Slots::new(self.threads().get() + 1),
            unrecorded: Unrecorded::default(),
            life: self.life.clone(),
        })
    }

    async fn start_engine(&self) -> anyhow::Result<(Arc<Engine>, Provider)> {
        let (vision, threads) = (self.args.vision.clone(), self.threads());
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
        Ok((Arc::new(engine), provider))
    }

    fn start_relay(&self) {
        let settings = RelaySettings { lane_depth: self.args.lane_depth, ..RelaySettings::default() };
        relay::start(&self.store, &self.broker, settings, &self.life);
    }

    fn start_intake(&self) {
        intake::amqp::start(&self.intake, &self.broker, &self.life);
        intake::dead_letters::start(&self.intake, &self.broker, &self.life);
    }

    fn dispatcher(&self) -> anyhow::Result<Dispatcher> {
        let client = net::Client::new(self.guard)?;
        let keyring = self.intake.media.keyring().clone();
        Ok(Dispatcher::new(self.store.clone(), keyring, client, self.args.webhooks.settings()))
    }
}

/// Waits for the end of the work, then closes connections and threads. A connection that nobody answers, or a thread
/// that still computes, does not keep the process alive.
async fn stop(process: Process, engine: Option<Arc<Engine>>) {
    let is_done = process.life.finish(PATIENCE).await;
    let is_closed = tokio::time::timeout(LAST_WORDS, process.store.close()).await.is_ok();
    if let Some(engine) = engine {
        let joined = tokio::task::spawn_blocking(move || engine.shutdown());
        let _ = tokio::time::timeout(LAST_WORDS, joined).await;
    }
    info!(orderly = is_done && is_closed, "stopped");
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
