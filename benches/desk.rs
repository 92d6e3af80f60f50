//! How the number of waiting cases affects the desk's queries: `cargo bench --bench desk`. It needs `DATABASE_URL` with
//! a role that may create databases. It measures 1,000 and 100,000 cases in turn, so that the ratios can be compared.

#![expect(clippy::expect_used, reason = "a benchmark without its database cannot run")]

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use uuid::Uuid;
use visavis::domain::ids::{JobId, TenantId};
use visavis::domain::review::{CaseState, Reviewer, ReviewerId};
use visavis::domain::tenant::Account;
use visavis::store::cases::CaseFilter;
use visavis::store::tenants::TenantChange;
use visavis::store::{PoolSizes, Store};

const SIZES: [i64; 2] = [1_000, 100_000];
const ROUNDS: usize = 100;
/// The rows of a page, and one more that tells whether another page follows.
const PAGE: i64 = 51;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let [few, many] = [World::new(SIZES[0]).await, World::new(SIZES[1]).await];
        println!("{:<32} {:>12} {:>12} {:>8}", "median ms of", SIZES[0], SIZES[1], "ratio");
        for (name, question) in QUESTIONS {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                times[0].push(few.ask(question).await);
                times[1].push(many.ask(question).await);
            }
            let [small, large] = times.map(median);
            let ratio = large.as_secs_f64() / small.as_secs_f64();
            println!("{name:<32} {:>12.2} {:>12.2} {ratio:>8.2}", ms(small), ms(large));
        }
        few.end().await;
        many.end().await;
    });
}

#[derive(Clone, Copy)]
enum Question {
    First,
    /// The page after nine tenths of all cases.
    Deep,
    OfRisk,
    OfRareRisk,
    Second,
    Mine,
    Counts,
    /// Takes the next case, and hands it back outside the measured time.
    TakeNext,
}

const QUESTIONS: [(&str, Question); 8] = [
    ("the first page", Question::First),
    ("a page after nine tenths", Question::Deep),
    ("first page, common warning", Question::OfRisk),
    ("first page, warning of 1 in 1,000", Question::OfRareRisk),
    ("first page, second opinions", Question::Second),
    ("the reader's own cases", Question::Mine),
    ("the counts (to 10,000)", Question::Counts),
    ("taking the next case", Question::TakeNext),
];

/// A database of its own, dropped at the end.
struct World {
    name: String,
    pool: PgPool,
    store: Store,
    reviewer: Reviewer,
    /// The position after nine tenths of the cases.
    deep: (DateTime<Utc>, JobId),
}

impl World {
    async fn new(cases: i64) -> Self {
        let name = format!("visavis_bench_{}", Uuid::now_v7().simple());
        execute(format!("CREATE DATABASE {name}")).await;
        let (base, _) =
            database_url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a database URL");
        let url = format!("{base}/{name}");
        let pool = PgPoolOptions::new().connect(&url).await.expect("the new database answers");
        let sizes = PoolSizes { core: 10, reads: 1, desk: 1 };
        let store = Store::connect(&url, sizes).await.expect("the new database answers");
        store.migrate().await.expect("the migrations apply");
        let tenant_id =
            store.insert_tenant("acme", &TenantChange::default()).await.expect("it answers").expect("it is the first");
        let [reviewer, other] = ["ada", "bob"].map(|login| Reviewer {
            id: ReviewerId(Uuid::now_v7()),
            account: Account::live(tenant_id),
            login: login.to_owned(),
            name: login.to_owned(),
            is_lead: true,
        });
        for person in [&reviewer, &other] {
            assert!(store.insert_reviewer(person, "none").await.expect("it answers"));
        }
        fill(&pool, tenant_id, &other, cases).await;
        let deep =
            sqlx::query_as("SELECT opened_at, job_id FROM review_cases ORDER BY opened_at, job_id OFFSET $1 LIMIT 1")
                .bind(cases * 9 / 10)
                .fetch_one(&pool)
                .await
                .map(|(at, id): (DateTime<Utc>, Uuid)| (at, JobId(id)))
                .expect("so many were made");
        Self { name, pool, store, reviewer, deep }
    }

