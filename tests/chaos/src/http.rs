//! Producers over HTTP. They repeat what was not answered, as a careful client does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::fleet::Fleet;
use crate::organisations::{self, Organisation};
use crate::photos::Photos;
use crate::plan::{Content, Door, Plan, PlannedJob};
use crate::witness::Witness;

/// Requests under way at once.
const AT_ONCE: usize = 24;
/// The first wait before a request is repeated; each one is twice as long.
const WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// What producers over HTTP share.
pub struct HttpProducers {
    pub plan: Arc<Plan>,
    pub photos: Arc<Photos>,
    pub organisations: Arc<Vec<Organisation>>,
    pub fleet: Arc<Fleet>,
    pub witness: Arc<Witness>,
    client: Client,
    next_api: AtomicUsize,
    places: Semaphore,
}

impl HttpProducers {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(
        plan: Arc<Plan>,
        photos: Arc<Photos>,
        organisations: Arc<Vec<Organisation>>,
        fleet: Arc<Fleet>,
        witness: Arc<Witness>,
    ) -> Result<Self> {
        let client = organisations::client()?;
        let (next_api, places) = (AtomicUsize::new(0), Semaphore::new(AT_ONCE));
        Ok(Self { plan, photos, organisations, fleet, witness, client, next_api, places })
    }

    /// Submits every job of the plan that comes over HTTP, each at its time after `start`, and erases jobs. Ends when
    /// everything is answered, at `end` at the latest.
    pub async fn run(self: Arc<Self>, start: Instant, end: Instant) {
        let mut tasks = JoinSet::new();
        for number in 0..self.plan.jobs.len() {
            let job = &self.plan.jobs[number];
            sleep_until(start + job.at).await;
            let producers = Arc::clone(&self);
            if job.door != Door::Amqp {
                tasks.spawn(async move { producers.follow(&producers.plan.jobs[number], end).await });
            } else if job.erase_after.is_some() {
                tasks.spawn(async move { producers.erase_submitted(&producers.plan.jobs[number], end).await });
            }
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    /// A job from its submission to its erasure.
    async fn follow(&self, job: &PlannedJob, end: Instant) {
        let label = self.witness.sight().submissions[job.number].label.clone();
        let request = job.content.request(&self.photos, &label);
        for _ in 0..=job.repeats {
            if !self.submit(job, &request, end).await {
                return;
            }
        }
        if job.conflicts {
            self.submit_other(job, end).await;
        }
        self.erase_submitted(job, end).await;
    }

    /// Submits until it is answered. `false`: it never was.
    async fn submit(&self, job: &PlannedJob, request: &Value, end: Instant) -> bool {
        let Some(answer) = self.call(job, Method::POST, "/v1/jobs", Some(request), end).await else { return false };
        let id = answer.body["id"].as_str().and_then(|id| id.parse::<Uuid>().ok());
        self.witness.note(job.number, |submission| match id {
            Some(id) if answer.status == 202 => drop(submission.accepted.insert(id)),
            _ => submission.refused.push(answer.told()),
        });
        true
    }

    /// Another request under the key of one that was accepted.
    async fn submit_other(&self, job: &PlannedJob, end: Instant) {
        let other = if job.content == Content::NoFace { Content::Different } else { Content::NoFace };
        let request = other.request(&self.photos, "a conflict");
        let Some(answer) = self.call(job, Method::POST, "/v1/jobs", Some(&request), end).await else { return };
        self.witness.note(job.number, |submission| {
            if answer.status == 409 {
                submission.conflicts_refused += 1;
            } else {
                submission.conflicts_taken.push(answer.told());
            }
        });
    }

    /// Erases the job if the plan says so, once its id is known.
    async fn erase_submitted(&self, job: &PlannedJob, end: Instant) {
        let Some(after) = job.erase_after else { return };
        let id = loop {
            let accepted = self.witness.sight().submissions[job.number].accepted.first().copied();
            match accepted {
                Some(id) => break id,
                None if Instant::now() < end => sleep(LONGEST_WAIT).await,
                None => return,
            }
        };
        sleep(after).await;
        self.witness.note(job.number, |submission| submission.erasure_asked = true);
        // Twice: the second answer must be the first one's receipt.
        for _ in 0..2 {
            let Some(answer) = self.call(job, Method::DELETE, &format!("/v1/jobs/{id}"), None, end).await else {
                return;
            };
            let receipt = if answer.status == 200 { answer.body } else { json!(answer.told()) };
            self.witness.note(job.number, |submission| submission.receipts.push(receipt));
        }
    }

    /// Calls the APIs in turn until one gives an answer that says something about the request.
    async fn call(
        &self,
        job: &PlannedJob,
        method: Method,
        path: &str,
        body: Option<&Value>,
        end: Instant,
    ) -> Option<HttpAnswer> {
        let organisation = &self.organisations[job.organisation];
        let sandbox = job.door == Door::Http { sandbox: true };
        let mut wait = WAIT;
        while Instant::now() < end {
            let place = self.places.acquire().await.ok()?;
            let apis = self.fleet.apis();
            let turn = self.next_api.fetch_add(1, Ordering::Relaxed);
            if let Some(api) = apis.get(turn % apis.len().max(1)) {
                let mut request = self.client.request(method.clone(), format!("http://{api}{path}"));
                request = request.bearer_auth(organisation.key(sandbox));
                if let Some(body) = body {
                    request = request.json(body);
                    if job.keyed {
                        request = request.header("idempotency-key", format!("key-{}", job.number));
                    }
                    self.witness.note(job.number, |submission| submission.tries += 1);
                }
                if let Some(answer) = HttpAnswer::to(request).await {
                    return Some(answer);
                }
            }
            drop(place);
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        None
    }
}

struct HttpAnswer {
    status: u16,
    body: Value,
}

impl HttpAnswer {
    /// The answer. `None` if there is none, or one that asks to try again.
    async fn to(request: reqwest::RequestBuilder) -> Option<Self> {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        if status >= 500 || status == 429 || status == 408 {
            return None;
        }
        let body = response.json().await.ok()?;
        Some(Self { status, body })
    }

    fn told(&self) -> String {
        format!("{} {}", self.status, self.body)
    }
}
