//! Endpoints, events and a dispatcher, in the process of the test.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;
use uuid::Uuid;
use visavis::domain::ids::{EndpointId, JobId};
use visavis::domain::tenant::Account;
use visavis::domain::webhook::EventType;
use visavis::lifecycle::Lifecycle;
use visavis::net::{Client, Guard};
use visavis::store::jobs::Change;
use visavis::webhooks::endpoints::EndpointSpec;
use visavis::webhooks::{Dispatcher, DispatcherSettings, EndpointAndSecret, Endpoints};

use super::outcomes::{outcome, success};
use super::{World, eventually, photos};

pub const SOON: Duration = Duration::from_secs(30);

/// Few attempts at once, and short time limits.
pub const QUICK: DispatcherSettings =
    DispatcherSettings { places: NonZeroU32::new(64).unwrap(), timeout: Duration::from_millis(500) };

/// A dispatcher that runs until this is dropped.
pub struct Running(Lifecycle);

impl Running {
    pub fn start(world: &World, settings: DispatcherSettings) -> Self {
        Self::with(world, settings, Client::new(Guard::with_loopback()).expect("an HTTP client can be made"))
    }

    pub fn with(world: &World, settings: DispatcherSettings, client: Client) -> Self {
        let life = Lifecycle::new();
        Dispatcher::new(world.store().clone(), world.intake.media.keyring().clone(), client, settings).start(&life);
        Self(life)
    }

    /// Stops in good order: attempts that have begun end and are recorded.
    pub async fn stop(self) {
        self.0.stop();
        assert!(self.0.finish(SOON).await, "the dispatcher ends by itself");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

pub fn live(world: &World) -> Account {
    Account::live(world.tenant.id)
}

pub fn endpoints(world: &World) -> Endpoints {
    Endpoints::new(world.store().clone(), world.intake.media.keyring().clone(), Guard::with_loopback())
}

/// An endpoint of the live account for every type of event.
pub async fn endpoint(world: &World, url: &str) -> EndpointAndSecret {
    endpoint_of(world, live(world), url, EventType::ALL).await
}

pub async fn endpoint_of(world: &World, account: Account, url: &str, event_types: &[EventType]) -> EndpointAndSecret {
    let wanted = EndpointSpec { url, description: "", event_types, rate_limit: None };
    endpoints(world).create(account, &wanted).await.unwrap().expect("the account may have one more")
}

/// Ends a job of the live account, which gives one event.
pub async fn event(world: &World) -> JobId {
    let job = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    finish(world, job).await;
    job
}

pub async fn finish(world: &World, job: JobId) {
    let claim = world.store().claim_job(job).await.unwrap().expect("nobody else takes jobs here");
    let done = world.store().finish_succeeded(&claim, &success(outcome(&claim))).await.unwrap();
    assert_eq!(done, Change::Done);
}

/// Many events: copies of one job, each of which ends and gives one event.
pub async fn events(world: &World, count: i32) {
    let first = world.submit_pair("face_match", photos::blank(), photos::blank()).await;
    let copies: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO jobs (id, tenant_id, request_id, request_hash, kind, lane, params, metadata)
         SELECT gen_random_uuid(), tenant_id, upper(substr(md5(i::text), 1, 12)), request_hash, kind, lane, params,
                metadata
         FROM jobs, generate_series(2, $2) AS i WHERE id = $1 RETURNING id",
    )
    .bind(first.0)
    .bind(count)
    .fetch_all(&world.pool)
    .await
    .unwrap();
    let jobs = std::iter::once(first).chain(copies.into_iter().map(JobId));
    let ended = futures_util::stream::iter(jobs).map(|job| finish(world, job)).buffer_unordered(8);
    ended.collect::<()>().await;
}

/// Waits until `count` deliveries are in that state.
pub async fn await_state(world: &World, state: &'static str, count: i64) {
    eventually(&format!("{count} deliveries are {state}"), SOON, async || {
        let found = sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE state = $1").bind(state);
        found.fetch_one(&world.pool).await.unwrap_or(-1) == count
    })
    .await;
}

/// Waits until `count` attempts are recorded.
pub async fn await_attempts(world: &World, count: i64) {
    eventually(&format!("{count} attempts are recorded"), SOON, async || {
        world.count("SELECT count(*) FROM delivery_attempts").await == count
    })
    .await;
}

/// Whether an endpoint is disabled, and why.
pub async fn disabled(world: &World, id: EndpointId) -> Option<String> {
    let account = live(world);
    world.store().find_endpoint(account, id).await.unwrap().expect("the endpoint is there").disabled
}

/// The text in a field of a JSON answer. Panics if there is none.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} is text: {value}"))
}