    async fn ask(&self, question: Question) -> Duration {
        let since = Instant::now();
        let (filter, after) = match question {
            Question::First => (CaseFilter::default(), None),
            Question::Deep => (CaseFilter::default(), Some(self.deep)),
            Question::OfRisk => (of_risk("LOW_LIVENESS_SCORE"), None),
            Question::OfRareRisk => (of_risk("DUPLICATED_IMAGE"), None),
            Question::Second => (CaseFilter { state: Some(CaseState::Second), ..CaseFilter::default() }, None),
            Question::Mine => (CaseFilter { holder: Some(self.reviewer.id), ..CaseFilter::default() }, None),
            Question::Counts => {
                self.store.count_cases(&self.reviewer).await.expect("it answers");
                return since.elapsed();
            }
            Question::TakeNext => {
                let taken = self.store.take_next_case(&self.reviewer, None).await.expect("it answers");
                let spent = since.elapsed();
                let _ = self
                    .store
                    .hand_back_case(&self.reviewer, taken.expect("cases wait"), true)
                    .await
                    .expect("it answers");
                return spent;
            }
        };
        let rows = self.store.list_cases(self.reviewer.account, &filter, after, PAGE).await.expect("it answers");
        let spent = since.elapsed();
        let expects_none = matches!(question, Question::Mine);
        assert_eq!(rows.is_empty(), expects_none);
        spent
    }

    async fn end(self) {
        self.pool.close().await;
        execute(format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

fn of_risk(risk: &str) -> CaseFilter {
    CaseFilter { risk: Some(risk.to_owned()), ..CaseFilter::default() }
}

/// Inserts cases one second apart. One in 100 waits for a second opinion, one in 1,000 has a rare warning, and another
/// reviewer holds the first 50.
async fn fill(pool: &PgPool, tenant_id: TenantId, other: &Reviewer, cases: i64) {
    let jobs =
        "INSERT INTO jobs (id, tenant_id, request_id, request_hash, kind, lane, params, metadata, state, verdict,
                                  result, finished_at, purge_at)
         SELECT gen_random_uuid(), $1, upper(substr(md5(i::text), 1, 12)), sha256(i::text::bytea), 'face_match', 'bulk',
                '{}', '{}', 'succeeded', 'in_review', '{}', now() - make_interval(secs => i),
                now() + interval '30 days'
         FROM generate_series(1, $2) AS i";
    let cases_of_jobs =
        "INSERT INTO review_cases (job_id, tenant_id, sandbox, score, risks, opened_at, lapses_at, state,
                                           first_by, first_choice)
         SELECT id, tenant_id, false, 60 + i % 15,
                CASE WHEN i % 1000 = 0 THEN ARRAY['DUPLICATED_IMAGE'] ELSE ARRAY['LOW_LIVENESS_SCORE'] END,
                finished_at, purge_at,
                CASE WHEN i % 100 = 0 THEN 'second' ELSE 'waiting' END,
                CASE WHEN i % 100 = 0 THEN $1::uuid END, CASE WHEN i % 100 = 0 THEN 'approved' END
         FROM (SELECT *, row_number() OVER (ORDER BY id) AS i FROM jobs) AS job";
    let held = "UPDATE review_cases SET holder = $1, taken_at = now(), lease_until = now() + interval '1 day'
         WHERE job_id IN (SELECT job_id FROM review_cases ORDER BY opened_at, job_id LIMIT 50)";
    for filled in [
        sqlx::query(jobs).bind(tenant_id.0).bind(cases),
        sqlx::query(cases_of_jobs).bind(other.id.0),
        sqlx::query(held).bind(other.id.0),
        sqlx::query("VACUUM ANALYZE"),
    ] {
        filled.execute(pool).await.expect("the statement is accepted");
    }
}

async fn execute(statement: String) {
    let mut connection = PgConnection::connect(&database_url()).await.expect("Postgres answers at DATABASE_URL");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the statement is accepted");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has no config")]
fn database_url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL is set")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
