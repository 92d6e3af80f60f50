//! One run, from an empty database to the audit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::{Connection as _, PgPool};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::amqp::AmqpProducer;
use crate::auditor::{Check, Stores, audit, given_up, stranded};
use crate::books::Books;
use crate::drain::{Left, drain};
use crate::faults::{self, Targets};
use crate::fleet::{Fleet, Launch};
use crate::http::HttpProducers;
use crate::organisations::{self, Organisation, POISONED};
use crate::photos::Photos;
use crate::plan::Plan;
use crate::receivers::Receivers;
use crate::services::{Addresses, Services};
use crate::witness::Witness;
use crate::{blobs, report, spoil, stream};

/// What a run needs to know.
pub struct Order {
    pub plan: Plan,
    pub addresses: Addresses,
    pub binary: PathBuf,
    /// Another version of visavis, which every second process runs.
    pub other: Option<PathBuf>,
    pub models: PathBuf,
    pub onnxruntime: PathBuf,
    /// How long everything may take to end after the load, and images to be erased.
    pub patience: Duration,
    /// Database and logs stay.
    pub keep: bool,
}

/// What came out.
pub struct Outcome {
    pub checks: Vec<Check>,
    /// The line that sums up.
    pub summary: String,
    pub is_sound: bool,
}

const BIND: Duration = Duration::from_mins(1);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// After so long, janitors start another round.
const ROUND: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Carries out a plan and audits what came of it.
///
/// # Errors
/// When services or processes cannot be started. What the audit finds is no error.
pub async fn run(order: Order) -> Result<Outcome> {
    let id = format!("{}_{}", order.plan.size.seed, std::process::id());
    let folder = tempfile::Builder::new().prefix("visavis-chaos-").tempdir()?;
    let mut services = Services::make(&order.addresses, &id, &folder.path().join("blobs")).await?;
    let launch = Launch {
        binary: order.binary.clone(),
        other: order.other.clone(),
        environment: environment(&order, &services),
        folder: folder.path().to_owned(),
    };
    std::fs::create_dir_all(&services.blobs)?;
    let photos = Arc::new(Photos::load()?);
    let (organisations, poisoned) = organisations::make(&launch, &mut services, &photos).await?;
    let organisations = Arc::new(organisations);
    let plan = Arc::new(order.plan);
    let ids: Vec<_> = organisations.iter().map(|organisation| organisation.id).collect();
    let witness = Arc::new(Witness::of(&plan, &ids));
    let receivers = Receivers::start(Arc::clone(&witness)).await?;
    let fleet = Arc::new(Fleet::assemble(launch, &services).await?);
    let struck = AtomicUsize::new(0);
    let targets = Arc::new(Targets { fleet: Arc::clone(&fleet), services, receivers, poisoned, struck });

    let mut background = JoinSet::new();
    let watched = Arc::clone(&fleet);
    background.spawn(async move {
        if let Err(error) = watched.watch().await {
            eprintln!("processes: {error:#}");
        }
    });
    let site = Site { plan, photos, organisations, witness, targets, patience: order.patience };
    let stores = site.live_through(&mut background).await;
    let mut unsound = site.targets.fleet.shut_down().await;
    background.shutdown().await;
    let stores = match stores {
        Ok(stores) => stores,
        Err(error) => return Err(error.context(format!("the logs are in {}", folder.keep().display()))),
    };

    unsound.extend(site.targets.fleet.panics());
    let pool = &site.targets.services.pool;
    let mut connection = pool.acquire().await?.detach();
    let books = Books::read(&mut connection).await?;
    let sight = site.witness.sight().clone();
    let mut checks = audit(&books, &sight, &stores);
    let name = "processes stop within their time when asked, and none panics";
    checks.push(Check { name, counted: crate::plan::LAYOUT.len(), violations: unsound });
    let mut is_sound = checks.iter().all(|check| check.violations.is_empty());
    let mut summary = summary(&site, &books, &checks, stranded(&books, &stores));
    // A spoilt database is no place to show what spoiling does.
    if is_sound {
        let (ways, unnoticed) = spoil::prove(&mut connection, &sight, &stores).await?;
        let noticed = ways - unnoticed.len();
        summary = format!("{summary}; the auditor noticed {noticed} of {ways} faults made on purpose");
        if !unnoticed.is_empty() {
            summary = format!("{summary} (not: {})", unnoticed.join(", "));
        }
        is_sound = unnoticed.is_empty();
    }
    connection.close().await?;
    if order.keep || !is_sound {
        site.targets.services.keep();
        let kept = folder.keep();
        eprintln!("logs: {}; database: {}", kept.display(), site.targets.services.database.path());
    }
    Ok(Outcome { checks, summary, is_sound })
}

