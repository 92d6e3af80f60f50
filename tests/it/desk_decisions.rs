//! What a decision does: it becomes final, goes out by every channel, and never changes. A correction is another entry.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use visavis::domain::ids::JobId;
use visavis::domain::job::Verdict;
use visavis::domain::review::{Opinion, Reason, ReviewDecision, Reviewer, UNDO};
use visavis::domain::tenant::{Account, TenantSettings};
use visavis::store::decisions::DecisionFilter;
use visavis::store::jobs::Change;

use crate::support::deliveries::{QUICK, Running, endpoint, live};
use crate::support::desk::Desk;
use crate::support::receiver::Receiver;
use crate::support::stream::Stream;
use crate::support::{Api, World, photos};

fn approved() -> Opinion {
    Opinion { choice: ReviewDecision::Approved, reasons: vec![Reason::Aged], note: "a scar on both".to_owned() }
}

fn rejected() -> Opinion {
    Opinion { choice: ReviewDecision::Rejected, reasons: vec![Reason::DifferentPerson], note: String::new() }
}

/// Lets the undo time pass and makes due decisions final. Returns how many.
async fn settle(world: &World) -> u64 {
    world.pass(UNDO).await;
    world.store().settle_decisions(100).await.unwrap()
}

/// Choice, stage, revision and reviewer of each entry.
async fn entries(world: &World, case: JobId) -> Vec<(String, String, i32, String)> {
    sqlx::query_as(
        "SELECT choice, stage, revision, login FROM review_decisions JOIN reviewers ON reviewers.id = reviewer_id
         WHERE job_id = $1 ORDER BY revision",
    )
    .bind(case.0)
    .fetch_all(&world.pool)
    .await
    .unwrap()
}

