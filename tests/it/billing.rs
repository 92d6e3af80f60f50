//! Money: a confirmed match is debited exactly once, whatever happens, and nothing else is debited. No organisation
//! reads the statement of another.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::ImageFormat;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LINK};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use visavis::domain::ids::{JobId, TenantId};
use visavis::domain::job::Verdict;
use visavis::domain::money::{Currency, Money};
use visavis::domain::outcome::Outcome;
use visavis::store::jobs::{Change, Claim};
use visavis::store::wallets::Credited;

use crate::support::outcomes::{failure, outcome, success};
use crate::support::photos::{blank, plain};
use crate::support::property::property;
use crate::support::world::{id_request, request};
use crate::support::{Api, World, api};

const PRICE: i64 = 50;

async fn set(world: &World, tenant: TenantId, settings: Value) {
    sqlx::query("UPDATE tenants SET settings = $1 WHERE id = $2")
        .bind(settings)
        .bind(tenant.0)
        .execute(&world.pool)
        .await
        .unwrap();
}

/// A world whose organisation pays for matches.
async fn priced() -> World {
    let world = World::without_broker().await;
    set(&world, world.tenant.id, json!({ "id_match_price": PRICE })).await;
    world
}

fn body() -> Vec<u8> {
    id_request("nin", "123", blank()).to_string().into_bytes()
}

async fn submit(world: &World) -> JobId {
    world.submit(None, &body()).await.unwrap().summary.id
}

async fn claim(world: &World, job: JobId) -> Claim {
    world.store().claim_job(job).await.unwrap().expect("the job is free")
}

fn with(claim: &Claim, verdict: Verdict) -> Outcome {
    Outcome { verdict, ..outcome(claim) }
}

async fn finish(world: &World, claim: &Claim, verdict: Verdict) -> Change {
    world.store().finish_succeeded(claim, &success(with(claim, verdict))).await.unwrap()
}

fn euros(minor: i64) -> Money {
    Money::new(minor, Currency::parse("EUR").unwrap())
}

async fn credit(world: &World, tenant: TenantId, minor: i64) {
    let credited = world.store().credit_wallet(tenant, euros(minor), "test").await.unwrap();
    assert!(matches!(credited, Credited::Done(_)));
}

async fn balance(world: &World) -> i64 {
    world.store().find_wallet(world.tenant.id).await.unwrap().minor
}

async fn debits(world: &World) -> i64 {
    world.count("SELECT count(*) FROM ledger WHERE kind = 'debit'").await
}

/// Each wallet is the sum of its ledger, and each movement knows the balance that it left.
async fn assert_books_balance(world: &World) {
    let wrong = world
        .count(
            "SELECT count(*) FROM (
                 SELECT balance_after - sum(CASE kind WHEN 'credit' THEN amount_minor ELSE -amount_minor END)
                        OVER (PARTITION BY tenant_id ORDER BY seq) AS off FROM ledger) it WHERE off <> 0",
        )
        .await;
    assert_eq!(wrong, 0, "movements whose balance is not the sum of those before");
    let wrong = world
        .count(
            "SELECT count(*) FROM wallets WHERE balance <>
                 (SELECT coalesce(sum(CASE kind WHEN 'credit' THEN amount_minor ELSE -amount_minor END), 0)
                  FROM ledger WHERE ledger.tenant_id = wallets.tenant_id)",
        )
        .await;
    assert_eq!(wrong, 0, "wallets that are not the sum of their ledger");
    let wrong = world
        .count(
            "SELECT count(*) FROM wallets WHERE reserved <>
                 (SELECT coalesce(sum(price), 0) FROM jobs WHERE jobs.tenant_id = wallets.tenant_id
                    AND kind = 'id_match' AND state IN ('queued', 'running') AND NOT sandbox)",
        )
        .await;
    assert_eq!(wrong, 0, "wallets whose reservations are not the prices of the jobs under way");
}

