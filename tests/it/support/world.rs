//! A database, a virtual host, a blob folder and an organisation for one test, gone when it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt as _;
use reqwest::Url;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::runtime::RuntimeFlavor;
use uuid::Uuid;
use visavis::domain::api_key::ApiKeyText;
use visavis::domain::ids::{JobId, TenantId};
use visavis::domain::job::Lane;
use visavis::domain::pepper::Pepper;
use visavis::domain::request::{Defaults, Form};
use visavis::domain::tenant::{Account, Scope, TenantSettings};
use visavis::identity::Registry;
use visavis::intake::{Intake, JobsInFlight, SubmissionContext};
use visavis::keys::Keyring;
use visavis::media::{BlobStore, Media};
use visavis::queue::connection::Broker;
use visavis::store::api_keys::NewApiKey;
use visavis::store::jobs::LEASE;
use visavis::store::tenants::TenantChange;
use visavis::store::{PoolSizes, Store};

use super::api::Api;
use super::blobs::Hung;
use super::broker::{Management, Permissions};
use super::environment::SERVICES;
use super::process::{self, Process};
use super::producer::Producer;
use super::template::{at_path, clone_template, connect};

/// Connections of the store in the test's own process.
pub const TEST_POOLS: PoolSizes = PoolSizes { core: 16, reads: 4, desk: 4 };

pub struct World {
    /// For SQL of the test's own. No `.sqlx` data is needed for it.
    pub pool: PgPool,
    pub intake: Intake,
    pub tenant: Tenant,
    /// The administrator's address of this world's virtual host.
    pub amqp: Url,
    pub management: Management,
    pub vhost: String,
    pub blobs: PathBuf,
    producer: Url,
    database: Url,
    environment: Vec<(String, String)>,
    logs: Mutex<Vec<(String, PathBuf)>>,
    folder: TempDir,
    has_broker: bool,
}

/// An organisation, and the key to its jobs.
pub struct Tenant {
    pub id: TenantId,
    pub api_key: String,
}

impl World {
    /// A world with everything. The test must be `#[tokio::test(flavor = "multi_thread")]`, because a world that ends
    /// waits until the broker has dropped its virtual host, and its connections must be served meanwhile.
    pub async fn new() -> Self {
        let flavor = tokio::runtime::Handle::current().runtime_flavor();
        assert_eq!(flavor, RuntimeFlavor::MultiThread, "write #[tokio::test(flavor = \"multi_thread\")]");
        let mut world = Self::without_broker().await;
        world.has_broker = true;
        world.management.make_vhost(&world.vhost).await;
        world.management.make_user(world.producer.username(), world.producer.password().unwrap_or_default()).await;
        world.permit_producer().await;
        world
    }

