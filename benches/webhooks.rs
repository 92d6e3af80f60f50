//! Measures deliveries a second to one fast endpoint, and what 50 endpoints that never answer cost 50 healthy ones:
//! `cargo bench --bench webhooks`. It needs `DATABASE_URL` with a role that may create databases. Receivers and
//! dispatcher share the machine, so compare runs side by side rather than single figures.

#![expect(clippy::expect_used, reason = "a benchmark without its database cannot run")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;
use visavis::domain::tenant::Account;
use visavis::domain::webhook::EventType;
use visavis::keys::Keyring;
use visavis::lifecycle::Lifecycle;
use visavis::net::{Client, Guard};
use visavis::store::tenants::TenantChange;
use visavis::store::{PoolSizes, Store};
use visavis::webhooks::endpoints::EndpointSpec;
use visavis::webhooks::{Dispatcher, DispatcherSettings, Endpoints};

/// Deliveries to the fast endpoint.
const FAST: i32 = 10_000;
/// Endpoints of each half.
const HALF: usize = 50;
/// Events for each of them.
const EACH: i32 = 500;
/// What the other half of the endpoints does.
#[derive(Clone, Copy, PartialEq)]
enum Others {
    Absent,
    Healthy,
    BlackHoles,
}

struct Place {
    url: String,
    measured: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let rate = fast().await;
        println!("one fast endpoint: {rate:.0} deliveries/s");
        for round in 1..=3 {
            let alone = fair(Others::Absent).await;
            let healthy = fair(Others::Healthy).await;
            let holes = fair(Others::BlackHoles).await;
            println!(
                "round {round}: {HALF} healthy endpoints get {holes:.0}/s beside {HALF} black holes, {healthy:.0}/s beside {HALF} healthy \
                 ones (ratio {:.2}), {alone:.0}/s alone (ratio {:.2})",
                holes / healthy,
                holes / alone
            );
        }
    });
}

async fn fast() -> f64 {
    let place = serve().await;
    let world = World::new().await;
    let url = format!("{}/measured", place.url);
    world.endpoints(1, "fast", &url).await;
    world.events(FAST).await;
    world.measure(&place, usize::try_from(FAST).expect("a small number")).await
}

async fn fair(others: Others) -> f64 {
    let place = serve().await;
    let hole = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = hole.local_addr().expect("a listener has an address");
    let mut holding = JoinSet::new();
    holding.spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = hole.accept().await {
            held.push(connection);
        }
    });
    let world = World::new().await;
    world.endpoints(HALF, "measured", &format!("{}/measured", place.url)).await;
    match others {
        Others::Absent => {}
        Others::Healthy => world.endpoints(HALF, "others", &format!("{}/other", place.url)).await,
        Others::BlackHoles => world.endpoints(HALF, "others", &format!("http://{address}/hole")).await,
    }
    world.events(EACH).await;
    world.measure(&place, HALF * usize::try_from(EACH).expect("a small number")).await
}

async fn serve() -> Place {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("a listener has an address"));
    let measured: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&measured);
    let router = Router::new().fallback(move |uri: Uri| {
        if uri.path() == "/measured" {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        std::future::ready(StatusCode::NO_CONTENT)
    });
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.expect("the receiver serves") });
    Place { url, measured, _serving: serving }
}

/// A database that is dropped at the end.
struct World {
    name: String,
    pool: PgPool,
    store: Store,
    keyring: Arc<Keyring>,
}

impl World {
    async fn new() -> Self {
        let name = format!("visavis_bench_{}", Uuid::now_v7().simple());
        execute(&database_url(), format!("CREATE DATABASE {name}")).await;
        let (base, _) =
            database_url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a database URL");
        let url = format!("{base}/{name}");
        let pool = PgPoolOptions::new().max_connections(16).connect(&url).await.expect("the new database answers");
        let sizes = PoolSizes { core: 16, reads: 1, desk: 1 };
        let store = Store::connect(&url, sizes).await.expect("the new database answers");
        store.migrate().await.expect("the migrations apply");
        let keys = format!("bench:{}", BASE64_STANDARD.encode(rand::random::<[u8; 32]>()));
        let keyring = Arc::new(Keyring::parse(&keys).expect("a good key"));
        Self { name, pool, store, keyring }
    }

    async fn endpoints(&self, count: usize, organisation: &str, url: &str) {
        let tenant =
            self.store.insert_tenant(organisation, &TenantChange::default()).await.expect("the database answers");
        let account = Account::live(tenant.expect("a new name"));
        let endpoints = Endpoints::new(self.store.clone(), self.keyring.clone(), Guard::with_loopback());
        for _ in 0..count {
            let wanted = EndpointSpec { url, description: "", event_types: EventType::ALL, rate_limit: None };
            endpoints.create(account, &wanted).await.expect("the database answers").expect("there is room");
        }
    }

    /// Writes events, each for every endpoint, as large as real ones.
    async fn events(&self, count: i32) {
        let statement = "WITH made AS (
                INSERT INTO events (id, tenant_id, type, payload)
                SELECT gen_random_uuid(), (SELECT id FROM tenants LIMIT 1), 'endpoint.disabled',
                       jsonb_build_object('id', gen_random_uuid(), 'kind', 'face_match', 'text', repeat('x', 400))
                FROM generate_series(1, $1) RETURNING id)
            INSERT INTO deliveries (event_id, endpoint_id) SELECT made.id, webhook_endpoints.id FROM made, webhook_endpoints";
        sqlx::query(statement).bind(count).execute(&self.pool).await.expect("the events are written");
        sqlx::query("ANALYZE").execute(&self.pool).await.expect("the tables are looked at");
    }

    /// Deliveries a second until the measured endpoints have all of theirs.
    async fn measure(self, place: &Place, count: usize) -> f64 {
        let life = Lifecycle::new();
        let client = Client::new(Guard::with_loopback()).expect("an HTTP client can be made");
        let since = Instant::now();
        Dispatcher::new(self.store.clone(), self.keyring.clone(), client, DispatcherSettings::default()).start(&life);
        while place.measured.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let rate = count as f64 / since.elapsed().as_secs_f64();
        life.stop();
        // Attempts that still wait for an answer are dropped.
        life.finish(Duration::from_millis(200)).await;
        self.pool.close().await;
        execute(&database_url(), format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        rate
    }
}

async fn execute(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres answers at DATABASE_URL");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the statement is accepted");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has no config")]
fn database_url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is set")
}
