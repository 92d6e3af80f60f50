//! The figures of the desk's dashboard.

use chrono::{DateTime, Utc};

use super::{Error, Store};
use visavis_domain::tenant::Account;

/// Results of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayCount {
    /// The first moment of the day, UTC.
    pub day: DateTime<Utc>,
    pub approved: i64,
    pub in_review: i64,
    pub rejected: i64,
    pub not_finished: i64,
}

/// Cases whose score lies in a step of 5 points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreCount {
    /// The lower end of the step: 0, 5, ... 95.
    pub from: i32,
    pub approved: i64,
    pub rejected: i64,
    pub waiting: i64,
}

/// What one reviewer did.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewerCount {
    pub name: String,
    /// Opinions, decisions and corrections.
    pub decisions: i64,
    pub approved: i64,
    /// Time from taking a case to deciding it.
    pub median_seconds: Option<f64>,
    /// Cases on which another reviewer gave an opinion too, and on how many of them both agreed.
    pub shared: i64,
    pub agreed: i64,
}

/// How long cases waited for a decision, and how they were decided.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewTotals {
    pub opened: i64,
    pub decided: i64,
    pub approved: i64,
    pub corrected: i64,
    pub lapsed: i64,
    pub median_wait_seconds: Option<f64>,
    /// Nine of ten cases waited no longer.
    pub p90_wait_seconds: Option<f64>,
    /// Cases with two opinions, and how many of those agreed.
    pub doubled: i64,
    pub agreed: i64,
    pub now: DateTime<Utc>,
}

impl Store {
    /// The machine's verdicts by day, for the last 14 days, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_days(&self, account: Account) -> Result<Vec<DayCount>, Error> {
        let days = sqlx::query_as!(
            DayCount,
            // An id begins with the milliseconds of its creation, so the index on ids finds a time.
            r#"WITH days AS (
                   SELECT generate_series(date_trunc('day', now(), 'UTC') - interval '13 days',
                                          date_trunc('day', now(), 'UTC'), interval '1 day') AS day),
               counted AS (
                   SELECT date_trunc('day', finished_at, 'UTC') AS day, verdict, count(*) AS jobs
                   FROM jobs
                   WHERE tenant_id = $1 AND sandbox = $2 AND verdict IS NOT NULL
                     AND id >= (lpad(to_hex((extract(epoch FROM date_trunc('day', now(), 'UTC') - interval '14 days') * 1000)::bigint),
                                     12, '0') || '00000000000000000000')::uuid
                   GROUP BY 1, 2)
               SELECT days.day AS "day!",
                      coalesce(sum(jobs) FILTER (WHERE verdict = 'approved'), 0)::bigint AS "approved!",
                      coalesce(sum(jobs) FILTER (WHERE verdict = 'in_review'), 0)::bigint AS "in_review!",
                      coalesce(sum(jobs) FILTER (WHERE verdict = 'rejected'), 0)::bigint AS "rejected!",
                      coalesce(sum(jobs) FILTER (WHERE verdict = 'not_finished'), 0)::bigint AS "not_finished!"
               FROM days LEFT JOIN counted ON counted.day = days.day
               GROUP BY days.day ORDER BY days.day"#,
            account.tenant_id.0,
            account.sandbox,
        );
        Ok(days.fetch_all(&self.pool).await?)
    }

    /// The cases of the last 30 days by score. Steps without a case are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_scores(&self, account: Account) -> Result<Vec<ScoreCount>, Error> {
        let scores = sqlx::query_as!(
            ScoreCount,
            r#"SELECT least(floor(score / 5)::integer * 5, 95) AS "from!",
                      count(*) FILTER (WHERE verdict = 'approved') AS "approved!",
                      count(*) FILTER (WHERE verdict = 'rejected') AS "rejected!",
                      count(*) FILTER (WHERE verdict IS NULL) AS "waiting!"
               FROM review_cases
               WHERE tenant_id = $1 AND sandbox = $2 AND opened_at > now() - interval '30 days' AND score IS NOT NULL
               GROUP BY 1 ORDER BY 1"#,
            account.tenant_id.0,
            account.sandbox,
        );
        Ok(scores.fetch_all(&self.pool).await?)
    }

    /// What each reviewer did in the last 30 days, the busiest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_reviewers(&self, account: Account) -> Result<Vec<ReviewerCount>, Error> {
        let reviewers = sqlx::query_as!(
            ReviewerCount,
            r#"WITH said AS (
                   SELECT * FROM review_decisions
                   WHERE tenant_id = $1 AND sandbox = $2 AND created_at > now() - interval '30 days'),
               -- Each reviewer's last word on a case.
               last AS (SELECT DISTINCT ON (job_id, reviewer_id) job_id, reviewer_id, choice FROM said
                        ORDER BY job_id, reviewer_id, revision DESC),
               pairs AS (SELECT a.reviewer_id, count(*) AS shared, count(*) FILTER (WHERE a.choice = b.choice) AS agreed
                         FROM last AS a JOIN last AS b ON a.job_id = b.job_id AND a.reviewer_id <> b.reviewer_id
                         GROUP BY a.reviewer_id)
               SELECT reviewers.name AS "name!", count(*) AS "decisions!",
                      count(*) FILTER (WHERE choice = 'approved') AS "approved!",
                      percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM said.created_at - taken_at)::double precision)
                          AS median_seconds,
                      coalesce(max(shared), 0) AS "shared!", coalesce(max(agreed), 0) AS "agreed!"
               FROM said JOIN reviewers ON reviewers.id = reviewer_id
               LEFT JOIN pairs ON pairs.reviewer_id = said.reviewer_id
               GROUP BY reviewers.id, reviewers.name ORDER BY count(*) DESC, reviewers.name LIMIT 100"#,
            account.tenant_id.0,
            account.sandbox,
        );
        Ok(reviewers.fetch_all(&self.pool).await?)
    }

    /// Figures of the cases opened in the last 30 days.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_reviews(&self, account: Account) -> Result<ReviewTotals, Error> {
        let totals = sqlx::query_as!(
            ReviewTotals,
            r#"WITH said AS (
                   SELECT job_id, min(created_at) FILTER (WHERE stage = 'decision') AS decided,
                          max(choice) FILTER (WHERE revision = 2 AND stage <> 'correction') AS second_choice,
                          bool_or(stage = 'correction') AS corrected
                   FROM review_decisions
                   WHERE tenant_id = $1 AND sandbox = $2 AND created_at > now() - interval '30 days' GROUP BY job_id),
               opened AS (
                   SELECT verdict, state, first_choice, second_choice, corrected, decided - opened_at AS wait
                   FROM review_cases LEFT JOIN said USING (job_id)
                   WHERE tenant_id = $1 AND sandbox = $2 AND opened_at > now() - interval '30 days')
               SELECT count(*) AS "opened!", count(verdict) AS "decided!",
                      count(*) FILTER (WHERE verdict = 'approved') AS "approved!",
                      count(*) FILTER (WHERE corrected) AS "corrected!",
                      count(*) FILTER (WHERE state = 'lapsed') AS "lapsed!",
                      percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM wait)::double precision)
                          AS median_wait_seconds,
                      percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM wait)::double precision)
                          AS p90_wait_seconds,
                      count(*) FILTER (WHERE first_choice IS NOT NULL AND second_choice IS NOT NULL) AS "doubled!",
                      count(*) FILTER (WHERE first_choice = second_choice) AS "agreed!",
                      now() AS "now!"
               FROM opened"#,
            account.tenant_id.0,
            account.sandbox,
        );
        Ok(totals.fetch_one(&self.pool).await?)
    }
}
