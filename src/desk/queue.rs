//! The queue, and who has which case.

use askama::Template as _;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::Desk;
use super::case::{self, case_id};
use super::deed::{Deed, Nothing, Quiet};
use super::error::DeskError;
use super::list;
use super::pages::{Counts, Filter, QueuePage, QueueRow};
use super::session::Session;
use super::words;
use crate::domain::ids::JobId;
use crate::domain::review::{CaseState, ReviewerId};
use crate::store::cases::{CaseFilter, CaseRow, MOST_COUNTED};
use crate::store::jobs::Change;

/// Risks that bring cases here, and can be asked for.
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

/// Seconds, and what they are called.
const AGES: [(i64, &str); 4] =
    [(900, "15 minutes or more"), (3600, "An hour or more"), (14_400, "4 hours or more"), (86_400, "A day or more")];

#[derive(Deserialize, Default)]
pub(super) struct Asked {
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
    /// Sent here because nothing is left.
    none: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Next {
    /// Asked for by the script.
    fragment: Option<String>,
    /// The case that the reader looks at.
    after: Option<Uuid>,
}

#[derive(Deserialize)]
pub(super) struct HandedBack {
    /// It was never shown.
    ahead: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Assigned {
    reviewer: Uuid,
}

pub(super) async fn show(
    State(desk): State<Desk>,
    session: Session,
    Query(asked): Query<Asked>,
) -> Result<Html<String>, DeskError> {
    let reviewer = session.reviewer();
    let mut filter = CaseFilter {
        state: CaseState::parse(&asked.state).filter(|it| it.is_open()),
        risk: RISKS.contains(&asked.risk.as_str()).then(|| asked.risk.clone()),
        older_than: AGES.iter().map(|it| it.0).find(|it| it.to_string() == asked.age),
        ..CaseFilter::default()
    };
    match asked.held.as_str() {
        "mine" => filter.holder = Some(reviewer.id),
        "free" => filter.free = true,
        _ => {}
    }
    let after = place(&asked.after);
    let store = &desk.0.store;
    let mut rows = store.list_cases(reviewer.account, &filter, after, list::ASKED).await?;
    let counts = store.count_cases(reviewer).await?;
    let next_page = list::cut(&mut rows).map(|last| asked.query(Some((last.opened_at, last.job_id))));
    let page = QueuePage {
        frame: session.frame("Queue", "queue"),
        is_filtered: asked.chosen().iter().any(|(_, value)| !value.is_empty()),
        filters: asked.filters(),
        rows: rows.into_iter().map(|it| row(it, reviewer.id, counts.now)).collect(),
        next_page,
        first_page: after.map(|_| asked.query(None)),
        counts: Counts {
            waiting: counted(counts.waiting),
            mine: counted(counts.mine),
            second: counted(counts.second),
            disputed: counted(counts.disputed),
            oldest: counts.oldest.map(|it| words::age(it, counts.now)),
        },
        notice: asked.none.map(|_| "No case is free for you at the moment.".to_owned()),
    };
    Ok(Html(page.render()?))
}

/// Takes the next case. The script gets it as a part of a page, ahead of its being shown: no deed of the reviewer's.
pub(super) async fn next(
    State(desk): State<Desk>,
    Query(asked): Query<Next>,
    Quiet(deed): Quiet<Nothing>,
) -> Result<Response, DeskError> {
    if asked.fragment.is_none() {
        deed.session.act(&desk).await?;
    }
    let next = desk.0.store.take_next_case(deed.session.reviewer(), asked.after.map(JobId)).await?;
    match (next, asked.fragment) {
        (Some(id), Some(_)) => Ok(case::fragment(&desk, &deed.session, id).await?.into_response()),
        (None, Some(_)) => Ok(StatusCode::NO_CONTENT.into_response()),
        (Some(id), None) => Ok(Redirect::to(&format!("/desk/cases/{id}")).into_response()),
        (None, None) => Ok(Redirect::to("/desk/queue?none=1").into_response()),
    }
}

pub(super) async fn take(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    deed: Deed<Nothing>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, deed.session.reviewer());
    match desk.0.store.take_case(reviewer, id).await? {
        Change::Done => Ok(done(deed.by_script, &format!("/desk/cases/{id}"))),
        Change::Lost => Err(case::moved_on(&desk, reviewer, id).await?),
    }
}

pub(super) async fn hand_back(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Query(asked): Query<HandedBack>,
    deed: Deed<Nothing>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, deed.session.reviewer());
    match desk.0.store.hand_back_case(reviewer, id, asked.ahead.is_some()).await? {
        Change::Done => Ok(done(deed.by_script, "/desk/queue")),
        Change::Lost => Err(case::moved_on(&desk, reviewer, id).await?),
    }
}

