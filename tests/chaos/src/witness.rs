//! What producers and receivers saw. Together with the database it is all that the auditor reads.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;
use uuid::Uuid;

use crate::lock;
use crate::plan::{Content, Door, Plan};

/// What everybody saw so far. Producers and receivers add to it while a run lasts.
#[derive(Debug, Default)]
pub struct Witness(Mutex<Sight>);

#[derive(Debug, Default, Clone)]
pub struct Sight {
    /// By the job's number in the plan.
    pub submissions: Vec<Submission>,
    pub endpoints: Vec<Endpoint>,
    pub replies: Vec<ReplySeen>,
    pub webhooks: Vec<WebhookSeen>,
    pub results: Vec<EventSeen>,
    pub streamed: Vec<EventSeen>,
    /// Accounts whose events a stream shows: the organisation, and whether it is its sandbox.
    pub streams: Vec<(Uuid, bool)>,
}

/// A job as its producer knows it.
#[derive(Debug, Clone)]
pub struct Submission {
    /// In the job's metadata.
    pub label: String,
    /// The organisation's id.
    pub organisation: Uuid,
    pub door: Door,
    pub key: Option<String>,
    pub content: Content,
    /// How often it was sent. Without a key each of them may have made a job.
    pub tries: u32,
    /// The ids in answers "accepted", a repetition's too.
    pub accepted: BTreeSet<Uuid>,
    /// Codes of answers that refused it.
    pub refused: Vec<String>,
    /// Other requests under the same key: how many were sent and refused as they must be, and what others got.
    pub conflicts_refused: u32,
    pub conflicts_taken: Vec<String>,
    /// The erasure was asked for, so that the job may end without its verdict.
    pub erasure_asked: bool,
    pub receipts: Vec<Value>,
}

/// A webhook endpoint of the harness.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: Uuid,
    pub organisation: Uuid,
    pub sandbox: bool,
    pub secret: String,
}

/// An answer in a producer's reply queue.
#[derive(Debug, Clone)]
pub struct ReplySeen {
    /// The job's number, from the correlation id. `None`: the answer belongs to no message of ours.
    pub number: Option<usize>,
    /// The property `type`.
    pub kind: String,
    pub body: Value,
}

/// A call of a webhook endpoint.
#[derive(Debug, Clone)]
pub struct WebhookSeen {
    pub endpoint: Uuid,
    /// The header `webhook-id`.
    pub id: String,
    pub body: Value,
    pub is_signed: bool,
    /// It was answered with 200.
    pub is_taken: bool,
}

/// An event of a stream or of the results exchange.
#[derive(Debug, Clone)]
pub struct EventSeen {
    /// The organisation that saw it.
    pub organisation: Uuid,
    pub sandbox: bool,
    pub id: String,
    pub body: Value,
}

impl Witness {
    /// For the jobs of a plan. `organisations` are the ids of the plan's organisations.
    #[must_use]
    pub fn of(plan: &Plan, organisations: &[Uuid]) -> Self {
        let seed = plan.size.seed;
        let submissions = plan.jobs.iter().map(|job| Submission {
            label: format!("{seed}-{}", job.number),
            organisation: organisations[job.organisation],
            door: job.door,
            key: job.keyed.then(|| format!("key-{}", job.number)),
            content: job.content,
            tries: 0,
            accepted: BTreeSet::new(),
            refused: Vec::new(),
            conflicts_refused: 0,
            conflicts_taken: Vec::new(),
            erasure_asked: false,
            receipts: Vec::new(),
        });
        Self(Mutex::new(Sight { submissions: submissions.collect(), ..Sight::default() }))
    }

    pub fn sight(&self) -> MutexGuard<'_, Sight> {
        lock(&self.0)
    }

    /// Notes something about a job.
    pub fn note(&self, number: usize, note: impl FnOnce(&mut Submission)) {
        if let Some(submission) = self.sight().submissions.get_mut(number) {
            note(submission);
        }
    }
}

impl Submission {
    #[must_use]
    pub fn sandbox(&self) -> bool {
        self.door == Door::Http { sandbox: true }
    }
}