    /// For tests that need no broker; half a second quicker.
    pub async fn without_broker() -> Self {
        // The random end of a UUID: distinct, and short enough to read.
        let id = Uuid::now_v7().simple().to_string().split_off(20);
        let database = at_path(&SERVICES.database, &format!("visavis_test_{id}"));
        clone_template(&format!("visavis_test_{id}")).await;
        let pool = PgPoolOptions::new().max_connections(16).acquire_timeout(Duration::from_secs(30));
        let pool = pool.connect(database.as_str()).await.expect("the new database answers");
        let store = Store::connect(&format!("{database}?application_name=test"), TEST_POOLS).await;
        let store = store.expect("the new database answers");

        let vhost = format!("visavis-test-{id}");
        let amqp = at_path(&SERVICES.amqp, &vhost);
        let mut producer = amqp.clone();
        producer.set_username(&format!("producer-{id}")).expect("an amqp URL has a user");
        producer.set_password(Some(&id)).expect("an amqp URL has a password");

        let folder = TempDir::new().expect("a temporary folder can be made");
        // Empty, so that packs which a developer pulled do not change the tests.
        let packs = folder.path().join("packs");
        let blobs = folder.path().join("blobs");
        let (pepper, master_keys) = (random_key(), format!("test:{}", random_key()));
        let intake = Intake {
            store,
            media: Media::new(BlobStore::folder(&blobs).unwrap(), Keyring::parse(&master_keys).unwrap()),
            pepper: Pepper::parse(&pepper).expect("32 bytes in Base64"),
            defaults: Defaults::default(),
            jobs_in_flight: JobsInFlight::default(),
        };
        let tenant = make_tenant(&intake, "acme", Some(producer.username())).await;
        let environment = [
            ("DATABASE_URL", database.as_str()),
            ("AMQP_URL", amqp.as_str()),
            ("VISAVIS_KEY_PEPPER", &pepper),
            ("VISAVIS_MASTER_KEYS", &master_keys),
            ("VISAVIS_BLOBS", path(&blobs)),
            ("VISAVIS_MODELS", concat!(env!("CARGO_MANIFEST_DIR"), "/models")),
            ("VISAVIS_PACKS", path(&packs)),
            ("VISAVIS_ONNXRUNTIME", path(&SERVICES.onnxruntime)),
            ("VISAVIS_LISTEN", "127.0.0.1:0"),
            // Several processes share few cores, and each thread takes 150 MB.
            ("VISAVIS_THREADS", "1"),
            ("VISAVIS_DATABASE_CONNECTIONS", "8"),
            ("VISAVIS_LOG", "info,lapin=error"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self {
            pool,
            intake,
            tenant,
            amqp,
            management: Management::connect(),
            vhost,
            blobs,
            producer,
            database,
            environment,
            logs: Mutex::default(),
            folder,
            has_broker: false,
        }
    }

    /// Gives the producer its rights; needed again after a new virtual host is made.
    pub async fn permit_producer(&self) {
        let user = self.producer.username();
        let own = format!("^({user}.*|amq.gen-.*)$");
        let (write, read) = (format!("^visavis\\.submissions$|{own}"), format!("^visavis\\.results$|{own}"));
        let rights = Permissions { configure: &own, write: &write, read: &read };
        self.management.permit(&self.vhost, user, rights).await;
        self.management.permit_topic(&self.vhost, user, "visavis.results", "^acme\\.").await;
    }

    pub fn store(&self) -> &Store {
        &self.intake.store
    }

    /// A further organisation.
    pub async fn make_tenant(&self, name: &str, amqp_user: Option<&str>) -> Tenant {
        make_tenant(&self.intake, name, amqp_user).await
    }

    /// A test key of the first organisation.
    pub async fn make_test_key(&self) -> String {
        make_key(&self.intake, self.tenant.id, true).await
    }

    /// A further organisation with these settings.
    pub async fn make_tenant_with(&self, name: &str, settings: &TenantSettings) -> Tenant {
        let tenant = self.make_tenant(name, None).await;
        let settings = serde_json::to_value(settings).expect("settings are JSON");
        let update = sqlx::query("UPDATE tenants SET settings = $2 WHERE id = $1").bind(tenant.id.0).bind(settings);
        update.execute(&self.pool).await.expect("the settings are stored");
        tenant
    }

    /// The name of its database.
    pub fn database_name(&self) -> &str {
        &self.database.path()[1..]
    }

    /// Starts roles of the real executable.
    pub async fn spawn(&self, roles: &[&str]) -> Process {
        self.spawn_with(roles, &[]).await
    }

    /// A world without a broker, an API and a client of the organisation. The test ends jobs itself.
    pub async fn with_api() -> (Self, Process, Api) {
        Self::without_broker().await.serving(&["api"]).await
    }

    /// Starts these roles, an API among them, and makes a client of the organisation.
    pub async fn serving(self, roles: &[&str]) -> (Self, Process, Api) {
        let process = self.spawn(roles).await;
        let api = Api::of(&process, &self.tenant.api_key);
        (self, process, api)
    }

    /// Starts roles with additional or changed environment variables.
    pub async fn spawn_with(&self, roles: &[&str], changes: &[(&str, &str)]) -> Process {
        let mut environment = self.environment.clone();
        environment.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let log = {
            let mut logs = self.logs.lock().expect("nobody panics in here");
            let log = self.folder.path().join(format!("{}.log", logs.len()));
            logs.push((roles.join(" "), log.clone()));
            log
        };
        Process::start(roles, &environment, log).await
    }

    /// The value that processes get under this name.
    pub fn environment(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).expect("a variable that processes are given")
    }

    /// Runs another command of the real executable to its end.
    pub async fn run(&self, arguments: &[&str]) -> std::process::Output {
        process::run(arguments, &self.environment).await
    }

    /// Another command of the real executable, which the caller starts.
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = process::executable(&self.environment);
        command.args(arguments);
        command
    }

    /// A file or folder of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The registry of identity records.
    pub fn registry(&self) -> Registry {
        Registry::new(self.intake.store.clone(), self.intake.media.clone(), self.intake.pepper.clone())
    }

    /// The producer's address of this world's virtual host.
    pub fn producer_url(&self) -> &Url {
        &self.producer
    }

    /// A producer of the organisation; declares the exchanges, in case no process runs yet.
    pub async fn producer(&self) -> Producer {
        let broker = Broker::parse(self.amqp.as_str()).expect("an amqp URL");
        broker.connect_declared("test").await.expect("the administrator may declare").close().await;
        Producer::connect(&self.producer, &self.amqp).await
    }

