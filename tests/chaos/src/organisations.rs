//! The organisations of a run, made by commands of visavis as an operator makes them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Client, Url};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fleet::{Fleet, Launch};
use crate::photos::Photos;
use crate::plan::ORGANISATIONS;
use crate::requests::{PRICE, REGISTERED};
use crate::services::Services;
use crate::witness::{Endpoint, Witness};

/// The organisation whose rows and messages are poison. The audit leaves it out.
pub const POISONED: &str = "poisoned";

/// An organisation, and what its producers need.
pub struct Organisation {
    pub id: Uuid,
    pub name: &'static str,
    pub live_key: String,
    pub test_key: String,
    /// Its broker user's address.
    pub broker: Url,
}

/// What its wallet gets, in major units.
const CREDIT: &str = "1000000.00";
/// Nobody waits longer for one answer.
pub const ANSWER: Duration = Duration::from_secs(20);

/// Migrates the database and makes the organisations of the plan and the poisoned one, whose address comes last.
///
/// # Errors
/// When a command fails.
pub async fn make(launch: &Launch, services: &mut Services, photos: &Photos) -> Result<(Vec<Organisation>, Url)> {
    launch.run(&["migrate"]).await?;
    let mut made = Vec::new();
    for name in ORGANISATIONS {
        let broker = services.make_producer(name).await?;
        let of = ["--organisation", name];
        let live_key = launch.run(&[&["tenant", "create", "--amqp-user", broker.username()], &of[..]].concat()).await?;
        let test_key = launch.run(&[&["tenant", "key", "--test"], &of[..]].concat()).await?;
        let price = format!("id_match_price={PRICE}");
        // Liveness of a thumbnail says nothing about chaos.
        launch.run(&[&["tenant", "set"], &of[..], &[&price, "liveness=off"]].concat()).await?;
        let credit = ["wallet", "credit", "--amount", CREDIT, "--currency", "EUR"];
        launch.run(&[&credit[..], &of[..]].concat()).await?;
        let id = sqlx::query_scalar("SELECT id FROM tenants WHERE name = $1");
        let id = id.bind(name).fetch_one(&services.pool).await?;
        let key = |printed: &str| printed.lines().last().unwrap_or_default().trim().to_owned();
        made.push(Organisation { id, name, live_key: key(&live_key), test_key: key(&test_key), broker });
    }
    let poisoned = services.make_producer(POISONED).await?;
    launch.run(&["tenant", "create", "--organisation", POISONED, "--amqp-user", poisoned.username()]).await?;

    let people = launch.folder.join("people.jsonl");
    let person = json!({ "id_number": REGISTERED, "portrait": photos.registered, "name": "Ada Example" });
    std::fs::write(&people, person.to_string())?;
    let people = people.to_str().context("a path of letters")?;
    launch.run(&["identity", "import", people, "--id-type", "nin"]).await?;
    Ok((made, poisoned))
}

impl Organisation {
    #[must_use]
    pub fn key(&self, sandbox: bool) -> &str {
        if sandbox { &self.test_key } else { &self.live_key }
    }
}

/// Makes an endpoint at each of `urls` for every account.
///
/// # Errors
/// When the API refuses.
pub async fn make_endpoints(
    fleet: &Fleet,
    organisations: &[Organisation],
    urls: &[String],
    witness: &Arc<Witness>,
) -> Result<()> {
    let client = client()?;
    let api = *fleet.apis().first().context("no API runs")?;
    let accounts = organisations.iter().flat_map(|organisation| [(organisation, false), (organisation, true)]);
    for ((organisation, sandbox), url) in accounts.zip(urls.iter().cycle()) {
        let body = json!({ "url": url, "event_types": ["job.completed", "job.failed", "image.erased"] });
        let request = client.post(format!("http://{api}/v1/webhooks")).bearer_auth(organisation.key(sandbox));
        let made: Value = request.json(&body).send().await?.error_for_status()?.json().await?;
        let id = made["id"].as_str().and_then(|id| id.parse().ok()).context("an endpoint has an id")?;
        let secret = made["secret"].as_str().context("an endpoint has a secret")?.to_owned();
        witness.sight().endpoints.push(Endpoint { id, organisation: organisation.id, sandbox, secret });
    }
    Ok(())
}

/// An HTTP client for the API.
///
/// # Errors
/// When none can be made.
pub fn client() -> Result<Client> {
    // A connection that is kept may belong to a process that was killed.
    Ok(Client::builder().no_proxy().timeout(ANSWER).pool_max_idle_per_host(0).build()?)
}
