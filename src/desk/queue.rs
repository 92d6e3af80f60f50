//! The queue of cases, and who holds which case.

use askama::Template as _;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::Desk;
use super::case::{self, case_id};
use super::error::DeskError;
use super::form::{BackgroundForm, NoFields, SignedForm};
use super::list::{self, FilterField};
use super::pages::{Counts, Filter, QueuePage, QueueRow};
use super::session::Session;
use super::words;
use crate::domain::ids::JobId;
use crate::domain::review::{CaseState, ReviewerId};
use crate::store::cases::{CaseFilter, CaseRow, MOST_COUNTED};
use crate::store::jobs::Change;

/// The warnings that the queue can be filtered by: those that send a case to review.
const RISKS: [&str; 14] = [
    "LOW_FACE_MATCH_SIMILARITY",
    "LOW_LIVENESS_SCORE",
    "INSUFFICIENT_CONTEXT",
    "CHALLENGE_FAILED",
    "DUPLICATED_IMAGE",
    "FRAMES_INCONSISTENT",
    "MULTIPLE_FACES_DETECTED",
    "LOW_FACE_QUALITY",
    "FACE_TOO_SMALL",
    "BLURRED",
    "POOR_LIGHTING",
    "EXTREME_POSE",
    "FACE_OCCLUDED",
    "FACE_AT_EDGE",
];

/// Waiting times that the queue can be filtered by: seconds, and words.
const AGES: [(i64, &str); 4] =
    [(900, "15 minutes or more"), (3600, "An hour or more"), (14_400, "4 hours or more"), (86_400, "A day or more")];

#[derive(Deserialize, Default)]
pub(super) struct QueueQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    risk: String,
    #[serde(default)]
    age: String,
    #[serde(default)]
    held: String,
    #[serde(default)]
    after: String,
    /// Present when no case was left to take.
    none: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NextQuery {
    /// Present when the script wants the case alone, not a page.
    fragment: Option<String>,
    /// The case that is on the reviewer's screen.
    after: Option<Uuid>,
}

#[derive(Deserialize)]
pub(super) struct HandBackQuery {
    /// Present when the case was only fetched ahead and never shown.
    ahead: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct AssignForm {
    reviewer: Uuid,
}

pub(super) async fn show(
    State(desk): State<Desk>,
    session: Session,
    Query(query): Query<QueueQuery>,
) -> Result<Html<String>, DeskError> {
    let reviewer = session.reviewer();
    let mut filter = CaseFilter {
        state: CaseState::parse(&query.state).filter(|state| state.is_open()),
        risk: RISKS.contains(&query.risk.as_str()).then(|| query.risk.clone()),
        older_than: AGES.iter().map(|(seconds, _)| *seconds).find(|seconds| seconds.to_string() == query.age),
        ..CaseFilter::default()
    };
    match query.held.as_str() {
        "mine" => filter.holder = Some(reviewer.id),
        "free" => filter.free = true,
        _ => {}
    }
    let after = parse_position(&query.after);
    let store = &desk.0.store;
    let mut rows = store.list_cases(reviewer.account, &filter, after, list::FETCH_ROWS).await?;
    let counts = store.count_cases(reviewer).await?;
    let next_page = list::cut(&mut rows).map(|last| query.page_after(Some((last.opened_at, last.job_id))));
    let page = QueuePage {
        frame: session.frame("Queue", "queue"),
        is_filtered: query.chosen().iter().any(|(_, value)| !value.is_empty()),
        filters: query.filters(),
        rows: rows.into_iter().map(|row| queue_row(row, reviewer.id, counts.now)).collect(),
        next_page,
        first_page: after.map(|_| query.page_after(None)),
        counts: Counts {
            waiting: capped(counts.waiting),
            mine: capped(counts.mine),
            second: capped(counts.second),
            disputed: capped(counts.disputed),
            oldest: counts.oldest.map(|opened_at| words::age(opened_at, counts.now)),
        },
        notice: query.none.map(|_| "No case is free for you right now."),
    };
    Ok(Html(page.render()?))
}

/// Takes the next case. The script fetches it ahead as a part of a page. That is not something the reviewer did, so it
/// does not extend the session.
pub(super) async fn next(
    State(desk): State<Desk>,
    Query(query): Query<NextQuery>,
    BackgroundForm(form): BackgroundForm<NoFields>,
) -> Result<Response, DeskError> {
    if query.fragment.is_none() {
        form.session.extend(&desk).await?;
    }
    let next = desk.0.store.take_next_case(form.session.reviewer(), query.after.map(JobId)).await?;
    match (next, query.fragment) {
        (Some(id), Some(_)) => Ok(case::fragment(&desk, &form.session, id).await?.into_response()),
        (None, Some(_)) => Ok(StatusCode::NO_CONTENT.into_response()),
        (Some(id), None) => Ok(Redirect::to(&format!("/desk/cases/{id}")).into_response()),
        (None, None) => Ok(Redirect::to("/desk/queue?none=1").into_response()),
    }
}

pub(super) async fn take(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    form: SignedForm<NoFields>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, form.session.reviewer());
    match desk.0.store.take_case(reviewer, id).await? {
        Change::Done => Ok(done(form.by_script, &format!("/desk/cases/{id}"))),
        Change::Lost => Err(case::conflict(&desk, reviewer, id).await?),
    }
}

pub(super) async fn hand_back(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Query(query): Query<HandBackQuery>,
    form: SignedForm<NoFields>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, form.session.reviewer());
    match desk.0.store.hand_back_case(reviewer, id, query.ahead.is_some()).await? {
        Change::Done => Ok(done(form.by_script, "/desk/queue")),
        Change::Lost => Err(case::conflict(&desk, reviewer, id).await?),
    }
}

