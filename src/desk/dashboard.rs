//! The dashboard. Counting many cases takes a while, so the figures are cached for a minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template as _;
use axum::extract::State;
use axum::response::Html;
use tokio::sync::{Mutex, Semaphore, oneshot};
use tracing::warn;

use super::Desk;
use super::error::DeskError;
use super::pages::{DashboardPage, DayBar, Figure, PersonRow, ScoreBar};
use super::queue::capped;
use super::session::Session;
use super::words;
use crate::domain::tenant::Account;
use crate::lifecycle::Lifecycle;
use crate::store::cases::CaseCounts;
use crate::store::review_figures::{DayCount, ReviewTotals, ReviewerCount, ScoreCount};
use crate::store::{self, Store};

/// How long figures stay in the cache.
const CACHED_FOR: Duration = Duration::from_mins(1);
/// How long a failure stays in the cache. Until then nobody counts again.
const FAILURE_CACHED_FOR: Duration = Duration::from_secs(10);

/// Stands for a figure that does not exist yet.
const NONE: &str = "–";

/// The latest figures of each account.
pub(super) struct FigureCache {
    slots: Arc<Mutex<HashMap<Account, Arc<CacheSlot>>>>,
    /// One count at a time in this process: other work needs the database, too.
    turn: Arc<Semaphore>,
    life: Lifecycle,
}

/// When the account was counted last, and the figures unless counting failed.
type CacheSlot = Mutex<Option<(Instant, Option<Arc<Figures>>)>>;

struct Figures {
    totals: ReviewTotals,
    days: Vec<DayCount>,
    scores: Vec<ScoreCount>,
    reviewers: Vec<ReviewerCount>,
}

impl FigureCache {
    pub(super) fn new(life: &Lifecycle) -> Self {
        Self { slots: Arc::default(), turn: Arc::new(Semaphore::new(1)), life: life.clone() }
    }

    /// The account's figures. The first request counts; requests that arrive meanwhile wait for its result. The count
    /// runs in its own task. Otherwise a client that disconnects would abandon a running query, and the next request
    /// would start another one.
    async fn get(&self, store: &Store, account: Account) -> Result<Arc<Figures>, DeskError> {
        let slot = Arc::clone(self.slots.lock().await.entry(account).or_default());
        let (turn, store) = (Arc::clone(&self.turn), store.clone());
        let (sender, receiver) = oneshot::channel();
        self.life.spawn("dashboard's count", async move {
            let mut slot = slot.lock().await;
            let lifetime = |figures: &Option<_>| if figures.is_some() { CACHED_FOR } else { FAILURE_CACHED_FOR };
            let fresh = slot.as_ref().filter(|(at, figures)| at.elapsed() < lifetime(figures));
            let figures = if let Some((_, figures)) = fresh {
                figures.clone()
            } else {
                let _turn = turn.acquire().await;
                let counted = count(&store, account).await;
                let counted = counted.inspect_err(|error| warn!(%error, "the dashboard's figures cannot be counted"));
                let figures = counted.ok().map(Arc::new);
                *slot = Some((Instant::now(), figures.clone()));
                figures
            };
            // An error only means that the client is gone.
            let _ = sender.send(figures);
        });
        receiver.await.ok().flatten().ok_or(DeskError::Unavailable)
    }
}

async fn count(store: &Store, account: Account) -> Result<Figures, store::Error> {
    Ok(Figures {
        totals: store.count_reviews(account).await?,
        days: store.count_days(account).await?,
        scores: store.count_scores(account).await?,
        reviewers: store.count_reviewers(account).await?,
    })
}

pub(super) async fn show(State(desk): State<Desk>, session: Session) -> Result<Html<String>, DeskError> {
    let figures = desk.0.figures.get(&desk.0.store, session.reviewer().account).await?;
    let counts = desk.0.store.count_cases(session.reviewer()).await?;
    let page = DashboardPage {
        frame: session.frame("Dashboard", "dashboard"),
        figures: totals(&figures.totals, &counts),
        days: if figures.days.iter().all(is_idle) { Vec::new() } else { figures.days.iter().map(day_bar).collect() },
        scores: figures.scores.iter().map(score_bar).collect(),
        people: figures.reviewers.iter().map(person_row).collect(),
        as_of: words::moment(figures.totals.now).words,
    };
    Ok(Html(page.render()?))
}

fn totals(totals: &ReviewTotals, counts: &CaseCounts) -> Vec<Figure> {
    let figure = |name, value, meaning| Figure { name, value, meaning };
    let oldest = match counts.oldest {
        Some(opened_at) => format!("oldest: {}", words::age(opened_at, counts.now)),
        None => "no case is waiting".to_owned(),
    };
    let approved = match totals.decided {
        0 => "none yet".to_owned(),
        decided => format!("{} approved", share(totals.approved, decided)),
    };
    let slowest = match totals.p90_wait_seconds {
        Some(seconds) => format!("90 % within {}", duration(seconds)),
        None => "until a decision".to_owned(),
    };
    let doubled = match totals.doubled {
        1 => "of 1 case with two opinions".to_owned(),
        cases => format!("of {cases} cases with two opinions"),
    };
    vec![
        figure("Waiting", capped(counts.waiting + counts.second + counts.disputed), oldest),
        figure("Opened", totals.opened.to_string(), "cases in 30 days".to_owned()),
        figure("Decided", totals.decided.to_string(), approved),
        figure("Median wait", totals.median_wait_seconds.map_or_else(|| NONE.to_owned(), duration), slowest),
        figure("Agreement", share(totals.agreed, totals.doubled), doubled),
        figure("Corrected", totals.corrected.to_string(), "decisions changed later".to_owned()),
        figure("Lapsed", totals.lapsed.to_string(), "cases nobody decided in time".to_owned()),
    ]
}

fn is_idle(day: &DayCount) -> bool {
    day.approved + day.in_review + day.rejected + day.not_finished == 0
}

fn day_bar(day: &DayCount) -> DayBar {
    let label = day.day.format("%-d %b").to_string();
    let DayCount { approved, in_review, rejected, not_finished, .. } = *day;
    DayBar { label, approved, in_review, rejected, not_finished }
}

fn score_bar(step: &ScoreCount) -> ScoreBar {
    let ScoreCount { from, approved, rejected, waiting } = *step;
    ScoreBar { from: i64::from(from), approved, rejected, waiting }
}

fn person_row(reviewer: &ReviewerCount) -> PersonRow {
    PersonRow {
        name: reviewer.name.clone(),
        decisions: reviewer.decisions,
        approved: share(reviewer.approved, reviewer.decisions),
        median: reviewer.median_seconds.map_or_else(|| NONE.to_owned(), duration),
        agreement: match reviewer.shared {
            0 => NONE.to_owned(),
            shared => format!("{} of {shared}", share(reviewer.agreed, shared)),
        },
    }
}

#[expect(clippy::cast_possible_truncation, reason = "months have far fewer seconds than an i64 holds")]
fn duration(seconds: f64) -> String {
    words::seconds(seconds.round() as i64)
}

/// A rounded percentage such as `62 %`; a dash if the whole is 0.
fn share(part: i64, whole: i64) -> String {
    if whole == 0 { NONE.to_owned() } else { format!("{} %", (part * 200 + whole) / (2 * whole)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_and_a_share_of_nothing_is_a_dash() {
        assert_eq!(share(0, 0), "–");
        assert_eq!(share(1, 3), "33 %");
        assert_eq!(share(2, 3), "67 %");
        assert_eq!(share(7, 7), "100 %");
    }
}