#[tokio::test]
async fn only_a_confirmed_match_of_a_live_key_is_paid_for() {
    let world = priced().await;
    for verdict in [Verdict::Rejected, Verdict::NotFinished, Verdict::InReview] {
        let job = submit(&world).await;
        assert_eq!(finish(&world, &claim(&world, job).await, verdict).await, Change::Done);
    }
    let failed = submit(&world).await;
    let _ = world.store().finish_failed(&claim(&world, failed).await, &failure()).await.unwrap();
    let retried = submit(&world).await;
    let _ = world.store().retry_job(&claim(&world, retried).await, Duration::ZERO).await.unwrap();
    for kind in ["likeness_check", "face_match"] {
        let job = world.submit_pair(kind, blank(), blank()).await;
        assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done);
    }
    let sandbox = submit(&world).await;
    sqlx::query("UPDATE jobs SET sandbox = true WHERE id = $1").bind(sandbox.0).execute(&world.pool).await.unwrap();
    assert_eq!(finish(&world, &claim(&world, sandbox).await, Verdict::Approved).await, Change::Done);
    assert_eq!((world.count("SELECT count(*) FROM ledger").await, balance(&world).await), (0, 0));

    let job = submit(&world).await;
    assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done);
    assert_eq!((debits(&world).await, balance(&world).await), (1, -PRICE), "overdrawn, as nothing was paid in");
    assert_books_balance(&world).await;
}

#[tokio::test]
async fn what_costs_nothing_moves_nothing() {
    let world = World::without_broker().await;
    for price in [json!({}), json!({ "id_match_price": 0 }), json!({ "id_match_price": -5 })] {
        set(&world, world.tenant.id, price).await;
        let job = submit(&world).await;
        assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done);
    }
    assert_eq!(world.count("SELECT count(*) FROM ledger").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM wallets").await, 0);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A delivery of the doorbell: a worker claims the job if it can.
    Deliver(usize),
    /// A worker finishes with its last claim, even if it has lost the lease.
    Confirm(usize),
    Mismatch(usize),
    /// A transient fault puts the job back.
    Retry(usize),
    /// Leases run out, and the sweeper puts the job back.
    Die,
}

