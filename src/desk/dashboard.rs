//! How the desk is doing. Counting takes a while where there are many cases, so what was counted is kept for a minute.

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
use super::pages::{DashboardPage, DayBar, PersonRow, ScoreBar};
use super::queue::counted;
use super::session::Session;
use super::words;
use crate::domain::tenant::Account;
use crate::lifecycle::Lifecycle;
use crate::store::review_figures::{DayCount, ReviewTotals, ReviewerCount, ScoreCount};
use crate::store::{self, Store};

const KEPT_FOR: Duration = Duration::from_mins(1);
/// After a fault nobody counts again for so long.
const RESTS_FOR: Duration = Duration::from_secs(10);

/// What was counted lately, for each account.
pub(super) struct Kept {
    places: Arc<Mutex<HashMap<Account, Arc<Place>>>>,
    /// One count at a time in this process, whoever asks: other work needs the database, too.
    turn: Arc<Semaphore>,
    life: Lifecycle,
}

type Place = Mutex<Option<(Instant, Option<Arc<Figures>>)>>;

struct Figures {
    totals: ReviewTotals,
    days: Vec<DayCount>,
    scores: Vec<ScoreCount>,
    reviewers: Vec<ReviewerCount>,
}

impl Kept {
    pub(super) fn new(life: &Lifecycle) -> Self {
        Self { places: Arc::default(), turn: Arc::new(Semaphore::new(1)), life: life.clone() }
    }

    /// One counts, and whoever asks meanwhile waits for it. In a task of its own: a client that goes away would leave the query
    /// running, and the next would start another.
    async fn get(&self, store: &Store, account: Account) -> Result<Arc<Figures>, DeskError> {
        let place = Arc::clone(self.places.lock().await.entry(account).or_default());
        let (turn, store) = (Arc::clone(&self.turn), store.clone());
        let (told, counted) = oneshot::channel();
        self.life.spawn("dashboard's count", async move {
            let mut kept = place.lock().await;
            let fresh = kept.as_ref().filter(|(at, it)| at.elapsed() < if it.is_some() { KEPT_FOR } else { RESTS_FOR });
            let figures = if let Some((_, figures)) = fresh {
                figures.clone()
            } else {
                let _turn = turn.acquire().await;
                let counted = count(&store, account).await;
                let counted = counted.inspect_err(|error| warn!(%error, "the dashboard could not be counted"));
                let figures = counted.ok().map(Arc::new);
                *kept = Some((Instant::now(), figures.clone()));
                figures
            };
            // Nobody may wait any more.
            let _ = told.send(figures);
        });
        counted.await.ok().flatten().ok_or(DeskError::Unavailable)
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
    let totals = &figures.totals;
    let span = |it: Option<f64>| it.map_or_else(|| "–".to_owned(), duration);
    let waiting = counts.waiting + counts.second + counts.disputed;
    let oldest = counts
        .oldest
        .map_or_else(|| "nothing waits".to_owned(), |it| format!("the oldest for {}", words::age(it, counts.now)));
    let approved = match totals.decided {
        0 => "none yet".to_owned(),
        decided => format!("{} approved", share(totals.approved, decided)),
    };
    let slowest = totals
        .p90_wait_seconds
        .map_or_else(|| "until a decision".to_owned(), |it| format!("nine of ten within {}", duration(it)));
    let is_idle = |it: &DayCount| it.approved + it.in_review + it.rejected + it.not_finished == 0;
    let days = if figures.days.iter().all(is_idle) { &[] } else { figures.days.as_slice() };
    let page = DashboardPage {
        frame: session.frame("Dashboard", "dashboard"),
        figures: vec![
            ("Waiting", counted(waiting), oldest),
            ("Opened", totals.opened.to_string(), "cases in 30 days".to_owned()),
            ("Decided", totals.decided.to_string(), approved),
            ("Median wait", span(totals.median_wait_seconds), slowest),
            (
                "Agreement",
                share(totals.agreed, totals.doubled),
                match totals.doubled {
                    1 => "of 1 case with two opinions".to_owned(),
                    cases => format!("of {cases} cases with two opinions"),
                },
            ),
            ("Corrected", totals.corrected.to_string(), "decisions changed later".to_owned()),
            ("Lapsed", totals.lapsed.to_string(), "cases nobody decided in time".to_owned()),
        ],
        days: days.iter().map(day).collect(),
        scores: figures.scores.iter().map(score).collect(),
        people: figures.reviewers.iter().map(person).collect(),
        as_of: words::moment(totals.now).1,
    };
    Ok(Html(page.render()?))
}

fn day(it: &DayCount) -> DayBar {
    let label = it.day.format("%-d %b").to_string();
    let DayCount { approved, in_review, rejected, not_finished, .. } = *it;
    DayBar { label, approved, in_review, rejected, not_finished }
}

fn score(it: &ScoreCount) -> ScoreBar {
    let ScoreCount { from, approved, rejected, waiting } = *it;
    ScoreBar { from: i64::from(from), approved, rejected, waiting }
}

fn person(it: &ReviewerCount) -> PersonRow {
    PersonRow {
        name: it.name.clone(),
        decisions: it.decisions,
        approved: share(it.approved, it.decisions),
        median: it.median_seconds.map_or_else(|| "–".to_owned(), duration),
        agreement: if it.shared == 0 {
            "–".to_owned()
        } else {
            format!("{} of {}", share(it.agreed, it.shared), it.shared)
        },
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seconds of months are far below the limits of an integer")]
fn duration(seconds: f64) -> String {
    words::seconds(seconds.round() as i64)
}

/// `62 %`, or a dash of nothing.
fn share(part: i64, whole: i64) -> String {
    if whole == 0 { "–".to_owned() } else { format!("{} %", (part * 200 + whole) / (2 * whole)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_and_nothing_has_none() {
        assert_eq!(share(0, 0), "–");
        assert_eq!(share(1, 3), "33 %");
        assert_eq!(share(2, 3), "67 %");
        assert_eq!(share(7, 7), "100 %");
    }
}