fn entry(choice: &str, stage: &str, revision: i32, login: &str) -> (String, String, i32, String) {
    (choice.to_owned(), stage.to_owned(), revision, login.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_decision_changes_report_and_job_and_goes_out_by_webhook_stream_and_poll() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let case = world.case(68.0).await;
    endpoint(&world, &receiver.url()).await;
    let _dispatcher = Running::start(&world, QUICK);
    let mut stream = Stream::open(&api, "/v1/events", None).await;
    let ada = world.reviewer("ada").await;
    let desk = Desk::signed_in(&process, "ada").await;
    assert_eq!(desk.post("/desk/next", &[]).await.case(), case);
    let images: Value = serde_json::from_str(&desk.get(&format!("/desk/cases/{case}/images")).await.text).unwrap();
    for side in ["reference", "probe", "probe_crop"] {
        let shown = desk.send(desk.request(Method::GET, images[side].as_str().unwrap())).await;
        assert_eq!(shown.status, 200, "{side}");
    }

    let form = [("decision", "rejected"), ("reason", "different_person"), ("reason", "not_live"), ("note", "the ears")];
    let answer = desk.ask(&format!("/desk/cases/{case}/decision"), &form).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "{\"undo_ms\":8000}"));
    let (_, before) = api.get(&format!("/v1/jobs/{case}")).await;
    assert_eq!(
        (&before["verdict"], before.get("review")),
        (&json!("in_review"), None),
        "the decision can still be undone"
    );
    assert!(receiver.seen().is_empty());

    // A task of the API process makes the decision final.
    world.await_settled(case, "decided").await;
    let seen = receiver.await_seen(1).await;
    let event = seen[0].json();
    assert_eq!((&event["type"], &event["data"]["id"]), (&json!("review.decided"), &json!(case)));
    let data = &event["data"];
    assert_eq!(
        (&data["verdict"], &data["status"], &data["score"]),
        (&json!("rejected"), &json!("Rejected"), &json!(68.0))
    );
    let review = &data["review"];
    let expected = (&json!("rejected"), &json!(["different_person", "not_live"]), &json!(1));
    assert_eq!((&review["decision"], &review["reasons"], &review["revision"]), expected);
    for secret in ["the ears", "ADA"] {
        assert!(!seen[0].body.contains(secret), "{secret} stays at the desk");
    }
    // The stream may begin a moment earlier, with the event of the job's own end.
    let (id, streamed) = loop {
        let (id, kind, streamed) = stream.event().await;
        if kind == "review.decided" {
            break (id, streamed);
        }
    };
    assert_eq!(&streamed, data);
    assert_eq!(seen[0].id, id, "the same event on every channel");
    let (_, job) = api.get(&format!("/v1/jobs/{case}")).await;
    assert_eq!((&job["verdict"], &job["status"], &job["review"]), (&json!("rejected"), &json!("Rejected"), review));
    let (_, report) = api.get(&format!("/v1/face-match/{case}")).await;
    assert_eq!(report["face_match"]["status"], "Rejected", "{report}");
    for (query, found) in [("status=rejected", 1), ("status=in_review", 0)] {
        let (_, list) = api.get(&format!("/v1/jobs?{query}")).await;
        assert_eq!(list["jobs"].as_array().map(Vec::len), Some(found), "{query}: {list}");
    }

    let filter = DecisionFilter { job: Some(case), ..DecisionFilter::default() };
    let written = world.store().list_decisions(&ada, &filter, None, 9).await.unwrap();
    assert_eq!(written[0].by.1, "ADA");
    assert_eq!(written[0].seen, ["probe 0 portrait", "probe 0 whole", "reference 0 portrait"]);
    assert_eq!((written[0].note.as_str(), written[0].revision), ("the ears", 1));
    // The images are erased at the same time as those of any other job.
    let day: bool = world.scalar("SELECT purge_at < now() + interval '25 hours' FROM jobs WHERE id = $1", case).await;
    let same =
        "SELECT bool_and(images.purge_at = jobs.purge_at) FROM images JOIN jobs ON jobs.id = job_id WHERE job_id = $1";
    let same: bool = world.scalar(same, case).await;
    assert!(day && same);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_undone_in_time_never_goes_out_and_the_case_is_its_reviewers_again() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    world.reviewer("ada").await;
    world.reviewer("bob").await;
    let (ada, bob) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "bob").await);
    let path = |action: &str| format!("/desk/cases/{case}/{action}");
    ada.post(&path("take"), &[]).await;
    assert_eq!(ada.ask(&path("decision"), &[("decision", "approved")]).await.status, 200);
    assert_eq!(
        ada.ask(&path("decision"), &[("decision", "rejected"), ("reason", "not_live")]).await.status,
        409,
        "once"
    );
    assert_eq!(bob.ask(&path("take"), &[]).await.status, 409);
    assert_eq!(bob.ask(&path("undo"), &[]).await.status, 409, "it is not his");
    assert_eq!(ada.ask(&path("undo"), &[]).await.status, 200);
    assert_eq!(ada.ask(&path("undo"), &[]).await.status, 409, "nothing is left to undo");
    assert_eq!(settle(&world).await, 0);
    assert_eq!(world.case_state(case).await, "waiting");
    assert_eq!(bob.ask(&path("take"), &[]).await.status, 409, "it is still Ada's");
    assert_eq!(ada.ask(&path("heartbeat"), &[]).await.status, 204);
    assert_eq!(ada.ask(&path("decision"), &[("decision", "approved")]).await.status, 200);
    settle(&world).await;
    world.await_case_state(case, "decided").await;
    assert_eq!(ada.ask(&path("undo"), &[]).await.status, 409, "too late");
    assert_eq!(entries(&world, case).await, [entry("approved", "decision", 1, "ada")]);
    assert_eq!(world.count("SELECT count(*) FROM events WHERE type = 'review.decided'").await, 1);
    let page = ada.get(&format!("/desk/cases/{case}")).await.text;
    assert!(page.contains("undid the decision"), "the audit log has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_form_is_refused_with_the_fields_name_and_changes_nothing() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    world.reviewer("ada").await;
    let desk = Desk::signed_in(&process, "ada").await;
    desk.post(&format!("/desk/cases/{case}/take"), &[]).await;
    let long = "x".repeat(2001);
    for (form, field) in [
        (vec![("decision", "in_review")], "decision"),
        (vec![("decision", "rejected")], "reason"),
        (vec![("decision", "rejected"), ("reason", "<b>")], "reason"),
        (vec![("decision", "rejected"), ("reason", "other")], "note"),
        (vec![("decision", "approved"), ("note", long.as_str())], "note"),
    ] {
        let answer = desk.ask(&format!("/desk/cases/{case}/decision"), &form).await;
        let body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!((answer.status, body["field"].as_str()), (422, Some(field)), "{body}");
        let page = desk.post(&format!("/desk/cases/{case}/decision"), &form).await;
        assert!(page.status == 422 && page.text.contains("Back to the case"), "{page:?}");
    }
    assert_eq!(desk.ask(&format!("/desk/cases/{case}/decision"), &[]).await.status, 422, "no decision at all");
    assert_eq!(world.case_state(case).await, "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_organisations_limit_two_must_agree_and_a_lead_settles_disputes() {
    let world = World::without_broker().await;
    let (ada, bob, zoe) = (world.reviewer("ada").await, world.reviewer("bob").await, world.lead("zoe").await);
    let store = world.store();
    // Two reviewers agree.
    let case = world.case(62.0).await;
    world.decide(&ada, case, &approved(), true).await;
    assert_eq!(settle(&world).await, 1);
    assert_eq!(world.case_state(case).await, "second");
    assert_eq!(world.count("SELECT count(*) FROM events WHERE type = 'review.decided'").await, 0);
    assert_eq!(store.take_case(&ada, case).await.unwrap(), Change::Lost, "one reviewer cannot give both opinions");
    assert_eq!(store.take_next_case(&ada, None).await.unwrap(), None);
    assert_eq!(store.take_next_case(&bob, None).await.unwrap(), Some(case));
    assert_eq!(store.decide_case(&bob, case, &approved(), true).await.unwrap(), Change::Done);
    settle(&world).await;
    assert_eq!(world.case_state(case).await, "decided");
    let both = [entry("approved", "opinion", 1, "ada"), entry("approved", "decision", 2, "bob")];
    assert_eq!(entries(&world, case).await, both);
    // Two reviewers disagree.
    let case = world.case(62.0).await;
    world.decide(&ada, case, &approved(), true).await;
    settle(&world).await;
    world.decide(&bob, case, &rejected(), true).await;
    settle(&world).await;
    assert_eq!(world.case_state(case).await, "disputed");
    for reviewer in [&ada, &bob] {
        assert_eq!(store.take_case(reviewer, case).await.unwrap(), Change::Lost);
    }
    assert_eq!(store.assign_case(&zoe, case, ada.id).await.unwrap(), Change::Lost);
    sqlx::query("UPDATE reviewers SET is_lead = true WHERE login = 'bob'").execute(&world.pool).await.unwrap();
    let party = Reviewer { is_lead: true, ..bob.clone() };
    assert_eq!(store.take_case(&party, case).await.unwrap(), Change::Lost, "a lead who gave one of the opinions");
    world.decide(&zoe, case, &rejected(), true).await;
    settle(&world).await;
    assert_eq!(world.case_state(case).await, "decided");
    let job = store.find_job(live(&world), case).await.unwrap().unwrap();
    assert_eq!(job.verdict.unwrap(), Verdict::Rejected);
    let totals = store.count_reviews(live(&world)).await.unwrap();
    assert_eq!((totals.opened, totals.decided, totals.doubled, totals.agreed), (2, 2, 2, 1));
    let people = store.count_reviewers(live(&world)).await.unwrap();
    let of = |name: &str| {
        let row = people.iter().find(|row| row.name == name)?;
        Some((row.decisions, row.shared, row.agreed))
    };
    assert_eq!((of("ADA"), of("BOB"), of("ZOE")), (Some((2, 3, 1)), Some((2, 3, 2)), Some((1, 2, 1))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_asks_for_two_reviewers_where_the_scores_false_match_rate_is_too_high() {
    let (world, process, _api) = World::with_api().await;
    let settings = TenantSettings { four_eyes_fmr: Some(5e-3), ..TenantSettings::default() };
    let settings = serde_json::to_value(settings).unwrap();
    sqlx::query("UPDATE tenants SET settings = $1").bind(settings).execute(&world.pool).await.unwrap();
    world.reviewer("ada").await;
    let desk = Desk::signed_in(&process, "ada").await;
    // Calibration: a score of 60 has a false match rate of 1 in 100, a score of 75 of 1 in 1,000.
    for (score, expected) in [(61.0, "second"), (74.0, "decided")] {
        let case = world.case(score).await;
        desk.post(&format!("/desk/cases/{case}/take"), &[]).await;
        let page = desk.get(&format!("/desk/cases/{case}")).await.text;
        assert_eq!(page.contains("Two reviewers must agree"), expected == "second", "{score}");
        assert!(page.contains("pairs of different people score this high or higher."), "{score}");
        assert_eq!(desk.ask(&format!("/desk/cases/{case}/decision"), &[("decision", "approved")]).await.status, 200);
        world.await_settled(case, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_is_a_further_entry_by_a_lead_or_the_decider_and_goes_out_as_an_event() {
    let (world, process, api) = World::with_api().await;
    let case = world.case(68.0).await;
    let ada = world.reviewer("ada").await;
    world.reviewer("bob").await;
    world.lead("zoe").await;
    world.decide(&ada, case, &approved(), false).await;
    world.await_settled(case, "decided").await;
    let correct = async |login: &str, note: &str| {
        let desk = Desk::signed_in(&process, login).await;
        let form = [("decision", "rejected"), ("reason", "document_altered"), ("note", note)];
        desk.post(&format!("/desk/cases/{case}/correction"), &form).await.status
    };
    assert_eq!(correct("bob", "not mine").await, 403);
    assert_eq!(correct("ada", "").await, 422, "a correction must say why");
    assert_eq!(correct("zoe", "the photo was glued in").await, 303);
    let (_, job) = api.get(&format!("/v1/jobs/{case}")).await;
    assert_eq!((&job["verdict"], &job["review"]["revision"]), (&json!("rejected"), &json!(2)));
    let both = [entry("approved", "decision", 1, "ada"), entry("rejected", "correction", 2, "zoe")];
    assert_eq!(entries(&world, case).await, both);
    let events: Vec<(i32, Value)> = sqlx::query_as(
        "SELECT revision, payload->'verdict' FROM events WHERE type = 'review.decided' ORDER BY revision",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap();
    assert_eq!(events, [(1, json!("approved")), (2, json!("rejected"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_reviewer_does_not_see_the_first_opinion_and_only_a_lead_corrects_the_decision() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(62.0).await;
    let ada = world.reviewer("ada").await;
    let bob = world.reviewer("bob").await;
    world.lead("zoe").await;
    world.decide(&ada, case, &rejected(), true).await;
    let pages = [format!("/desk/cases/{case}"), "/desk/history".to_owned()];
    let (first, second) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "bob").await);
    // During the undo time, and afterwards.
    for expected in ["settling", "second"] {
        assert_eq!(world.case_state(case).await, expected);
        for path in &pages {
            let page = second.get(path).await.text;
            for secret in ["Another person", "rejected by", "Rejected by", "decided: rejected"] {
                assert!(!page.contains(secret), "{expected} {path}: {secret}");
            }
        }
        world.await_settled(case, "second").await;
    }
    assert!(first.get(&pages[0]).await.text.contains("Another person"), "she sees her own opinion");
    world.decide(&bob, case, &rejected(), true).await;
    world.await_settled(case, "decided").await;
    assert!(second.get(&pages[0]).await.text.contains("decided: rejected"));
    let form = [("decision", "approved"), ("note", "changed my mind")];
    let correction = format!("/desk/cases/{case}/correction");
    assert_eq!(second.post(&correction, &form).await.status, 403, "two had agreed");
    assert_eq!(world.store().correct_decision(&bob, case, 2, &approved()).await.unwrap(), Change::Lost);
    assert_eq!(Desk::signed_in(&process, "zoe").await.post(&correction, &form).await.status, 303);
    assert_eq!(
        world.store().correct_decision(&bob, case, 2, &approved()).await.unwrap(),
        Change::Lost,
        "the revision is outdated"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_cannot_be_made_final_holds_up_no_other() {
    let world = World::without_broker().await;
    let (bad, good) = (world.case(68.0).await, world.case(68.0).await);
    let ada = world.reviewer("ada").await;
    for case in [bad, good] {
        world.decide(&ada, case, &approved(), false).await;
    }
    sqlx::query("UPDATE review_cases SET pending = '{}' WHERE job_id = $1")
        .bind(bad.0)
        .execute(&world.pool)
        .await
        .unwrap();
    world.pass(UNDO).await;
    assert_eq!(world.store().settle_decisions(100).await.unwrap(), 1);
    assert_eq!(
        (world.case_state(bad).await, world.case_state(good).await),
        ("settling".to_owned(), "decided".to_owned())
    );
    assert_eq!(world.store().settle_decisions(100).await.unwrap(), 0, "it is parked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_reviewers_pending_decision_never_goes_out() {
    let world = World::without_broker().await;
    let case = world.case(68.0).await;
    let ada = world.reviewer("ada").await;
    world.decide(&ada, case, &approved(), false).await;
    assert!(world.store().set_disabled("ada", true).await.unwrap());
    assert_eq!(settle(&world).await, 0);
    assert_eq!(world.case_state(case).await, "waiting");
    let bob = world.reviewer("bob").await;
    assert_eq!(world.store().take_case(&bob, case).await.unwrap(), Change::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_audit_log_are_append_only_and_the_job_itself_never_changes() {
    let world = World::without_broker().await;
    let case = world.case(68.0).await;
    let ada = world.reviewer("ada").await;
    let kept = "SELECT verdict || result::text || finished_at FROM jobs WHERE id = $1";
    let before: String = world.scalar(kept, case).await;
    world.decide(&ada, case, &approved(), false).await;
    settle(&world).await;
    assert_eq!(world.scalar::<String>(kept, case).await, before);
    for statement in [
        "UPDATE review_decisions SET choice = 'rejected'",
        "UPDATE review_decisions SET note = 'another'",
        "UPDATE review_decisions SET note = ''",
        "TRUNCATE review_decisions",
        "TRUNCATE review_trail",
        "UPDATE review_decisions SET reasons = '{}', note = ''",
        "DELETE FROM review_decisions",
        "UPDATE review_trail SET action = 'opened'",
        "DELETE FROM review_trail",
    ] {
        let error = sqlx::query(AssertSqlSafe(statement)).execute(&world.pool).await.expect_err(statement);
        assert!(error.to_string().contains("is only added to"), "{statement}: {error}");
    }
    let tables = "SELECT count(*) FROM review_decisions WHERE choice = 'approved' AND note = 'a scar on both'";
    assert_eq!(world.count(tables).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_a_job_closes_its_case_and_keeps_only_who_decided_what() {
    let (world, process, api) = World::with_api().await;
    let (open, decided, settling) = (world.case(68.0).await, world.case(68.0).await, world.case(68.0).await);
    let ada = world.reviewer("ada").await;
    world.decide(&ada, decided, &approved(), false).await;
    world.await_settled(decided, "decided").await;
    world.decide(&ada, settling, &approved(), false).await;
    assert_eq!(world.store().take_case(&ada, open).await.unwrap(), Change::Done);
    for case in [open, decided, settling] {
        let (status, body) = api.delete(&format!("/v1/jobs/{case}")).await;
        assert!(status.is_success(), "{body}");
        assert_eq!(world.case_state(case).await, "erased");
    }
    settle(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM review_decisions").await, 1, "the pending decision was never written");
    assert_eq!(world.count("SELECT count(*) FROM review_decisions WHERE note = '' AND choice = 'approved'").await, 1);
    let (_, job) = api.get(&format!("/v1/jobs/{decided}")).await;
    assert_eq!((&job["verdict"], &job["result"]), (&json!("approved"), &Value::Null), "{job}");
    let (_, job) = api.get(&format!("/v1/jobs/{open}")).await;
    assert_eq!(job["verdict"], "in_review");
    let desk = Desk::signed_in(&process, "ada").await;
    for case in [open, decided, settling] {
        let page = desk.get(&format!("/desk/cases/{case}")).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("erased") && !page.text.contains("a scar on both"));
        assert_eq!(desk.ask(&format!("/desk/cases/{case}/take"), &[]).await.status, 409);
    }
    let left = "SELECT payload::text FROM events WHERE type = 'review.decided' AND job_id = $1";
    let left: String = world.scalar(left, decided).await;
    assert!(!left.contains("68") && left.contains("approved"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_escapes_the_text_of_clients_and_reviewers() {
    let (world, process, api) = World::with_api().await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let mut body = crate::support::world::request("face_match", photos::small_face(), photos::small_face());
    body["metadata"] = json!({ "name": evil });
    let (status, job) = api.submit(None, &body).await;
    assert!(status.is_success(), "{job}");
    let case = JobId(job["id"].as_str().unwrap().parse().unwrap());
    world.end_in_doubt(case, 68.0).await;
    let mut ada = world.reviewer("ada").await;
    evil.clone_into(&mut ada.name);
    sqlx::query("UPDATE reviewers SET name = $1").bind(evil).execute(&world.pool).await.unwrap();
    let noted = Opinion { note: evil.to_owned(), ..approved() };
    world.decide(&ada, case, &noted, false).await;
    world.await_settled(case, "decided").await;
    let desk = Desk::signed_in(&process, "ada").await;
    let query = "%3Cscript%3Ealert(1)%3C/script%3E";
    for path in [
        format!("/desk/cases/{case}"),
        "/desk/history".to_owned(),
        "/desk/dashboard".to_owned(),
        "/desk/account".to_owned(),
        format!("/desk/queue?risk={query}&state={query}&after={query}"),
        format!("/desk/history?by={query}&before={query}"),
        format!("/desk/sign-in?next={query}&ended={query}"),
    ] {
        let page = desk.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text.contains("<script>alert") && !page.text.contains("<img src=x"), "{path}");
    }
    let page = desk.get(&format!("/desk/cases/{case}")).await.text;
    assert!(page.contains("&#60;script&#62;alert(1)"), "the text is shown, escaped");
    let tester = Reviewer { account: Account { sandbox: true, ..live(&world) }, ..ada };
    assert!(world.store().list_decisions(&tester, &DecisionFilter::default(), None, 9).await.unwrap().is_empty());
}
