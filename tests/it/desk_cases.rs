//! Two reviewers never work on the same case: leases, races, hand-backs, assignments, and the live news about them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use visavis::domain::ids::JobId;
use visavis::domain::job::Verdict;
use visavis::domain::review::{LEASE, Opinion, ReviewDecision};
use visavis::store::cases::CaseFilter;
use visavis::store::jobs::Change;

use crate::support::desk::Desk;
use crate::support::stream::Stream;
use crate::support::{World, photos};

#[tokio::test(flavor = "multi_thread")]
async fn two_reviewers_who_take_one_case_get_one_winner_and_the_other_learns_who() {
    let (world, process, _api) = World::with_api().await;
    for login in ["ada", "bob"] {
        world.reviewer(login).await;
    }
    let (ada, bob) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "bob").await);
    for _ in 0..10 {
        let case = world.case_of(68.0, photos::blank(), photos::blank()).await;
        let take = format!("/desk/cases/{case}/take");
        let (first, second) = tokio::join!(ada.post(&take, &[]), bob.post(&take, &[]));
        let (loser, winner) = if first.status == 303 { (second, "ADA") } else { (first, "BOB") };
        assert_eq!(loser.status, 409);
        assert!(loser.text.contains(&format!("{winner} has this case.")), "{}", loser.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_reviewers_who_take_cases_at_once_share_forty_without_a_duplicate() {
    let world = World::without_broker().await;
    let mut cases = BTreeSet::new();
    for _ in 0..40 {
        cases.insert(world.case_of(68.0, photos::blank(), photos::blank()).await);
    }
    let mut reviewers = Vec::new();
    for i in 0..8 {
        reviewers.push(world.reviewer(&format!("reviewer-{i}")).await);
    }
    let store = world.store();
    let opinion = Opinion { choice: ReviewDecision::Approved, reasons: Vec::new(), note: String::new() };
    let takers = stream::iter(&reviewers).map(|reviewer| {
        let opinion = &opinion;
        async move {
            let mut taken: Vec<JobId> = Vec::new();
            while let Some(id) = store.take_next_case(reviewer, None).await.unwrap() {
                assert_eq!(store.decide_case(reviewer, id, opinion, false).await.unwrap(), Change::Done);
                taken.push(id);
            }
            taken
        }
    });
    let taken: Vec<_> = takers.buffer_unordered(8).concat().await;
    assert_eq!(taken.len(), 40);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), cases);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lasts_with_heartbeats_and_without_them_the_case_is_free_again() {
    let world = World::without_broker().await;
    let case = world.case(68.0).await;
    let (ada, bob) = (world.reviewer("ada").await, world.reviewer("bob").await);
    let store = world.store();
    assert_eq!(store.take_case(&ada, case).await.unwrap(), Change::Done);
    for _ in 0..3 {
        world.pass(LEASE.saturating_sub(Duration::from_secs(5))).await;
        assert_eq!(store.renew_case(&ada, case).await.unwrap(), Change::Done);
        assert_eq!(store.take_case(&bob, case).await.unwrap(), Change::Lost);
    }
    world.pass(LEASE).await;
    assert_eq!(store.renew_case(&ada, case).await.unwrap(), Change::Lost, "too late");
    assert_eq!(store.take_next_case(&bob, None).await.unwrap(), Some(case));
    assert_eq!(store.hand_back_case(&ada, case, false).await.unwrap(), Change::Lost, "it is Bob's");
    assert_eq!(store.hand_back_case(&bob, case, false).await.unwrap(), Change::Done);
    assert_eq!(store.take_case(&ada, case).await.unwrap(), Change::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_more_than_ten_cases() {
    let world = World::without_broker().await;
    let ada = world.reviewer("ada").await;
    let mut taken = Vec::new();
    for _ in 0..12 {
        let case = world.case_of(68.0, photos::blank(), photos::blank()).await;
        taken.push(world.store().take_case(&ada, case).await.unwrap());
    }
    assert_eq!(taken.iter().filter(|change| **change == Change::Done).count(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_lead_assigns_a_case_to_another_reviewer() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    let bob = world.reviewer("bob").await;
    world.reviewer("ada").await;
    world.lead("zoe").await;
    let (ada, zoe) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "zoe").await);
    ada.post(&format!("/desk/cases/{case}/take"), &[]).await;
    let (assign, to) = (format!("/desk/cases/{case}/assign"), bob.id.0.to_string());
    assert_eq!(ada.post(&assign, &[("reviewer", &to)]).await.status, 403);
    assert_eq!(zoe.post(&assign, &[("reviewer", &to)]).await.status, 303);
    assert_eq!(ada.ask(&format!("/desk/cases/{case}/heartbeat"), &[]).await.status, 409);
    let late = ada.ask(&format!("/desk/cases/{case}/decision"), &[("decision", "approved")]).await;
    assert!(late.status == 409 && late.text.contains("BOB has this case."), "{late:?}");
    let nobody = uuid::Uuid::now_v7().to_string();
    assert_eq!(zoe.post(&assign, &[("reviewer", &nobody)]).await.status, 409);
    assert_eq!(zoe.post(&assign, &[("reviewer", "x")]).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_gets_news_of_who_took_a_case_and_of_its_decision() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    world.reviewer("ada").await;
    world.reviewer("bob").await;
    let (ada, bob) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "bob").await);
    let mut page = Stream::of(bob.request(reqwest::Method::GET, "/desk/live").header("cookie", bob.cookie())).await;
    assert_eq!(page.next().await.unwrap().kind, "hello");
    let news = async |page: &mut Stream| {
        let event = page.next().await.unwrap();
        assert_eq!(event.kind, "case");
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(data["id"], case.to_string());
        (data["state"].as_str().unwrap().to_owned(), data["holder"].as_str().unwrap_or("nobody").to_owned())
    };
    ada.post(&format!("/desk/cases/{case}/take"), &[]).await;
    let mut last = news(&mut page).await;
    while last != ("waiting".to_owned(), "ADA".to_owned()) {
        last = news(&mut page).await;
    }
    ada.ask(&format!("/desk/cases/{case}/decision"), &[("decision", "approved")]).await;
    while last.0 != "settling" {
        last = news(&mut page).await;
    }
    world.pass(Duration::from_secs(10)).await;
    while last.0 != "decided" {
        last = news(&mut page).await;
    }
    assert_eq!(last.1, "nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_has_pages_without_gaps_or_duplicates_and_filters() {
    let (world, process, _api) = World::with_api().await;
    let mut cases = Vec::new();
    for i in 0..120 {
        cases.push(world.case_of(60.5 + f64::from(i) / 10.0, photos::blank(), photos::blank()).await);
    }
    let ada = world.reviewer("ada").await;
    let desk = Desk::signed_in(&process, "ada").await;
    let rows = |text: &str| -> Vec<JobId> {
        text.split("data-row=\"").skip(1).map(|row| JobId(row.split('"').next().unwrap().parse().unwrap())).collect()
    };
    let (mut listed, mut path) = (Vec::new(), "/desk/queue".to_owned());
    loop {
        let page = desk.get(&path).await.text;
        listed.extend(rows(&page));
        let links = page.split("/desk/queue?").skip(1).map(|link| link.split('"').next().unwrap());
        let Some(next) = links.filter(|link| link.contains("after=")).last().map(|link| link.replace("&#38;", "&"))
        else {
            break;
        };
        path = format!("/desk/queue?{next}");
    }
    assert_eq!(listed, cases, "oldest first, each once");

    assert_eq!(world.store().take_case(&ada, cases[7]).await.unwrap(), Change::Done);
    assert_eq!(rows(&desk.get("/desk/queue?held=mine").await.text), [cases[7]]);
    assert_eq!(rows(&desk.get("/desk/queue?held=free").await.text)[7], cases[8]);
    assert_eq!(rows(&desk.get("/desk/queue?risk=BLURRED").await.text), []);
    assert_eq!(rows(&desk.get("/desk/queue?risk=LOW_LIVENESS_SCORE").await.text).len(), 50);
    assert_eq!(rows(&desk.get("/desk/queue?age=900").await.text), []);
    world.pass(Duration::from_mins(16)).await;
    assert_eq!(rows(&desk.get("/desk/queue?age=900").await.text).len(), 50);
    assert_eq!(rows(&desk.get("/desk/queue?state=second").await.text), []);
    // Filters that do not exist are ignored.
    assert_eq!(rows(&desk.get("/desk/queue?risk=%27%3B--&age=x&state=decided&after=nonsense").await.text).len(), 50);
    let filter = CaseFilter { older_than: Some(i64::MAX), ..CaseFilter::default() };
    assert!(world.store().list_cases(ada.account, &filter, None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handed_back_case_is_offered_to_others_first_and_an_assigned_case_waits_for_its_reviewer() {
    let world = World::without_broker().await;
    let (first, second) = (world.case(68.0).await, world.case(68.0).await);
    let (ada, zoe) = (world.reviewer("ada").await, world.lead("zoe").await);
    let store = world.store();
    assert_eq!(store.take_next_case(&ada, None).await.unwrap(), Some(first));
    assert_eq!(store.hand_back_case(&ada, first, false).await.unwrap(), Change::Done);
    assert_eq!(store.take_next_case(&ada, None).await.unwrap(), Some(second));
    assert_eq!(store.take_next_case(&zoe, None).await.unwrap(), Some(first), "the case kept its place in the queue");
    // A page that had loaded the case ahead cannot hand it back while another page of hers shows it.
    store.record_opened(&ada, second).await.unwrap();
    assert_eq!(store.hand_back_case(&ada, second, true).await.unwrap(), Change::Lost);
    assert_eq!(store.assign_case(&zoe, first, ada.id).await.unwrap(), Change::Done);
    world.pass(Duration::from_hours(7)).await;
    assert_eq!(store.take_case(&zoe, first).await.unwrap(), Change::Lost);
    assert_eq!(store.renew_case(&ada, first).await.unwrap(), Change::Done);
    world.pass(Duration::from_mins(30)).await;
    assert_eq!(
        store.take_case(&zoe, first).await.unwrap(),
        Change::Lost,
        "a heartbeat does not shorten the assignment"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_review_without_a_case_gets_one() {
    let world = World::without_broker().await;
    let case = world.case(68.0).await;
    let ada = world.reviewer("ada").await;
    let row = "SELECT score || array_to_string(risks, ' ') || opened_at::text FROM review_cases WHERE job_id = $1";
    let before: String = world.scalar(row, case).await;
    // A worker of an older version leaves the job like this.
    world.execute("DELETE FROM review_cases").await;
    assert_eq!(world.store().take_next_case(&ada, None).await.unwrap(), None);
    visavis::janitor::erase_due(world.store(), &world.intake.media).await.unwrap();
    assert_eq!(world.scalar::<String>(row, case).await, before);
    assert_eq!(world.store().take_next_case(&ada, None).await.unwrap(), Some(case));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_nobody_decides_lapses_when_its_pictures_are_erased() {
    let world = World::without_broker().await;
    let case = world.case(68.0).await;
    let ada = world.reviewer("ada").await;
    world.execute("UPDATE jobs SET purge_at = purge_at - interval '30 days'").await;
    world.execute("UPDATE images SET purge_at = purge_at - interval '30 days'").await;
    world.pass(Duration::from_hours(30 * 24)).await;
    assert_eq!(world.store().take_next_case(&ada, None).await.unwrap(), None);
    visavis::janitor::erase_due(world.store(), &world.intake.media).await.unwrap();
    let state: String = world.scalar("SELECT state FROM review_cases WHERE job_id = $1", case).await;
    assert_eq!(state, "lapsed");
    let job = world.store().find_job(ada.account, case).await.unwrap().unwrap();
    assert_eq!(job.verdict.unwrap(), Verdict::InReview, "nobody decided");
}