pub(super) async fn assign(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    deed: Deed<Assigned>,
) -> Result<Response, DeskError> {
    let (id, lead) = (case_id(&id)?, deed.session.reviewer());
    if !lead.is_lead {
        return Err(DeskError::Forbidden("Only a lead gives cases to others."));
    }
    match desk.0.store.assign_case(lead, id, ReviewerId(deed.form.reviewer)).await? {
        Change::Done => Ok(done(deed.by_script, &format!("/desk/cases/{id}"))),
        Change::Lost => {
            let what = "It could not be given to that reviewer: it is over, or they have given their opinion already, or it \
                        is disputed and they are no lead.";
            Err(DeskError::Conflict(what.to_owned()))
        }
    }
}

pub(super) async fn heartbeat(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Quiet(deed): Quiet<Nothing>,
) -> Result<StatusCode, DeskError> {
    let (id, reviewer) = (case_id(&id)?, deed.session.reviewer());
    match desk.0.store.renew_case(reviewer, id).await? {
        Change::Done => Ok(StatusCode::NO_CONTENT),
        Change::Lost => Err(case::moved_on(&desk, reviewer, id).await?),
    }
}

pub(super) async fn opened(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    deed: Deed<Nothing>,
) -> Result<StatusCode, DeskError> {
    let (id, reviewer) = (case_id(&id)?, deed.session.reviewer());
    let case = desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    if case.holder.is_none_or(|(holder, _)| holder != reviewer.id) {
        return Err(case::moved_on(&desk, reviewer, id).await?);
    }
    desk.0.store.record_opened(reviewer, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn done(by_script: bool, path: &str) -> Response {
    if by_script { StatusCode::NO_CONTENT.into_response() } else { Redirect::to(path).into_response() }
}

fn row(it: CaseRow, reader: ReviewerId, now: DateTime<Utc>) -> QueueRow {
    QueueRow {
        id: it.job_id.to_string(),
        request_id: it.request_id,
        kind: words::kind(&it.kind),
        age: words::age(it.opened_at, now),
        opened_at: words::moment(it.opened_at).0,
        score: it.score.map(|it| format!("{it:.2}")),
        warnings: it.risks.iter().map(|it| words::risk(it)).collect(),
        state: it.state.name(),
        state_words: it.state.words(),
        mine: it.holder.as_ref().is_some_and(|(id, _)| *id == reader),
        holder: it.holder.map(|(_, name)| name),
    }
}

pub(super) fn counted(cases: i64) -> String {
    if cases > MOST_COUNTED { "10,000+".to_owned() } else { cases.to_string() }
}

/// `<microseconds>.<id>`, as [`Asked::query`] writes it.
fn place(after: &str) -> Option<(DateTime<Utc>, JobId)> {
    let (at, id) = after.split_once('.')?;
    // Within what the database can say, up to the year 9999.
    let at = at.parse().ok().filter(|it| (0..253_402_300_800_000_000).contains(it))?;
    Some((DateTime::from_timestamp_micros(at)?, JobId(id.parse().ok()?)))
}

impl Asked {
    /// The same question, behind that place.
    fn query(&self, after: Option<(DateTime<Utc>, JobId)>) -> String {
        let place = after.map(|(at, id)| ("after", format!("{}.{id}", at.timestamp_micros())));
        list::query(&self.chosen(), place)
    }

    fn chosen(&self) -> [(&'static str, &str); 4] {
        [("state", &self.state), ("risk", &self.risk), ("age", &self.age), ("held", &self.held)]
    }

    fn filters(&self) -> Vec<Filter> {
        let states = CaseState::ALL.iter().filter(|it| it.is_open());
        let states = states.map(|it| (it.name().to_owned(), it.words().to_owned()));
        let risks = RISKS.iter().map(|it| ((*it).to_owned(), words::risk(it)));
        let ages = AGES.iter().map(|(age, words)| (age.to_string(), (*words).to_owned()));
        let held = [("free", "Free"), ("mine", "Mine")].map(|(value, words)| (value.to_owned(), words.to_owned()));
        vec![
            list::filter(("state", "State"), "Any state", &self.state, states),
            list::filter(("risk", "Warning"), "Any warning", &self.risk, risks),
            list::filter(("age", "Waiting for"), "Any time", &self.age, ages),
            list::filter(("held", "Held by"), "Anybody or nobody", &self.held, held),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_queue_is_read_back_to_the_microsecond() {
        let (at, id) = (DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap(), JobId::new());
        let asked = Asked { risk: "BLURRED".to_owned(), ..Asked::default() };
        let query = asked.query(Some((at, id)));
        let after = query.split_once("after=").unwrap().1;
        assert!(query.starts_with("risk=BLURRED&"));
        assert_eq!(place(after), Some((at, id)));
        for wrong in ["", "1", "x.y", &format!("{}.{id}", i64::MAX), &format!("-1.{id}")] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }
}
