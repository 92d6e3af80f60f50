//! The auditor: holds the database against what producers and receivers saw. It trusts neither, and shares no code with
//! visavis.

mod erasure;
mod jobs;
mod money;
mod notices;

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use crate::books::{Books, EventRow, ImageRow, JobRow};
use crate::witness::{Sight, Submission};
pub use notices::missed_events;

/// A promise that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// How many things were looked at.
    pub counted: usize,
    /// What breaks the promise, with ids.
    pub violations: Vec<String>,
}

/// The blob store, before the images' time was over and afterwards.
#[derive(Debug, Default, Clone)]
pub struct Stores {
    pub images_before: Vec<ImageRow>,
    pub blobs_before: BTreeSet<Uuid>,
    pub blobs_after: BTreeSet<Uuid>,
}

/// Everything on the auditor's desk, with what belongs together found.
struct Case<'a> {
    books: &'a Books,
    sight: &'a Sight,
    stores: &'a Stores,
    /// The jobs of each submission, by its number.
    jobs_of: Vec<Vec<&'a JobRow>>,
    /// Jobs that no producer knows.
    strangers: Vec<&'a JobRow>,
    job: HashMap<Uuid, &'a JobRow>,
    event: HashMap<String, &'a EventRow>,
    events_of: HashMap<Uuid, Vec<&'a EventRow>>,
}

/// Checks every promise.
#[must_use]
pub fn audit(books: &Books, sight: &Sight, stores: &Stores) -> Vec<Check> {
    let case = Case::new(books, sight, stores);
    [jobs::checks(&case), notices::checks(&case), money::checks(&case), erasure::checks(&case)].concat()
}

/// Jobs that were given up after their attempts: allowed, and counted.
#[must_use]
pub fn given_up(books: &Books) -> usize {
    books.jobs.iter().filter(|job| jobs::is_given_up(job)).count()
}

/// Blobs that no row knows and none knew: a process died between writing them and its commit. Nobody has their keys,
/// and the janitor sets them aside in its own time.
#[must_use]
pub fn stranded(books: &Books, stores: &Stores) -> usize {
    let known: BTreeSet<_> = books.images.iter().chain(&stores.images_before).map(|image| &image.id).collect();
    let is_known = |id: &&Uuid| known.contains(id) || books.other_blobs.contains(id);
    stores.blobs_after.iter().filter(|id| !is_known(id)).count()
}

impl<'a> Case<'a> {
    fn new(books: &'a Books, sight: &'a Sight, stores: &'a Stores) -> Self {
        let (mut by_label, mut by_key, mut by_id) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (number, submission) in sight.submissions.iter().enumerate() {
            by_label.insert(submission.label.as_str(), number);
            if let Some(key) = &submission.key {
                by_key.insert((submission.organisation, submission.sandbox(), key.as_str()), number);
            }
            by_id.extend(submission.accepted.iter().map(|id| (*id, number)));
        }
        let mut jobs_of = vec![Vec::new(); sight.submissions.len()];
        let mut strangers = Vec::new();
        for job in &books.jobs {
            let key = job.idempotency_key.as_deref().map(|key| (job.tenant_id, job.sandbox, key));
            // An erased job has no label any more.
            let found = by_label
                .get(job.label.as_deref().unwrap_or_default())
                .or_else(|| by_key.get(&key?))
                .or_else(|| by_id.get(&job.id));
            match found {
                Some(number) => jobs_of[*number].push(job),
                None => strangers.push(job),
            }
        }
        let mut events_of: HashMap<Uuid, Vec<&EventRow>> = HashMap::new();
        for event in &books.events {
            if let Some(job) = event.job_id {
                events_of.entry(job).or_default().push(event);
            }
        }
        let job = books.jobs.iter().map(|job| (job.id, job)).collect();
        let event = books.events.iter().map(|event| (event.id.to_string(), event)).collect();
        Self { books, sight, stores, jobs_of, strangers, job, event, events_of }
    }

    /// Submissions and their jobs.
    fn submissions(&self) -> impl Iterator<Item = (&'a Submission, &Vec<&'a JobRow>)> {
        self.sight.submissions.iter().zip(&self.jobs_of)
    }
}

impl Check {
    fn new(name: &'static str) -> Self {
        Self { name, counted: 0, violations: Vec::new() }
    }

    /// Looks at one thing; `fault` says what is wrong with it.
    fn look(&mut self, fault: Option<String>) {
        self.counted += 1;
        self.violations.extend(fault);
    }

    /// Looks at one thing, which is wrong unless `is_right`.
    fn hold(&mut self, is_right: bool, fault: impl FnOnce() -> String) {
        self.look((!is_right).then(fault));
    }
}