    /// Submits a job, in this process.
    pub async fn submit_pair(&self, kind: &str, reference: &[u8], probe: &[u8]) -> JobId {
        let body = request(kind, reference, probe).to_string();
        self.submit(None, body.as_bytes()).await.expect("a good request is accepted").summary.id
    }

    /// Submits many jobs, in this process: the image compared with itself.
    pub async fn submit_many(&self, count: usize, kind: &str, image: &[u8]) {
        let body = request(kind, image, image).to_string();
        let submissions = (0..count).map(|_| self.submit(None, body.as_bytes()));
        let mut accepted = futures_util::stream::iter(submissions).buffer_unordered(8);
        while let Some(answer) = accepted.next().await {
            answer.expect("a good request is accepted");
        }
    }

    /// Submits a request, in this process.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub async fn submit(
        &self,
        key: Option<&str>,
        body: &[u8],
    ) -> Result<visavis::intake::AcceptedJob, visavis::intake::Error> {
        let stored = sqlx::query_scalar("SELECT settings FROM tenants WHERE id = $1").bind(self.tenant.id.0);
        let Json(settings): Json<TenantSettings> = stored.fetch_one(&self.pool).await.expect("the settings are read");
        let origin = SubmissionContext {
            account: Account::live(self.tenant.id),
            settings: &settings,
            form: Form::Native,
            idempotency_key: key,
            reply: None,
            lane: Lane::Bulk,
        };
        self.intake.submit(origin, bytes::Bytes::copy_from_slice(body)).await
    }

    /// Makes every reader of the job's probe wait for ever.
    pub async fn hang(&self, job: JobId) -> Hung {
        let image: Uuid = sqlx::query_scalar("SELECT id FROM images WHERE job_id = $1 AND role = 'probe'")
            .bind(job.0)
            .fetch_one(&self.pool)
            .await
            .expect("the job has a probe");
        let tenant: Uuid = self.scalar("SELECT tenant_id FROM jobs WHERE id = $1", job).await;
        Hung::new(self.blobs.join(format!("images/{tenant}/{image}")))
    }

    /// One value about a job: `$1` is its id.
    pub async fn scalar<T>(&self, statement: &'static str, job: JobId) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(statement).bind(job.0).fetch_one(&self.pool).await.expect("the database answers")
    }

    /// One number about everything.
    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.expect("the database answers")
    }

    pub async fn state(&self, job: JobId) -> String {
        self.scalar("SELECT state FROM jobs WHERE id = $1", job).await
    }

    pub async fn attempt(&self, job: JobId) -> i32 {
        self.scalar("SELECT attempt FROM jobs WHERE id = $1", job).await
    }

    /// Where the broker is.
    pub async fn broker_address(&self) -> SocketAddr {
        let host = self.amqp.host_str().expect("an amqp URL has a host");
        let port = self.amqp.port().unwrap_or(5672);
        let mut found = tokio::net::lookup_host((host, port)).await.expect("the broker's name is known");
        found.next().expect("the broker has an address")
    }

    /// Where Postgres is.
    pub async fn database_address(&self) -> SocketAddr {
        let (host, port) = (self.database.host_str().expect("a host"), self.database.port().unwrap_or(5432));
        let mut found = tokio::net::lookup_host((host, port)).await.expect("the database's name is known");
        found.next().expect("the database has an address")
    }

    /// The address of this world's database, through the relay at `relay`.
    pub fn database_at(&self, relay: SocketAddr) -> String {
        let mut url = self.database.clone();
        url.set_ip_host(relay.ip()).expect("a database URL has a host");
        url.set_port(Some(relay.port())).expect("a database URL has a port");
        url.into()
    }

    /// The administrator's address of this world's virtual host, through the relay at `relay`.
    pub fn amqp_at(&self, relay: SocketAddr) -> String {
        let mut url = self.amqp.clone();
        url.set_ip_host(relay.ip()).expect("an amqp URL has a host");
        url.set_port(Some(relay.port())).expect("an amqp URL has a port");
        url.into()
    }

    /// Executes a statement; returns how many rows it changed.
    pub async fn execute(&self, statement: &'static str) -> u64 {
        sqlx::query(statement).execute(&self.pool).await.expect("the statement is accepted").rows_affected()
    }

    /// Steps the clock: what is due comes earlier by `time`, and what happened is longer ago by `time`.
    pub async fn pass(&self, time: Duration) {
        for statement in [
            "UPDATE jobs SET lease_until = lease_until - make_interval(secs => $1),
                             run_after = run_after - make_interval(secs => $1)
             WHERE state IN ('queued', 'running')",
            "UPDATE outbox SET next_at = next_at - make_interval(secs => $1),
                               published_at = published_at - make_interval(secs => $1)",
            "UPDATE deliveries SET next_at = next_at - make_interval(secs => $1),
                                   finished_at = finished_at - make_interval(secs => $1)",
            "UPDATE webhook_endpoints SET failing_since = failing_since - make_interval(secs => $1)",
            "UPDATE webhook_secrets SET expires_at = expires_at - make_interval(secs => $1)",
            "UPDATE reviewers SET locked_until = locked_until - make_interval(secs => $1)",
            "UPDATE reviewer_devices SET locked_until = locked_until - make_interval(secs => $1)",
            "UPDATE reviewer_sessions SET seen_at = seen_at - make_interval(secs => $1),
                                          created_at = created_at - make_interval(secs => $1)",
            "UPDATE review_cases SET lease_until = lease_until - make_interval(secs => $1),
                                     settles_at = settles_at - make_interval(secs => $1),
                                     lapses_at = lapses_at - make_interval(secs => $1),
                                     opened_at = opened_at - make_interval(secs => $1)",
            "UPDATE parked_items SET retry_at = retry_at - make_interval(secs => $1)",
        ] {
            let stepped = sqlx::query(statement).bind(time.as_secs_f64()).execute(&self.pool).await;
            stepped.expect("the statement is accepted");
        }
    }

    /// Steps the clock past every lease: the next sweep finds the dead workers.
    pub async fn expire_leases(&self) {
        self.pass(LEASE + Duration::from_secs(1)).await;
    }

    /// Steps the clock past every wait between two attempts.
    pub async fn pass_backoff(&self) {
        self.pass(Duration::from_mins(13)).await;
    }
}

