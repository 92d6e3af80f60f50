//! Deciding a case, undoing the decision, and correcting it later.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::json;

use super::Desk;
use super::case::{self, case_id};
use super::error::DeskError;
use super::form::{NoFields, SignedForm};
use crate::domain::review::{Opinion, UNDO};
use crate::store::jobs::Change;

#[derive(Deserialize)]
pub(super) struct DecisionForm {
    decision: String,
    #[serde(default)]
    reason: Vec<String>,
    #[serde(default)]
    note: String,
}

pub(super) async fn decide(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    SignedForm { session, fields, by_script }: SignedForm<DecisionForm>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, session.reviewer());
    let opinion = Opinion::read(&fields.decision, &fields.reason, &fields.note)?;
    let needs_two = case::is_for_two(&desk, reviewer, id).await?;
    match desk.0.store.decide_case(reviewer, id, &opinion, needs_two).await? {
        Change::Done if by_script => Ok(Json(json!({ "undo_ms": UNDO.as_millis() })).into_response()),
        Change::Done => match desk.0.store.take_next_case(reviewer, Some(id)).await? {
            Some(next) => Ok(Redirect::to(&format!("/desk/cases/{next}")).into_response()),
            None => Ok(Redirect::to("/desk/queue?none=1").into_response()),
        },
        Change::Lost => Err(case::conflict(&desk, reviewer, id).await?),
    }
}

pub(super) async fn undo(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    SignedForm { session, by_script, .. }: SignedForm<NoFields>,
) -> Result<Response, DeskError> {
    let (id, reviewer) = (case_id(&id)?, session.reviewer());
    match desk.0.store.undo_decision(reviewer, id).await? {
        Change::Done if by_script => Ok(Json(json!({})).into_response()),
        Change::Done => Ok(Redirect::to(&format!("/desk/cases/{id}")).into_response()),
        Change::Lost => {
            desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
            let why = "You have no decision here that can still be undone. A final decision can be corrected.";
            Err(DeskError::Conflict(why.to_owned()))
        }
    }
}

/// Adds a correction. It needs a note that says why. Leads may correct; so may the reviewer who decided, if the case
/// did not need two reviewers.
pub(super) async fn correct(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    SignedForm { session, fields, .. }: SignedForm<DecisionForm>,
) -> Result<Redirect, DeskError> {
    let (id, reviewer) = (case_id(&id)?, session.reviewer());
    let opinion = Opinion::read(&fields.decision, &fields.reason, &fields.note)?;
    if opinion.note.is_empty() {
        let detail = "Say in the note why you correct the decision.".to_owned();
        return Err(DeskError::Invalid { field: Some("note"), detail });
    }
    let (last, may_correct) = case::last_revision(&desk, reviewer, id).await?;
    if !may_correct {
        let why = "Only a lead may correct this decision. You may correct your own if one reviewer was enough.";
        return Err(DeskError::Forbidden(why));
    }
    match desk.0.store.correct_decision(reviewer, id, last, &opinion).await? {
        Change::Done => Ok(Redirect::to(&format!("/desk/cases/{id}"))),
        Change::Lost => Err(case::conflict(&desk, reviewer, id).await?),
    }
}
