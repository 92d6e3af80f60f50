//! Everybody hears of what happened: events, webhooks, replies, results, streams.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;
use uuid::Uuid;

use super::{Case, Check};
use crate::books::{EventRow, JobRow};
use crate::plan::Door;
use crate::witness::{EventSeen, ReplySeen, Sight};

pub fn checks(case: &Case<'_>) -> Vec<Check> {
    vec![events(case), twice(case), delivered(case), due(case), replies(case), seen(case), known(case)]
}

fn events(case: &Case<'_>) -> Check {
    let mut check = Check::new("a job has one event of its end, and one of its erasure if it was erased");
    for job in &case.books.jobs {
        let events = case.events_of.get(&job.id).map_or(&[][..], Vec::as_slice);
        let mut kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        kinds.sort_unstable();
        let end = if job.state == "succeeded" { "job.completed" } else { "job.failed" };
        let mut wanted = vec![end];
        if job.is_erased {
            wanted.push("image.erased");
        }
        wanted.sort_unstable();
        let says_so = events.iter().all(|event| event.revision == 0 && tells_of(&event.payload, job));
        check.hold(kinds == wanted && says_so, || format!("job {} ({}) has {kinds:?}", job.id, job.state));
    }
    check
}

fn twice(case: &Case<'_>) -> Check {
    let mut check = Check::new("nothing takes effect twice");
    let mut effects: HashMap<(Uuid, &str), usize> = HashMap::new();
    for event in case.books.events.iter().filter(|event| event.job_id.is_some()) {
        let ends = matches!(event.kind.as_str(), "job.completed" | "job.failed");
        let effect = if ends { "end" } else { event.kind.as_str() };
        *effects.entry((event.job_id.unwrap_or_default(), effect)).or_default() += 1;
    }
    for job in &case.books.usage {
        *effects.entry((*job, "usage")).or_default() += 1;
    }
    for movement in case.books.ledger.iter().filter(|movement| movement.kind == "debit") {
        *effects.entry((movement.job_id.unwrap_or_default(), "debit")).or_default() += 1;
    }
    for ((job, effect), count) in effects {
        check.hold(count == 1, || format!("job {job} has {count} of: {effect}"));
    }
    check
}

/// Whether the data name this job and its verdict.
fn tells_of(data: &Value, job: &JobRow) -> bool {
    data["id"].as_str() == Some(job.id.to_string().as_str())
        && data["state"].as_str() == Some(job.state.as_str())
        && data["verdict"].as_str() == job.verdict.as_deref()
}

fn delivered(case: &Case<'_>) -> Check {
    let mut check = Check::new("every due webhook was delivered, and its receiver took it");
    let deliveries: HashMap<_, _> = case
        .books
        .deliveries
        .iter()
        .map(|delivery| ((delivery.event_id, delivery.endpoint_id), delivery.state.as_str()))
        .collect();
    let taken: HashSet<_> =
        case.sight.webhooks.iter().filter(|seen| seen.is_taken).map(|seen| (seen.id.as_str(), seen.endpoint)).collect();
    for endpoint in &case.sight.endpoints {
        let of_account =
            |event: &&EventRow| event.tenant_id == endpoint.organisation && event.sandbox == endpoint.sandbox;
        for event in case.books.events.iter().filter(of_account).filter(|event| event.job_id.is_some()) {
            let state = deliveries.get(&(event.id, endpoint.id)).copied();
            let is_taken = taken.contains(&(event.id.to_string().as_str(), endpoint.id));
            check.hold(state == Some("delivered") && is_taken, || {
                format!("event {} at endpoint {}: {state:?}, taken: {is_taken}", event.id, endpoint.id)
            });
        }
    }
    check
}

fn due(case: &Case<'_>) -> Check {
    let mut check = Check::new("a webhook that arrives is signed, due and about one event under one id");
    let mut ids: BTreeMap<(Uuid, Uuid, String), BTreeSet<&str>> = BTreeMap::new();
    for seen in &case.sight.webhooks {
        let event = case.event.get(&seen.id);
        let is_right = event.is_some_and(|event| is_of(event, &seen.body));
        check.hold(is_right && seen.is_signed, || {
            format!("webhook {}: signed: {}, an event's: {is_right}", seen.id, seen.is_signed)
        });
        if let (Some(job), Some(kind)) = (id_in(&seen.body), seen.body["type"].as_str()) {
            ids.entry((seen.endpoint, job, kind.to_owned())).or_default().insert(&seen.id);
        }
    }
    for ((_, job, kind), ids) in ids {
        check.hold(ids.len() == 1, || format!("{kind} of job {job} came under {ids:?}"));
    }
    check
}

