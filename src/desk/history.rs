//! What was decided, the latest first.

use askama::Template as _;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;
use uuid::Uuid;

use super::Desk;
use super::error::DeskError;
use super::list;
use super::pages::{Filter, HistoryPage, HistoryRow};
use super::session::Session;
use super::words;
use crate::domain::review::{Reason, ReviewDecision, Reviewer, ReviewerId, Stage};
use crate::store::decisions::{DecisionFilter, DecisionRow};

#[derive(Deserialize, Default)]
pub(super) struct Asked {
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
    Query(asked): Query<Asked>,
) -> Result<Html<String>, DeskError> {
    let account = session.reviewer().account;
    let filter = DecisionFilter {
        choice: ReviewDecision::parse(&asked.decision),
        stage: Stage::parse(&asked.stage),
        by: asked.by.parse().ok().map(ReviewerId),
        job: None,
    };
    let before: Option<Uuid> = asked.before.parse().ok();
    let mut rows = desk.0.store.list_decisions(session.reviewer(), &filter, before, list::ASKED).await?;
    let colleagues = desk.0.store.list_colleagues(account).await?;
    let next_page = list::cut(&mut rows).map(|last| asked.query(Some(last.id)));
    let page = HistoryPage {
        frame: session.frame("History", "history"),
        is_filtered: asked.chosen().iter().any(|(_, value)| !value.is_empty()),
        filters: asked.filters(&colleagues),
        next_page,
        first_page: before.map(|_| asked.query(None)),
        rows: rows.into_iter().map(row).collect(),
    };
    Ok(Html(page.render()?))
}

fn row(it: DecisionRow) -> HistoryRow {
    HistoryRow {
        job_id: it.job_id.to_string(),
        request_id: it.request_id,
        revision: it.revision,
        decision: it.choice.name(),
        stage: it.stage.name(),
        by: it.by.1,
        at: words::moment(it.at),
        reasons: it.reasons.into_iter().map(Reason::words).collect(),
    }
}

impl Asked {
    fn query(&self, before: Option<Uuid>) -> String {
        list::query(&self.chosen(), before.map(|it| ("before", it.to_string())))
    }

    fn chosen(&self) -> [(&'static str, &str); 3] {
        [("decision", &self.decision), ("stage", &self.stage), ("by", &self.by)]
    }

    fn filters(&self, colleagues: &[Reviewer]) -> Vec<Filter> {
        let decisions = [ReviewDecision::Approved, ReviewDecision::Rejected]
            .map(|it| (it.name().to_owned(), words::sentence(it.name())));
        let stages = [Stage::Opinion, Stage::Decision, Stage::Correction];
        let stages = stages.map(|it| (it.name().to_owned(), words::sentence(it.name())));
        let people = colleagues.iter().map(|it| (it.id.0.to_string(), it.name.clone()));
        vec![
            list::filter(("decision", "Decision"), "Any decision", &self.decision, decisions),
            list::filter(("stage", "Entry"), "Any entry", &self.stage, stages),
            list::filter(("by", "Reviewer"), "Anybody", &self.by, people),
        ]
    }
}
