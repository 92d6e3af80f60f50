//! What was decided, the latest first.

use askama::Template as _;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use super::Desk;
use super::case::stage;
use super::error::DeskError;
use super::pages::{Filter, HistoryPage, HistoryRow};
use super::session::Session;
use super::words;
use crate::domain::review::{Choice, Reason, Reviewer, ReviewerId, Stage};
use crate::store::decisions::{DecisionFilter, DecisionRow};

/// Rows of a page.
const PAGE: i64 = 50;

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
        choice: Choice::parse(&asked.decision),
        stage: Stage::parse(&asked.stage),
        by: asked.by.parse().ok().map(ReviewerId),
        job: None,
        reader: Some(session.reviewer().id),
    };
    let before: Option<Uuid> = asked.before.parse().ok();
    let mut rows = desk.0.store.list_decisions(account, &filter, before, PAGE + 1).await?;
    let colleagues = desk.0.store.list_colleagues(account).await?;
    let is_full = rows.len() > usize::try_from(PAGE).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let page = HistoryPage {
        frame: session.frame("History", "history"),
        is_filtered: [&asked.decision, &asked.stage, &asked.by].into_iter().any(|it| !it.is_empty()),
        filters: asked.filters(&colleagues),
        next_page: rows.last().filter(|_| is_full).map(|last| asked.query(Some(last.id))),
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
        stage: stage(it.stage),
        by: it.by.1,
        at: words::moment(it.at),
        reasons: it.reasons.into_iter().map(Reason::words).collect(),
    }
}

impl Asked {
    fn query(&self, before: Option<Uuid>) -> String {
        let mut query = Serializer::new(String::new());
        let fields = [("decision", &self.decision), ("stage", &self.stage), ("by", &self.by)];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        if let Some(before) = before {
            query.append_pair("before", &before.to_string());
        }
        query.finish()
    }

    fn filters(&self, colleagues: &[Reviewer]) -> Vec<Filter> {
        let choices = |any: &str, chosen: &str, known: Vec<(String, String)>| {
            let any = (String::new(), any.to_owned(), chosen.is_empty());
            let known = known.into_iter().map(|(value, words)| (value.clone(), words, value == chosen));
            std::iter::once(any).chain(known).collect()
        };
        let decisions =
            [Choice::Approved, Choice::Rejected].map(|it| (it.name().to_owned(), words::sentence(it.name())));
        let stages = [Stage::Opinion, Stage::Decision, Stage::Correction];
        let stages = stages.map(|it| (it.name().to_owned(), words::sentence(it.name())));
        let people = colleagues.iter().map(|it| (it.id.0.to_string(), it.name.clone())).collect();
        vec![
            Filter {
                name: "decision",
                label: "Decision",
                choices: choices("Any decision", &self.decision, decisions.into()),
            },
            Filter { name: "stage", label: "Entry", choices: choices("Any entry", &self.stage, stages.into()) },
            Filter { name: "by", label: "Reviewer", choices: choices("Anybody", &self.by, people) },
        ]
    }
}