/// Everything that takes part in a run.
struct Site {
    plan: Arc<Plan>,
    photos: Arc<Photos>,
    organisations: Arc<Vec<Organisation>>,
    witness: Arc<Witness>,
    targets: Arc<Targets>,
    patience: Duration,
}

impl Site {
    /// Load and faults, then calm, then the end of all images.
    async fn live_through(&self, background: &mut JoinSet<()>) -> Result<Stores> {
        let (fleet, pool) = (&self.targets.fleet, &self.targets.services.pool);
        fleet.await_ready().await?;
        let urls = self.targets.receivers.urls();
        organisations::make_endpoints(fleet, &self.organisations, &urls, &self.witness).await?;
        let start = Instant::now() + Duration::from_secs(2);
        let producers = self.connect(background, start).await?;
        drop(producers);

        let end = start + self.plan.size.load + self.patience;
        let http = Arc::new(HttpProducers::new(
            Arc::clone(&self.plan),
            Arc::clone(&self.photos),
            Arc::clone(&self.organisations),
            Arc::clone(fleet),
            Arc::clone(&self.witness),
        )?);
        let mut http_load = JoinSet::new();
        http_load.spawn(http.run(start, end));
        let (witness, targets, total) = (Arc::clone(&self.witness), Arc::clone(&self.targets), self.plan.jobs.len());
        background.spawn(async move { tell(&witness, &targets, start, total).await });
        faults::strike_all(&self.plan, &self.targets, start).await;
        tokio::time::sleep_until(start + self.plan.size.load).await;
        faults::heal(&self.targets).await?;
        eprintln!("{:.0} s: calm", start.elapsed().as_secs_f64());

        while http_load.join_next().await.is_some() {}
        let left = drain(pool, &self.witness, Instant::now() + self.patience).await?;
        if left != Left::default() {
            eprintln!("not everything ended: {left:?}");
        }
        eprintln!("{:.0} s: everything ended", start.elapsed().as_secs_f64());
        let stores = self.outlive_images().await;
        eprintln!("{:.0} s: images erased", start.elapsed().as_secs_f64());
        stores
    }

    /// Connects producers over AMQP and readers of streams. They work until the background ends.
    async fn connect(&self, background: &mut JoinSet<()>, start: Instant) -> Result<Vec<Arc<AmqpProducer>>> {
        let mut producers = Vec::new();
        for (place, organisation) in self.organisations.iter().enumerate() {
            let shared = (Arc::clone(&self.plan), Arc::clone(&self.photos), Arc::clone(&self.witness));
            let address = (organisation.id, organisation.broker.clone());
            let producer = Arc::new(AmqpProducer::new(shared, (organisation.name, place), address));
            producers.push(Arc::clone(&producer));
            background.spawn(async move { producer.run(start).await });
        }
        for sandbox in [false, true] {
            let (organisations, witness) = (Arc::clone(&self.organisations), Arc::clone(&self.witness));
            let fleet = Arc::clone(&self.targets.fleet);
            background.spawn(async move { stream::read(&fleet, &organisations[0], sandbox, &witness).await });
        }
        let bound = async {
            while producers.iter().any(|producer| !producer.is_bound()) || self.witness.sight().streams.len() < 2 {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(BIND, bound).await.is_err() {
            bail!("producers or streams cannot connect");
        }
        Ok(producers)
    }

    /// Moves the time of every image into the past, and waits until the janitors have erased what is due.
    async fn outlive_images(&self) -> Result<Stores> {
        let (fleet, services) = (&self.targets.fleet, &self.targets.services);
        let images_before = Books::read(&mut *services.pool.acquire().await?).await?.images;
        let blobs_before = blobs::list(&services.blobs)?;
        for statement in [
            "UPDATE images SET purge_at = now() - interval '1 second' WHERE purge_at IS NOT NULL",
            "UPDATE sealed_records SET purge_at = now() - interval '1 second' WHERE purge_at IS NOT NULL",
            "UPDATE probe_prints SET purge_at = now() - interval '1 second'",
            "UPDATE review_cases SET lapses_at = now() - interval '1 second'",
        ] {
            sqlx::query(statement).execute(&services.pool).await?;
        }
        let until = Instant::now() + self.patience;
        let mut next_round = Instant::now();
        while due(&services.pool).await? > 0 && Instant::now() < until {
            if Instant::now() >= next_round {
                // What could not be deleted waits; and a janitor's first round comes at once.
                sqlx::query("UPDATE erasures SET next_at = now() WHERE next_at > now()")
                    .execute(&services.pool)
                    .await?;
                fleet.restart("janitor");
                next_round = Instant::now() + ROUND;
            }
            sleep(LOOK_EVERY).await;
        }
        // A process that is asked to stop before it runs ends by the signal.
        fleet.await_ready().await?;
        Ok(Stores { images_before, blobs_before, blobs_after: blobs::list(&services.blobs)? })
    }
}

/// What the janitors have to erase still.
async fn due(pool: &PgPool) -> Result<i64> {
    let due = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM images WHERE purge_at <= now() AND tenant_id <> poisoned.id)
              + (SELECT count(*) FROM sealed_records WHERE purge_at <= now())
              + (SELECT count(*) FROM probe_prints WHERE purge_at <= now())
              + (SELECT count(*) FROM review_cases WHERE lapses_at <= now()
                                                     AND state IN ('waiting', 'second', 'disputed'))
              + (SELECT count(*) FROM erasures WHERE place NOT LIKE '%' || poisoned.id || '%')
         FROM tenants AS poisoned WHERE name = $1",
    );
    Ok(due.bind(POISONED).fetch_one(pool).await?)
}

