//! The list of past decisions, newest first.

use askama::Template as _;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;
use uuid::Uuid;

use super::Desk;
use super::error::DeskError;
use super::list::{self, FilterField};
use super::pages::{Filter, HistoryPage, HistoryRow};
use super::session::Session;
use super::words;
use crate::domain::review::{Reason, ReviewDecision, Reviewer, ReviewerId, Stage};
use crate::store::decisions::{DecisionFilter, DecisionRow};

#[derive(Deserialize, Default)]
pub(super) struct HistoryQuery {
    #[serde(default)]
    decision: String,
    #[serde(default)]
    stage: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    before: String,
}

pub(super) async fn show(
    State(desk): State<Desk>,
    session: Session,
    Query(query): Query<HistoryQuery>,
) -> Result<Html<String>, DeskError> {
    let account = session.reviewer().account;
    let filter = DecisionFilter {
        choice: ReviewDecision::parse(&query.decision),
        stage: Stage::parse(&query.stage),
        by: query.by.parse().ok().map(ReviewerId),
        job: None,
    };
    let before: Option<Uuid> = query.before.parse().ok();
    let mut rows = desk.0.store.list_decisions(session.reviewer(), &filter, before, list::FETCH_ROWS).await?;
    let colleagues = desk.0.store.list_colleagues(account).await?;
    let next_page = list::cut(&mut rows).map(|last| query.page_before(Some(last.id)));
    let page = HistoryPage {
        frame: session.frame("History", "history"),
        is_filtered: query.chosen().iter().any(|(_, value)| !value.is_empty()),
        filters: query.filters(&colleagues),
        next_page,
        first_page: before.map(|_| query.page_before(None)),
        rows: rows.into_iter().map(history_row).collect(),
    };
    Ok(Html(page.render()?))
}

fn history_row(row: DecisionRow) -> HistoryRow {
    HistoryRow {
        job_id: row.job_id.to_string(),
        request_id: row.request_id,
        revision: row.revision,
        decision: row.choice.name(),
        stage: row.stage.name(),
        by: row.by.1,
        at: words::moment(row.at),
        reasons: row.reasons.into_iter().map(Reason::words).collect(),
    }
}

impl HistoryQuery {
    /// The query string of the page that follows this decision; `None` for the first page.
    fn page_before(&self, decision: Option<Uuid>) -> String {
        list::query(&self.chosen(), decision.map(|id| ("before", id.to_string())))
    }

    fn chosen(&self) -> [(&'static str, &str); 3] {
        [("decision", &self.decision), ("stage", &self.stage), ("by", &self.by)]
    }

    fn filters(&self, colleagues: &[Reviewer]) -> Vec<Filter> {
        let named = |name: &str| (name.to_owned(), words::sentence(name));
        let decisions = [ReviewDecision::Approved, ReviewDecision::Rejected].map(|choice| named(choice.name()));
        let stages = [Stage::Opinion, Stage::Decision, Stage::Correction].map(|stage| named(stage.name()));
        let people = colleagues.iter().map(|reviewer| (reviewer.id.0.to_string(), reviewer.name.clone()));
        let decision = FilterField { name: "decision", label: "Decision", any: "Any decision", chosen: &self.decision };
        let stage = FilterField { name: "stage", label: "Entry", any: "Any entry", chosen: &self.stage };
        let by = FilterField { name: "by", label: "Reviewer", any: "Anybody", chosen: &self.by };
        vec![decision.with(decisions), stage.with(stages), by.with(people)]
    }
}