#[test]
fn whatever_is_redelivered_and_whoever_comes_back_from_the_dead_a_match_is_paid_for_once_or_never() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(priced());
    let worker = 0..3_usize;
    let step = prop_oneof![
        4 => worker.clone().prop_map(Step::Deliver),
        3 => worker.clone().prop_map(Step::Confirm),
        1 => worker.clone().prop_map(Step::Mismatch),
        2 => worker.prop_map(Step::Retry),
        2 => Just(Step::Die),
    ];
    let result = TestRunner::new(property(80, file!())).run(&vec(step, 1..25), |steps| {
        runtime.block_on(async {
            let job = submit(&world).await;
            let (before, mut claims) = (balance(&world).await, [const { None::<Claim> }; 3]);
            for step in steps {
                match step {
                    Step::Deliver(worker) => {
                        if let Some(claim) = world.store().claim_job(job).await.unwrap() {
                            claims[worker] = Some(claim);
                        }
                    }
                    Step::Confirm(worker) | Step::Mismatch(worker) | Step::Retry(worker) => {
                        let Some(claim) = &claims[worker] else { continue };
                        let _ = match step {
                            Step::Confirm(_) => finish(&world, claim, Verdict::Approved).await,
                            Step::Mismatch(_) => finish(&world, claim, Verdict::Rejected).await,
                            _ => world.store().retry_job(claim, Duration::ZERO).await.unwrap(),
                        };
                    }
                    Step::Die => {
                        world.expire_leases().await;
                        world.store().sweep(Duration::from_mins(2)).await.unwrap();
                    }
                }
            }
            let verdict: Option<String> = world.scalar("SELECT verdict FROM jobs WHERE id = $1", job).await;
            let paid: i64 =
                world.scalar("SELECT coalesce(sum(amount_minor), 0)::bigint FROM ledger WHERE job_id = $1", job).await;
            // So that the sweeps of the next case do not find it.
            world.execute("UPDATE jobs SET run_after = now() + interval '1 year', lease_until = CASE WHEN state = 'running' THEN now() + interval '1 year' END WHERE state IN ('queued', 'running')").await;
            let expected = if verdict.as_deref() == Some("approved") { PRICE } else { 0 };
            prop_assert_eq!(paid, expected);
            prop_assert_eq!(balance(&world).await, before - expected);
            Ok(())
        })
    });
    result.unwrap_or_else(|fault| panic!("{fault}"));
    let paid = runtime.block_on(debits(&world));
    assert!(paid >= 10, "walks that came to a debit: {paid}");
    runtime.block_on(assert_books_balance(&world));
    runtime.block_on(async { drop(world) });
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_that_end_at_the_same_time_leave_books_that_balance() {
    const JOBS: i64 = 48;
    let world = priced().await;
    credit(&world, world.tenant.id, 1000).await;
    let mut claims = Vec::new();
    for _ in 0..JOBS {
        let job = submit(&world).await;
        claims.push(claim(&world, job).await);
    }
    // Each job is finished twice at the same time, as by a worker that lost the answer to its commit.
    let finishes = claims.iter().flat_map(|claim| [claim, claim]).map(|claim| finish(&world, claim, Verdict::Approved));
    let tops = (0..8).map(|_| credit(&world, world.tenant.id, 25));
    let (changes, _) = tokio::join!(futures_util::future::join_all(finishes), futures_util::future::join_all(tops));
    assert_eq!(changes.into_iter().filter(|change| *change == Change::Done).count(), usize::try_from(JOBS).unwrap());
    assert_eq!((debits(&world).await, balance(&world).await), (JOBS, 1000 + 8 * 25 - JOBS * PRICE));
    assert_books_balance(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM usage").await, JOBS);
}

#[tokio::test]
async fn the_ledger_is_only_ever_added_to() {
    let world = priced().await;
    credit(&world, world.tenant.id, 1000).await;
    let job = submit(&world).await;
    assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done);
    for statement in [
        "UPDATE ledger SET amount_minor = 1",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        // A second debit of the same job.
        "INSERT INTO ledger (id, tenant_id, job_id, kind, amount_minor, balance_after, note)
         SELECT gen_random_uuid(), tenant_id, job_id, kind, amount_minor, balance_after, note FROM ledger WHERE kind = 'debit'",
        "INSERT INTO ledger (id, tenant_id, kind, amount_minor, balance_after, note)
         SELECT gen_random_uuid(), tenant_id, 'credit', 0, 0, '' FROM wallets",
    ] {
        assert!(sqlx::query(AssertSqlSafe(statement)).execute(&world.pool).await.is_err(), "{statement}");
    }
    assert_eq!(world.count("SELECT count(*) FROM ledger").await, 2);
    assert_books_balance(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_may_not_be_overdrawn_takes_in_what_it_can_pay_for_and_no_more() {
    let world = World::new().await;
    set(&world, world.tenant.id, json!({ "id_match_price": PRICE, "empty_wallet": "refuse" })).await;
    let process = world.spawn(&["api", "intake", "relay"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let match_request = id_request("nin", "123", blank());

    let (status, problem) = api.submit(None, &match_request).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYMENT_REQUIRED, &json!("insufficient_funds")), "{problem}");
    let selfie = BASE64_STANDARD.encode(plain(224, 224, ImageFormat::Png));
    let in_a_face = json!({ "selfie": selfie, "id_number": "123", "id_type": "nin" });
    let answer = api::answer(api.post("/v1/face/id-match/", &in_a_face)).await;
    assert_eq!((answer.status, &answer.body["code"]), (402, &json!("INSUFFICIENT_FUNDS")), "{answer:?}");
    let mut producer = world.producer().await;
    producer.submit("poor", &match_request).await;
    let reply = producer.reply("poor", "rejected").await;
    assert_eq!(reply.body["code"], "insufficient_funds");
    assert_eq!(crate::support::blobs::count(&world.blobs), 0, "no image of a refused job is kept");
    let (status, _) = api.submit(None, &request("face_match", blank(), blank())).await;
    assert_eq!(status, StatusCode::ACCEPTED, "what costs nothing is taken");

    // The balance covers five jobs and a bit. Of many that come at the same time, five are accepted.
    credit(&world, world.tenant.id, 5 * PRICE + PRICE / 2).await;
    let at_once = (0..24).map(|_| api.submit(None, &match_request));
    let answers = futures_util::future::join_all(at_once).await;
    let taken = answers.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).count();
    let refused = answers.iter().filter(|(status, _)| *status == StatusCode::PAYMENT_REQUIRED).count();
    assert_eq!((taken, refused), (5, 19));

    // A job that ends without a debit frees its part of the balance; a debited one does not.
    let ids: Vec<JobId> = answers.iter().filter_map(|(_, body)| body["id"].as_str()?.parse().ok().map(JobId)).collect();
    assert_eq!(finish(&world, &claim(&world, ids[0]).await, Verdict::Approved).await, Change::Done);
    assert_eq!(api.submit(None, &match_request).await.0, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(finish(&world, &claim(&world, ids[1]).await, Verdict::Rejected).await, Change::Done);
    // A repetition under the same key gets the first answer, although the balance is used up.
    let twice = futures_util::future::join_all((0..4).map(|_| api.submit(Some("key"), &match_request))).await;
    assert!(twice.iter().all(|(status, _)| *status == StatusCode::ACCEPTED), "{twice:?}");
    assert!(twice.iter().all(|(_, answer)| answer["id"] == twice[0].1["id"]));
    assert_eq!(api.submit(None, &match_request).await.0, StatusCode::PAYMENT_REQUIRED);

    set(&world, world.tenant.id, json!({ "id_match_price": PRICE })).await;
    assert_eq!(api.submit(None, &match_request).await.0, StatusCode::ACCEPTED, "overdrawing is the default");
}

#[tokio::test]
async fn a_job_costs_what_was_the_price_when_it_was_submitted() {
    let world = priced().await;
    let job = submit(&world).await;
    // As a process of the version before inserts one: it names no price.
    let unpriced = JobId::new();
    sqlx::query(
        "INSERT INTO jobs (id, tenant_id, request_id, request_hash, kind, lane, params, metadata)
         SELECT $1, tenant_id, 'OLDERVERSION', request_hash, kind, lane, params, metadata FROM jobs WHERE id = $2",
    )
    .bind(unpriced.0)
    .bind(job.0)
    .execute(&world.pool)
    .await
    .unwrap();
    assert_books_balance(&world).await;
    assert_eq!(world.count("SELECT reserved FROM wallets").await, 2 * PRICE);
    set(&world, world.tenant.id, json!({ "id_match_price": 3 * PRICE })).await;
    for (job, after) in [(job, -PRICE), (unpriced, -2 * PRICE)] {
        assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done);
        assert_eq!(balance(&world).await, after);
    }
    let job = submit(&world).await;
    assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done);
    assert_eq!(balance(&world).await, -5 * PRICE);
    assert_eq!(world.count("SELECT reserved FROM wallets").await, 0);
    assert_books_balance(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_come_and_end_at_the_same_time_never_overdraw_a_wallet_that_may_not_be_overdrawn() {
    const ROUNDS: usize = 12;
    let (world, _process, api) = World::with_api().await;
    let refuse = async |price: i64| {
        set(&world, world.tenant.id, json!({ "id_match_price": price, "empty_wallet": "refuse" })).await;
    };
    refuse(PRICE).await;
    credit(&world, world.tenant.id, 30 * PRICE).await;
    let match_request = id_request("nin", "123", blank());
    // Each walker submits jobs and ends them in another way each time, while the price changes.
    let walk = async |walker: usize| {
        for round in 0..ROUNDS {
            let (status, accepted) = api.submit(None, &match_request).await;
            assert!(matches!(status, StatusCode::ACCEPTED | StatusCode::PAYMENT_REQUIRED), "{accepted}");
            let Some(job) = accepted["id"].as_str().and_then(|id| id.parse().ok()).map(JobId) else { continue };
            match (walker + round) % 4 {
                0 | 1 => assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done),
                2 => {
                    let claim = claim(&world, job).await;
                    assert_eq!(world.store().finish_failed(&claim, &failure()).await.unwrap(), Change::Done);
                }
                _ => assert_eq!(api.delete(&format!("/v1/jobs/{job}")).await.0, StatusCode::OK),
            }
        }
    };
    let prices = async {
        for price in [2 * PRICE, PRICE / 2, 3 * PRICE, PRICE] {
            tokio::task::yield_now().await;
            refuse(price).await;
        }
    };
    tokio::join!(futures_util::future::join_all((0..6).map(walk)), prices);
    assert_books_balance(&world).await;
    assert_eq!(world.count("SELECT reserved FROM wallets").await, 0, "every reservation was given back");
    assert!(world.count("SELECT min(balance_after) FROM ledger").await >= 0, "it was never overdrawn");
    assert!(debits(&world).await > 0);
}

async fn page(api: &Api, query: &str) -> Value {
    let (status, statement) = api.get(&format!("/v1/billing/statement{query}")).await;
    assert_eq!(status, StatusCode::OK, "{statement}");
    statement
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_shows_an_organisation_its_own_movements_page_by_page_and_nobody_elses() {
    let world = priced().await;
    let stranger = world.make_tenant("stranger", None).await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let other = Api::of(&process, &stranger.api_key);
    let (_, wallet) = api.get("/v1/billing/wallet").await;
    assert_eq!(wallet, json!({ "currency": "XXX", "balance": "0.00", "balance_minor": 0 }));
    assert_eq!(page(&api, "").await, json!({ "currency": "XXX", "entries": [], "links": { "next": null } }));

    let top_up =
        ["wallet", "credit", "--name", "acme", "--amount", "50.00", "--currency", "eur", "--note", "a \"note\", ok"];
    let output = world.run(&top_up).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "50.00 EUR\n");
    let mut jobs = Vec::new();
    for _ in 0..5 {
        let job = submit(&world).await;
        assert_eq!(finish(&world, &claim(&world, job).await, Verdict::Approved).await, Change::Done);
        jobs.push(job);
    }
    credit(&world, stranger.id, 777).await;

    let (_, wallet) = api.get("/v1/billing/wallet").await;
    assert_eq!(wallet, json!({ "currency": "EUR", "balance": "47.50", "balance_minor": 4750 }));
    let whole = page(&api, "").await;
    let entries = whole["entries"].as_array().unwrap();
    let paid_for: Vec<_> = entries.iter().filter_map(|entry| entry["job_id"].as_str()).collect();
    let expected: Vec<_> = jobs.iter().rev().map(ToString::to_string).collect();
    assert_eq!(paid_for, expected, "newest first");
    assert_eq!(entries[0]["balance_after"], "47.50");
    assert_eq!(
        (&entries[0]["kind"], &entries[0]["amount"], &entries[0]["amount_minor"]),
        (&json!("debit"), &json!("0.50"), &json!(50))
    );
    assert_eq!((&entries[5]["kind"], &entries[5]["note"]), (&json!("credit"), &json!("a \"note\", ok")));

    // Pages give the same entries.
    let (mut paged, mut next) = (Vec::new(), Some("/v1/billing/statement?limit=4".to_owned()));
    while let Some(path) = next {
        let (_, page) = api.get(&path).await;
        paged.extend(page["entries"].as_array().unwrap().clone());
        next = page["links"]["next"].as_str().map(ToOwned::to_owned);
    }
    assert_eq!(&paged, entries);
    let middle = entries[2]["created_at"].as_str().unwrap();
    let (since, until) = (page(&api, &format!("?from={middle}")).await, page(&api, &format!("?to={middle}")).await);
    let count = |page: &Value| page["entries"].as_array().unwrap().len();
    assert_eq!(count(&since) + count(&until), 6, "a period has each movement once");
    assert_eq!(count(&page(&api, "?from=2999-01-01T00:00:00Z").await), 0);

    // The other organisation sees only its own entries, and a cursor of ours does not work for it.
    let (_, wallet) = other.get("/v1/billing/wallet").await;
    assert_eq!(wallet["balance"], "7.77");
    let theirs = page(&other, "").await;
    assert_eq!((count(&theirs), &theirs["entries"][0]["amount"]), (1, &json!("7.77")));
    let ours = entries[0]["id"].as_str().unwrap();
    let (status, problem) = other.get(&format!("/v1/billing/statement?cursor={ours}")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_cursor")));

    let csv =
        api.request(Method::GET, "/v1/billing/statement?limit=2&to=2999-01-01T00:00:00Z").header(ACCEPT, "text/csv");
    let csv = csv.send().await.unwrap();
    assert_eq!(csv.headers()[CONTENT_TYPE], "text/csv; charset=utf-8");
    let link = csv.headers()[LINK].to_str().unwrap().to_owned();
    assert!(link.ends_with("; rel=\"next\"") && link.contains("&limit=2&cursor="), "{link}");
    let text = csv.text().await.unwrap();
    assert!(text.starts_with("id,created_at,kind,amount,balance_after,currency,job_id,note\n"), "{text}");
    assert_eq!(text.lines().count(), 3);
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let rest = api.request(Method::GET, next).header(ACCEPT, "application/json;q=0.5, text/csv").send().await.unwrap();
    assert_eq!(rest.headers()[CONTENT_TYPE], "application/json", "the first that is accepted");

    let shown = world.run(&["wallet", "statement", "--name", "acme", "--limit", "2"]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("47.50 EUR") && shown.lines().count() == 3, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_statement_requests_are_told_what_is_wrong_and_keys_without_the_scope_or_of_tests_are_turned_away() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for (query, code, field) in [
        ("?limit=0", "invalid_limit", Some("limit")),
        ("?limit=501", "invalid_limit", Some("limit")),
        ("?limit=many", "invalid_limit", Some("limit")),
        ("?from=yesterday", "invalid_time", Some("from")),
        ("?to=2026-13-01T00:00:00Z", "invalid_time", Some("to")),
        ("?from=-9999-01-01T00:00:00Z", "invalid_time", Some("from")),
        ("?cursor=1", "invalid_cursor", Some("cursor")),
        ("?cursor=00000000-0000-7000-8000-000000000000", "invalid_cursor", Some("cursor")),
        ("?form=2026-01-01T00:00:00Z", "invalid_query", Some("query")),
        ("?limit=1&limit=2", "invalid_query", Some("query")),
    ] {
        let (status, problem) = api.get(&format!("/v1/billing/statement{query}")).await;
        assert_eq!(
            (status.as_u16(), problem["code"].as_str(), problem["field"].as_str()),
            (400, Some(code), field),
            "{query}"
        );
    }
    let test = Api::of(&process, &world.make_test_key().await);
    world.execute("UPDATE api_keys SET scopes = '{submit,read}' WHERE environment = 'live'").await;
    for (api, code) in [(api, "missing_scope"), (test, "live_key_required")] {
        for path in ["/v1/billing/wallet", "/v1/billing/statement"] {
            let (status, problem) = api.get(path).await;
            assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!(code)), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_is_refused_when_it_makes_no_sense() {
    let world = World::without_broker().await;
    let credit = async |amount: &str, currency: &str, note: &str| {
        let arguments =
            ["wallet", "credit", "--name", "acme", "--amount", amount, "--currency", currency, "--note", note];
        let output = world.run(&arguments).await;
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let long = "x".repeat(201);
    for (amount, currency, note, because) in [
        ("0", "EUR", "", "above zero"),
        ("=1", "EUR", "", "--amount"),
        ("1.234", "EUR", "", "decimals"),
        ("1", "EURO", "", "--currency"),
        ("1", "XXX", "", "--currency"),
        ("1", "EUR", &long, "--note"),
    ] {
        let (success, output) = credit(amount, currency, note).await;
        assert!(!success && output.contains(because), "{amount} {currency}: {output}");
    }
    assert!(credit("1", "EUR", "").await.0);
    let (success, output) = credit("1", "USD", "").await;
    assert!(!success && output.contains("kept in EUR"), "{output}");
    let unknown = world.run(&["wallet", "show", "--organisation", "nobody"]).await;
    assert!(!unknown.status.success());
    assert_eq!(world.count("SELECT count(*) FROM ledger").await, 1);
}