pub(super) async fn assign(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    form: SignedForm<AssignForm>,
) -> Result<Response, DeskError> {
    let (id, lead) = (case_id(&id)?, form.session.reviewer());
    if !lead.is_lead {
        return Err(DeskError::Forbidden("Only a lead can assign cases."));
    }
    match desk.0.store.assign_case(lead, id, ReviewerId(form.fields.reviewer)).await? {
        Change::Done => Ok(done(form.by_script, &format!("/desk/cases/{id}"))),
        Change::Lost => {
            let why = "This case cannot be assigned to that reviewer. Perhaps it is closed, or they have given an \
                       opinion on it, or it is disputed and they are not a lead.";
            Err(DeskError::Conflict(why.to_owned()))
        }
    }
}

/// A page shows the case, so its holder keeps it.
pub(super) async fn heartbeat(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    BackgroundForm(form): BackgroundForm<NoFields>,
) -> Result<StatusCode, DeskError> {
    let (id, reviewer) = (case_id(&id)?, form.session.reviewer());
    match desk.0.store.renew_case(reviewer, id).await? {
        Change::Done => Ok(StatusCode::NO_CONTENT),
        Change::Lost => Err(case::conflict(&desk, reviewer, id).await?),
    }
}

/// Records that a case which was fetched ahead is on the screen now.
pub(super) async fn opened(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    form: SignedForm<NoFields>,
) -> Result<StatusCode, DeskError> {
    let (id, reviewer) = (case_id(&id)?, form.session.reviewer());
    let case = desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    if case.holder.is_none_or(|(holder, _)| holder != reviewer.id) {
        return Err(case::conflict(&desk, reviewer, id).await?);
    }
    desk.0.store.record_opened(reviewer, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn done(by_script: bool, path: &str) -> Response {
    if by_script { StatusCode::NO_CONTENT.into_response() } else { Redirect::to(path).into_response() }
}

fn queue_row(row: CaseRow, reader: ReviewerId, now: DateTime<Utc>) -> QueueRow {
    QueueRow {
        id: row.job_id.to_string(),
        request_id: row.request_id,
        kind: words::kind(&row.kind),
        age: words::age(row.opened_at, now),
        opened_at: words::moment(row.opened_at).iso,
        score: row.score.map(|score| format!("{score:.2}")),
        warnings: row.risks.iter().map(|risk| words::risk(risk)).collect(),
        state: row.state.name(),
        state_words: row.state.words(),
        mine: row.holder.as_ref().is_some_and(|(id, _)| *id == reader),
        holder: row.holder.map(|(_, name)| name),
    }
}

/// A number of cases in words. The database stops counting above 10,000.
pub(super) fn capped(cases: i64) -> String {
    if cases > MOST_COUNTED { "10,000+".to_owned() } else { cases.to_string() }
}

/// Reads `<microseconds>.<id>`, as [`QueueQuery::page_after`] writes it.
fn parse_position(after: &str) -> Option<(DateTime<Utc>, JobId)> {
    let (at, id) = after.split_once('.')?;
    // Postgres rejects much later times. The bound is the year 9999.
    let at = at.parse().ok().filter(|micros| (0..253_402_300_800_000_000).contains(micros))?;
    Some((DateTime::from_timestamp_micros(at)?, JobId(id.parse().ok()?)))
}

impl QueueQuery {
    /// The query string of the page that follows this position; `None` for the first page.
    fn page_after(&self, position: Option<(DateTime<Utc>, JobId)>) -> String {
        let position = position.map(|(at, id)| ("after", format!("{}.{id}", at.timestamp_micros())));
        list::query(&self.chosen(), position)
    }

    fn chosen(&self) -> [(&'static str, &str); 4] {
        [("state", &self.state), ("risk", &self.risk), ("age", &self.age), ("held", &self.held)]
    }

    fn filters(&self) -> Vec<Filter> {
        let states = CaseState::ALL.iter().filter(|state| state.is_open());
        let states = states.map(|state| (state.name().to_owned(), state.words().to_owned()));
        let risks = RISKS.iter().map(|risk| ((*risk).to_owned(), words::risk(risk)));
        let ages = AGES.iter().map(|(seconds, words)| (seconds.to_string(), (*words).to_owned()));
        let holders = [("free", "Free"), ("mine", "Mine")].map(|(value, words)| (value.to_owned(), words.to_owned()));
        let state = FilterField { name: "state", label: "State", any: "Any state", chosen: &self.state };
        let risk = FilterField { name: "risk", label: "Warning", any: "Any warning", chosen: &self.risk };
        let age = FilterField { name: "age", label: "Waiting time", any: "Any time", chosen: &self.age };
        let held = FilterField { name: "held", label: "Held by", any: "Anybody or nobody", chosen: &self.held };
        vec![state.with(states), risk.with(risks), age.with(ages), held.with(holders)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_in_the_queue_is_read_back_to_the_microsecond() {
        let (at, id) = (DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap(), JobId::new());
        let query = QueueQuery { risk: "BLURRED".to_owned(), ..QueueQuery::default() };
        let query = query.page_after(Some((at, id)));
        let after = query.split_once("after=").unwrap().1;
        assert!(query.starts_with("risk=BLURRED&"));
        assert_eq!(parse_position(after), Some((at, id)));
        for wrong in ["", "1", "x.y", &format!("{}.{id}", i64::MAX), &format!("-1.{id}")] {
            assert_eq!(parse_position(wrong), None, "{wrong}");
        }
    }
}