/// A native request.
pub fn request(kind: &str, reference: &[u8], probe: &[u8]) -> Value {
    let (first, second) = match kind {
        "likeness_check" => ("photo", "probe_image"),
        _ => ("source_image", "target_image"),
    };
    json!({
        "version": 1,
        "kind": kind,
        "request": { first: BASE64_STANDARD.encode(reference), second: BASE64_STANDARD.encode(probe) },
    })
}

/// A native request of the kind `id_match`.
pub fn id_request(id_type: &str, number: &str, selfie: &[u8]) -> Value {
    json!({
        "version": 1,
        "kind": "id_match",
        "request": { "id_type": id_type, "id_number": number, "selfie": BASE64_STANDARD.encode(selfie) },
    })
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (roles, log) in self.logs.get_mut().iter().flat_map(|logs| logs.iter()) {
                eprintln!("--- serve {roles}\n{}", process::tail(log));
            }
        }
        let (database, management) = (self.database.path()[1..].to_owned(), self.management.clone());
        let (vhost, user) = (self.vhost.clone(), self.producer.username().to_owned());
        let has_broker = self.has_broker;
        // On another thread, because this one may be inside a runtime. A fault here must not hide the test's own.
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let mut administrator = connect(&SERVICES.database).await;
                let statement = format!("DROP DATABASE {database} WITH (FORCE)");
                let _ = sqlx::query(AssertSqlSafe(statement)).execute(&mut administrator).await;
                if has_broker {
                    management.delete_vhost(&vhost).await;
                    management.delete_user(&user).await;
                }
            });
        });
        let _ = clean.join();
    }
}

async fn make_tenant(intake: &Intake, name: &str, amqp_user: Option<&str>) -> Tenant {
    let change = TenantChange { amqp_user: amqp_user.map(str::to_owned), ..TenantChange::default() };
    let id = intake.store.insert_tenant(name, &change).await.expect("the database answers");
    let id = id.expect("no other organisation has this name");
    Tenant { id, api_key: make_key(intake, id, false).await }
}

async fn make_key(intake: &Intake, id: TenantId, sandbox: bool) -> String {
    let key = ApiKeyText::from_random(sandbox, rand::random(), rand::random());
    let hmac = key.hmac(&intake.pepper);
    let scopes = Scope::ALL.iter().copied().collect();
    let account = Account { tenant_id: id, sandbox };
    let new = NewApiKey { id: &key.id, account, secret_hmac: &hmac, scopes: &scopes, label: "test", lifetime: None };
    intake.store.insert_api_key(&new).await.expect("the database answers");
    key.reveal()
}

fn random_key() -> String {
    BASE64_STANDARD.encode(rand::random::<[u8; 32]>())
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().expect("a path of letters")
}
