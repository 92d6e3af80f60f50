//! Deciding, taking it back, correcting it.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::Desk;
use super::case::{self, case_id};
use super::deed::{Deed, Nothing};
use super::error::DeskError;
use crate::domain::review::{Opinion, UNDO};
use crate::store::jobs::Change;

#[derive(Deserialize)]
pub(super) struct Said {
    decision: String,
    #[serde(default)]
    reason: Vec<String>,
    #[serde(default)]
    note: String,
}

pub(super) async fn decide(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Deed { session, form, by_script }: Deed<Said>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, session.reviewer());
    let opinion = Opinion::read(&form.decision, &form.reason, &form.note)?;
    let needs_two = case::is_for_two(&desk, reviewer, id).await?;
    match desk.0.store.decide_case(reviewer, id, &opinion, needs_two).await? {
        Change::Done if by_script => Ok(Json(json!({ "undo_ms": UNDO.as_millis() })).into_response()),
        Change::Done => match desk.0.store.take_next_case(reviewer, Some(id)).await? {
            Some(next) => Ok(Redirect::to(&format!("/desk/cases/{next}")).into_response()),
            None => Ok(Redirect::to("/desk/queue?none=1").into_response()),
        },
        Change::Lost => Err(case::moved_on(&desk, reviewer, id).await?),
    }
}

pub(super) async fn undo(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Deed { session, by_script, .. }: Deed<Nothing>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, session.reviewer());
    match desk.0.store.undo_decision(reviewer, id).await? {
        Change::Done if by_script => Ok(Json(json!({})).into_response()),
        Change::Done => Ok(Redirect::to(&format!("/desk/cases/{id}")).into_response()),
        Change::Lost => {
            desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
            let what = "There is nothing of yours to undo here: its seconds are over. A decision can be corrected.";
            Err(DeskError::Conflict(what.to_owned()))
        }
    }
}

/// By a lead, or by who decided where no two had to agree. It must say why.
pub(super) async fn correct(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Deed { session, form, .. }: Deed<Said>,
) -> Result<Redirect, DeskError> {
    let (id, reviewer) = (case_id(&id)?, session.reviewer());
    let opinion = Opinion::read(&form.decision, &form.reason, &form.note)?;
    if opinion.note.is_empty() {
        let detail = "Say in the note why the decision is corrected.".to_owned();
        return Err(DeskError::Invalid { field: Some("note"), detail });
    }
    let (last, may) = case::last_word(&desk, reviewer, id).await?;
    if !may {
        return Err(DeskError::Forbidden("A lead corrects decisions, or who decided, where no two had to agree."));
    }
    match desk.0.store.correct_decision(reviewer, id, last, &opinion).await? {
        Change::Done => Ok(Redirect::to(&format!("/desk/cases/{id}"))),
        Change::Lost => Err(case::moved_on(&desk, reviewer, id).await?),
    }
}