/// Whether an envelope is this event's.
fn is_of(event: &EventRow, envelope: &Value) -> bool {
    envelope["type"].as_str() == Some(event.kind.as_str()) && id_in(envelope) == event.job_id
}

fn id_in(envelope: &Value) -> Option<Uuid> {
    envelope["data"]["id"].as_str()?.parse().ok()
}

fn replies(case: &Case<'_>) -> Check {
    let mut check = Check::new("a message gets its acceptance and its job's end as replies");
    let mut replies: HashMap<usize, Vec<&ReplySeen>> = HashMap::new();
    for reply in &case.sight.replies {
        match reply.number {
            Some(number) => replies.entry(number).or_default().push(reply),
            None => check.look(Some(format!("a reply {} belongs to no message", reply.kind))),
        }
    }
    for (number, (submission, jobs)) in case.submissions().enumerate() {
        if submission.door != Door::Amqp || submission.tries == 0 {
            continue;
        }
        let got = replies.get(&number).map_or(&[][..], Vec::as_slice);
        let fault = match jobs.first() {
            None => (!got.is_empty()).then(|| "answered without a job".to_owned()),
            Some(job) => fault_in(got, job),
        };
        check.look(fault.map(|fault| format!("{}: {fault}", submission.label)));
    }
    check
}

fn fault_in(replies: &[&ReplySeen], job: &JobRow) -> Option<String> {
    let id = job.id.to_string();
    let end = if job.state == "succeeded" { "completed" } else { "failed" };
    let (mut accepted, mut ended) = (0, 0);
    for reply in replies {
        let body = &reply.body;
        if body["id"].as_str() != Some(&id) {
            return Some(format!("a reply {} names {} and not job {id}", reply.kind, body["id"]));
        }
        match reply.kind.as_str() {
            "accepted" => accepted += 1,
            kind if kind == end && tells_of(body, job) => ended += 1,
            kind => return Some(format!("a reply {kind} with {} of job {id}, {}", body["verdict"], job.state)),
        }
    }
    (accepted == 0 || ended == 0).then(|| format!("job {id} has {accepted} replies accepted and {ended} {end}"))
}

fn seen(case: &Case<'_>) -> Check {
    let mut check = Check::new("the results exchange and the streams show every event");
    check.counted = case.books.events.len();
    check.violations = missed_events(&case.books.events, case.sight);
    check
}

fn known(case: &Case<'_>) -> Check {
    let mut check = Check::new("what they show happened, and to nobody else");
    let shown = case.sight.results.iter().chain(&case.sight.streamed);
    for EventSeen { organisation, sandbox, id, body } in shown {
        let is_right = case
            .event
            .get(id)
            .is_some_and(|event| event.tenant_id == *organisation && event.sandbox == *sandbox && is_of(event, body));
        check.hold(is_right, || format!("event {id} was shown and is no such event"));
    }
    check
}

/// Events, in the order of their readers, that a results queue or a stream should have shown and did not. A stream
/// begins at the first event that it showed.
#[must_use]
pub fn missed_events(events: &[EventRow], sight: &Sight) -> Vec<String> {
    let ids = |seen: &[EventSeen]| seen.iter().map(|event| event.id.clone()).collect::<HashSet<_>>();
    let (results, streamed) = (ids(&sight.results), ids(&sight.streamed));
    let organisations: HashSet<_> = sight.submissions.iter().map(|submission| submission.organisation).collect();
    let mut begun = HashSet::new();
    let mut missed = Vec::new();
    for event in events.iter().filter(|event| event.job_id.is_some()) {
        let (id, account) = (event.id.to_string(), (event.tenant_id, event.sandbox));
        if !event.sandbox && organisations.contains(&event.tenant_id) && !results.contains(&id) {
            missed.push(format!("event {id} is not among the results"));
        }
        if sight.streams.contains(&account) {
            if streamed.contains(&id) {
                begun.insert(account);
            } else if begun.contains(&account) {
                missed.push(format!("event {id} was not streamed"));
            }
        }
    }
    missed
}