/// Tells how far the run is, now and then.
async fn tell(witness: &Witness, targets: &Targets, start: Instant, total: usize) {
    loop {
        sleep(PROGRESS_EVERY).await;
        let accepted = witness.sight().submissions.iter().filter(|job| !job.accepted.is_empty()).count();
        let ended = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL");
        let ended = ended.fetch_one(&targets.services.pool).await.unwrap_or_default();
        let (struck, seconds) = (targets.struck.load(Ordering::Relaxed), start.elapsed().as_secs());
        eprintln!("{seconds} s: {accepted} of {total} jobs accepted, {ended} ended, {struck} faults");
    }
}

fn summary(site: &Site, books: &Books, checks: &[Check], stranded: usize) -> String {
    let mut counts: BTreeMap<_, _> = site.plan.counts();
    let kills = counts.remove("kill").unwrap_or_default();
    let others: usize = counts.values().sum();
    let (lost, doubled) = report::lost_and_doubled(checks);
    let (jobs, seed) = (books.jobs.len(), site.plan.size.seed);
    let (given_up, own_ends) = (given_up(books), site.targets.fleet.own_ends());
    for end in &own_ends {
        eprintln!("{end}");
    }
    let sorts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!(
        "seed {seed}: {jobs} jobs, {kills} SIGKILLs, {others} other faults ({}), {lost} lost, {doubled} doubled, \
         {given_up} given up after five attempts, {} processes ended by themselves, \
         {stranded} blobs stranded",
        sorts.join(", "),
        own_ends.len(),
    )
}

fn environment(order: &Order, services: &Services) -> Vec<(String, String)> {
    let key = || BASE64_STANDARD.encode(rand::random::<[u8; 32]>());
    let place = |path: &std::path::Path| path.display().to_string();
    [
        ("DATABASE_URL", services.database.to_string()),
        ("AMQP_URL", services.amqp.to_string()),
        ("VISAVIS_KEY_PEPPER", key()),
        ("VISAVIS_MASTER_KEYS", format!("k1:{}", key())),
        ("VISAVIS_BLOBS", place(&services.blobs)),
        ("VISAVIS_MODELS", place(&order.models)),
        ("VISAVIS_PACKS", place(&services.blobs.with_file_name("packs"))),
        ("VISAVIS_ONNXRUNTIME", place(&order.onnxruntime)),
        ("VISAVIS_LISTEN", "127.0.0.1:0".to_owned()),
        // Ten processes share few cores.
        ("VISAVIS_THREADS", "1".to_owned()),
        ("VISAVIS_DATABASE_CONNECTIONS", "8".to_owned()),
        ("VISAVIS_ALLOW_LOOPBACK_TARGETS", "true".to_owned()),
        ("VISAVIS_WEBHOOK_TIMEOUT", "3".to_owned()),
        ("VISAVIS_LOG", "info,lapin=error".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
