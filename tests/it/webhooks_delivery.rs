//! Deliveries are signed, repeated on schedule, given up and kept apart: a slow, dead or hostile endpoint harms only
//! itself. The tests step the clock by moving rows.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::json;
use uuid::Uuid;
use visavis::domain::delivery::{FAILING, KEPT, SCHEDULE};
use visavis::domain::ids::EndpointId;
use visavis::domain::tenant::Account;
use visavis::domain::webhook::EventType;
use visavis::janitor::erase_due;
use visavis::net::{Client, Guard, Lookup, LookupFuture};
use visavis::store::deliveries::{AfterAttempt, Attempt, ClaimLimits, DueDelivery};
use visavis::store::webhook_endpoints::{EndpointChange, RateChange, Written};
use visavis::webhooks::DispatcherSettings;
use visavis::webhooks::signature::{Secret, show_public_key};

use crate::support::deliveries::{
    QUICK, Running, SOON, await_attempts, await_state, disabled, endpoint, endpoint_of, endpoints, event, events,
    finish, live,
};
use crate::support::receiver::{Receiver, Reply};
use crate::support::search::{self, Needle};
use crate::support::world::request;
use crate::support::{World, eventually, photos};

/// Whether the header has a signature by the secret and one by the public key.
fn signed(header: &str, secret: &str, public_key: &[u8], message: &str) -> (bool, bool) {
    let [id, timestamp, body] = message.splitn(3, '.').collect::<Vec<_>>()[..] else { panic!("{message}") };
    let symmetric = Secret::parse(secret).unwrap().sign(id, timestamp.parse().unwrap(), body);
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    let is_theirs =
        |signature: &str| key.verify(message.as_bytes(), &BASE64_STANDARD.decode(signature).unwrap()).is_ok();
    let signatures: Vec<_> = header.split(' ').collect();
    let asymmetric = signatures.iter().filter_map(|signature| signature.strip_prefix("v1a,")).any(is_theirs);
    (signatures.contains(&symmetric.as_str()), asymmetric)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_thin_and_signed_and_while_secrets_rotate_by_both() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let first = endpoint(&world, &receiver.url()).await;
    let dispatcher = Running::start(&world, QUICK);
    let mut body = request("face_match", photos::blank(), photos::blank());
    body["metadata"] = json!({ "case": "7" });
    let job = world.submit(None, body.to_string().as_bytes()).await.unwrap().summary.id;
    finish(&world, job).await;
    let seen = receiver.await_seen(1).await.remove(0);
    let sent = seen.json();
    assert_eq!(sent.as_object().unwrap().keys().collect::<Vec<_>>(), ["type", "timestamp", "data"]);
    assert_eq!((&sent["type"], &sent["data"]["id"]), (&json!("job.completed"), &json!(job)));
    assert_eq!(
        (&sent["data"]["verdict"], &sent["data"]["metadata"]),
        (&json!("not_finished"), &json!({ "case": "7" }))
    );
    assert_eq!(sent["data"]["links"]["self"], format!("/v1/jobs/{job}"));
    assert!(seen.body.len() < 1024, "thin: {}", seen.body);
    let stored: Uuid = world.scalar("SELECT id FROM events WHERE job_id = $1", job).await;
    assert_eq!(seen.id, stored.to_string());

    let rotated = endpoints(&world).rotate(live(&world), first.endpoint.id, Duration::from_hours(1)).await.unwrap();
    let rotated = rotated.ok().unwrap();
    assert_eq!(rotated.endpoint.public_keys.len(), 2);
    event(&world).await;
    let second = receiver.await_seen(2).await.remove(1);
    world.pass(Duration::from_hours(1)).await;
    event(&world).await;
    let third = receiver.await_seen(3).await.remove(2);
    let [new_key, old_key] = &rotated.endpoint.public_keys[..] else { panic!() };
    let message =
        |request: &crate::support::receiver::Seen| format!("{}.{}.{}", request.id, request.timestamp, request.body);
    for (seen, by_old, by_new, count) in [(&seen, true, false, 2), (&second, true, true, 4), (&third, false, true, 2)] {
        let of = |secret: &str, key: &[u8]| signed(&seen.signature, secret, key, &message(seen));
        assert_eq!(of(&first.secret, old_key), (by_old, by_old), "{}", seen.signature);
        assert_eq!(of(&rotated.secret, new_key), (by_new, by_new), "{}", seen.signature);
        assert_eq!(seen.signature.split(' ').count(), count);
        let altered =
            signed(&seen.signature, &first.secret, old_key, &message(seen).replace("job.completed", "job.failed"));
        assert_eq!(altered, (false, false));
    }
    assert!(show_public_key(new_key).starts_with("whpk_"));
    dispatcher.stop().await;
    await_state(&world, "delivered", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_told_what_it_subscribed_to_of_its_own_account_alone() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let stranger = world.make_tenant("stranger", None).await;
    let sandbox = Account { sandbox: true, ..live(&world) };
    endpoint_of(&world, live(&world), &receiver.url(), &[EventType::ImageErased]).await;
    endpoint_of(&world, sandbox, &receiver.url(), EventType::ALL).await;
    endpoint_of(&world, Account::live(stranger.id), &receiver.url(), EventType::ALL).await;
    event(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 0);
    endpoint(&world, &receiver.url()).await;
    let job = event(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 1);
    let images = visavis::images::Images::new(world.store().clone(), world.intake.media.clone(), "http://localhost");
    images.unwrap().erase_job(live(&world), job).await.unwrap().expect("the job is there");
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 3, "both subscribe to erasures");
    let _dispatcher = Running::start(&world, QUICK);
    let seen = receiver.await_seen(3).await;
    let erased: Vec<_> = seen.iter().filter(|request| request.json()["type"] == "image.erased").collect();
    assert_eq!(erased.len(), 2);
    assert_eq!(erased[0].id, erased[1].id, "one event, two endpoints");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_delivery_is_attempted_ten_times_on_schedule_and_then_given_up() {
    let world = World::new().await;
    let receiver = Receiver::answering(|_, _| Reply::Body(500, "no\0".to_owned() + "!".repeat(5000).as_str())).await;
    endpoint(&world, &receiver.url()).await;
    let job = event(&world).await;
    let _dispatcher = Running::start(&world, QUICK);
    for (index, wait) in SCHEDULE.into_iter().enumerate() {
        await_attempts(&world, i64::try_from(index + 1).unwrap()).await;
        let left: f64 = world
            .scalar("SELECT extract(epoch FROM next_at - now())::float8 FROM deliveries JOIN events ON id = event_id WHERE job_id = $1", job)
            .await;
        let (least, most) = (wait.as_secs_f64() - 5.0, wait.as_secs_f64() * 1.2);
        assert!((least..=most).contains(&left), "after attempt {}: {left} of {wait:?}", index + 1);
        // Less than five days of failure: another test covers more.
        world.pass(wait.mul_f64(1.2)).await;
    }
    await_state(&world, "failed", 1).await;
    assert_eq!(receiver.seen().len(), 10);
    assert!(receiver.seen().iter().all(|request| request.id == receiver.seen()[0].id), "one id");
    let longest = world.count("SELECT max(length(answer))::int8 FROM delivery_attempts").await;
    assert_eq!(longest, 1024, "the beginning of the answer is kept");
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempts WHERE status = 500 AND error IS NULL").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured_where_it_is_longer_and_for_a_day_at_most() {
    let world = World::new().await;
    let asked = [("60", 60.0), ("100", 330.0), ("31536000", 86_400.0)];
    let receiver = Receiver::answering(move |n, _| match asked.get(n) {
        Some((text, _)) => Reply::With(503, "retry-after", (*text).to_owned()),
        None => Reply::Status(204),
    })
    .await;
    endpoint(&world, &receiver.url()).await;
    event(&world).await;
    let _dispatcher = Running::start(&world, QUICK);
    for (index, (_, expected)) in asked.into_iter().enumerate() {
        await_attempts(&world, i64::try_from(index + 1).unwrap()).await;
        let left = world.count("SELECT extract(epoch FROM next_at - now())::int8 FROM deliveries").await;
        let left = f64::from(i32::try_from(left).unwrap());
        assert!((expected - 35.0..=expected + 35.0).contains(&left), "{left} for {expected}");
        world.pass(Duration::from_hours(24)).await;
    }
    await_state(&world, "delivered", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_gone_is_disabled_at_once_and_the_other_endpoints_are_told() {
    let world = World::new().await;
    let gone = Receiver::answering(|_, _| Reply::Status(410)).await;
    let well = Receiver::start().await;
    let first = endpoint(&world, &gone.url()).await.endpoint.id;
    endpoint_of(&world, live(&world), &well.url(), &[EventType::EndpointDisabled]).await;
    event(&world).await;
    event(&world).await;
    let _dispatcher = Running::start(&world, QUICK);
    let sent = well.await_seen(1).await.remove(0).json();
    assert_eq!((&sent["type"], &sent["data"]["endpoint_id"]), (&json!("endpoint.disabled"), &json!(first)));
    assert_eq!(sent["data"]["reason"], "gone");
    assert_eq!(disabled(&world, first).await.as_deref(), Some("gone"));
    await_state(&world, "failed", 2).await;
    event(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 3, "nothing more is written for it");

    let on = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    assert!(world.store().change_endpoint(live(&world), first, &on).await.unwrap());
    event(&world).await;
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 4, "once enabled, it starts with new events");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_five_days_without_a_success_an_endpoint_is_disabled_and_not_before() {
    let world = World::new().await;
    let ok = Arc::new(AtomicUsize::new(0));
    let flag = Arc::clone(&ok);
    let receiver =
        Receiver::answering(move |_, _| Reply::Status(if flag.load(Ordering::SeqCst) == 1 { 200 } else { 500 })).await;
    let well = Receiver::start().await;
    let id = endpoint(&world, &receiver.url()).await.endpoint.id;
    endpoint_of(&world, live(&world), &well.url(), &[EventType::EndpointDisabled]).await;
    let _dispatcher = Running::start(&world, QUICK);
    event(&world).await;
    await_attempts(&world, 1).await;
    world.pass(FAILING.saturating_sub(Duration::from_mins(1))).await;
    await_attempts(&world, 2).await;
    assert_eq!(disabled(&world, id).await, None, "a minute is left");
    ok.store(1, Ordering::SeqCst);
    world.pass(Duration::from_mins(10)).await;
    await_state(&world, "delivered", 1).await;
    ok.store(0, Ordering::SeqCst);
    event(&world).await;
    await_attempts(&world, 4).await;
    assert_eq!(disabled(&world, id).await, None, "the success in between counts");
    world.pass(FAILING).await;
    let sent = well.await_seen(1).await.remove(0).json();
    assert_eq!(sent["data"]["reason"], "failing");
    assert_eq!(disabled(&world, id).await.as_deref(), Some("failing"));
}

fn room(known: &[(EndpointId, i32)]) -> ClaimLimits<'_> {
    ClaimLimits { all: 100, failing: 100, known, unknown: 2 }
}

fn attempted(due: &DueDelivery, next: AfterAttempt) -> Attempt {
    let status = Ok(if next == AfterAttempt::Delivered { 200 } else { 500 });
    let DueDelivery { event_id, endpoint_id, epoch, now, .. } = *due;
    let (duration, answer) = (Duration::from_millis(5), String::new());
    let url = due.url.clone();
    Attempt { event_id, endpoint_id, url, epoch, at: now, duration, status, answer, next }
}

const LEASE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_dispatcher_held_comes_back_and_a_zombie_changes_nothing() {
    let world = World::new().await;
    endpoint(&world, "http://127.0.0.1:9/").await;
    event(&world).await;
    let store = world.store();
    let dead = store.claim_deliveries(&room(&[]), LEASE).await.unwrap().remove(0);
    assert!(store.claim_deliveries(&room(&[]), LEASE).await.unwrap().is_empty(), "it is held");
    world.pass(LEASE).await;
    let second = store.claim_deliveries(&room(&[]), LEASE).await.unwrap().remove(0);
    assert_eq!((dead.event_id, dead.attempts, second.attempts), (second.event_id, 0, 0), "no attempt was charged");
    store.record_attempts(&[attempted(&dead, AfterAttempt::Failed)]).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM deliveries WHERE state = 'pending' AND attempts = 0").await, 1);
    let retry = attempted(&second, AfterAttempt::Retry(Duration::from_secs(5)));
    for _ in 0..2 {
        store.record_attempts(std::slice::from_ref(&retry)).await.unwrap();
    }
    assert_eq!(world.count("SELECT attempts::int8 FROM deliveries").await, 1, "recorded twice, it counts once");
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempts").await, 2, "every attempt is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_410_of_an_address_that_was_changed_meanwhile_disables_nothing() {
    let world = World::new().await;
    let id = endpoint(&world, "http://127.0.0.1:9/").await.endpoint.id;
    event(&world).await;
    let due = world.store().claim_deliveries(&room(&[]), LEASE).await.unwrap().remove(0);
    world.execute("UPDATE webhook_endpoints SET url = 'http://127.0.0.1:10/'").await;
    world.store().record_attempts(&[attempted(&due, AfterAttempt::Gone)]).await.unwrap();
    assert_eq!(disabled(&world, id).await, None);
    world.execute("UPDATE webhook_endpoints SET url = 'http://127.0.0.1:9/'").await;
    event(&world).await;
    let due = world.store().claim_deliveries(&room(&[]), LEASE).await.unwrap().remove(0);
    world.store().record_attempts(&[attempted(&due, AfterAttempt::Gone)]).await.unwrap();
    assert_eq!(disabled(&world, id).await.as_deref(), Some("gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_take_turns_and_give_each_endpoint_what_it_has_room_for() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(endpoint(&world, "http://127.0.0.1:9/").await.endpoint.id);
    }
    let [busy, failing, fresh] = ids[..] else { panic!() };
    sqlx::query("UPDATE webhook_endpoints SET failing_since = now() WHERE id = $1")
        .bind(failing.0)
        .execute(&world.pool)
        .await
        .unwrap();
    events(&world, 10).await;
    let store = world.store();
    let claim = async |room: &ClaimLimits<'_>| {
        let due = store.claim_deliveries(room, LEASE).await.unwrap();
        let of = |id: EndpointId| due.iter().filter(|delivery| delivery.endpoint_id == id).count();
        let counts = [of(busy), of(failing), of(fresh)];
        store.unclaim_deliveries(&due).await.unwrap();
        counts
    };
    assert_eq!(claim(&room(&[(busy, 5)])).await, [5, 1, 2], "one to whom nothing arrives gets one");
    assert_eq!(claim(&room(&[(busy, 0), (failing, 0)])).await, [0, 0, 2]);
    let narrow = [(busy, 9), (failing, 9), (fresh, 9)];
    let few = claim(&ClaimLimits { all: 9, ..room(&narrow) }).await;
    assert_eq!(few, [3, 3, 3], "the first of each, then the second of each");
    assert_eq!(
        claim(&ClaimLimits { failing: 0, ..room(&narrow) }).await,
        [9, 0, 9],
        "the failing ones' places are taken"
    );
    let limit = EndpointChange { rate_limit: RateChange::PerSecond(1), ..EndpointChange::default() };
    store.change_endpoint(live(&world), fresh, &limit).await.unwrap();
    assert_eq!(claim(&room(&[(busy, 0)])).await, [0, 1, 1], "an unknown endpoint's own limit holds from the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_slows_nobody_and_has_one_attempt_at_a_time_in_the_end() {
    let world = World::new().await;
    let hole = Receiver::answering(|_, _| Reply::Hang).await;
    let well = Receiver::start().await;
    let lost = endpoint(&world, &hole.url()).await.endpoint.id;
    endpoint(&world, &well.url()).await;
    events(&world, 100).await;
    let patience = Duration::from_secs(4);
    let _dispatcher = Running::start(&world, DispatcherSettings { timeout: patience, ..QUICK });
    let since = Instant::now();
    well.await_seen(100).await;
    assert!(since.elapsed() < patience, "before the first of the black hole's timed out: {:?}", since.elapsed());
    eventually("time-outs are recorded as such", SOON, async || {
        world.count("SELECT count(*) FROM delivery_attempts WHERE error = 'timeout' AND status IS NULL").await >= 3
    })
    .await;
    assert!(hole.seen().len() <= 5, "two at first, then one after the other: {}", hole.seen().len());
    let found = world.store().find_endpoint(live(&world), lost).await.unwrap().unwrap();
    assert!(found.failing_since.is_some());
}

/// Resolves to a public address on the first query, and to this machine afterwards.
struct Rebinding(AtomicUsize);

impl Lookup for Rebinding {
    fn lookup(&self, name: &str) -> LookupFuture {
        if name != "rebinding.example" {
            return Box::pin(std::future::ready(Err(io::Error::other("no such name"))));
        }
        let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
        let address: IpAddr = if first { [1, 1, 1, 1].into() } else { [127, 0, 0, 1].into() };
        Box::pin(std::future::ready(Ok(vec![address])))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_rebinds_to_this_machine_is_refused_at_delivery() {
    let world = World::new().await;
    let lookup = Arc::new(Rebinding(AtomicUsize::new(0)));
    let url = "https://rebinding.example:8443/hook";
    let guard = Guard::strict();
    assert!(guard.check(url).is_ok(), "registered in good faith");
    let seen = lookup.lookup("rebinding.example").await.unwrap();
    assert!(seen.iter().all(|address| visavis::net::address::is_public(*address)));
    endpoint(&world, url).await;
    // A URL that got into the database in another way is refused too.
    endpoint(&world, "http://127.0.0.1:9/").await;
    event(&world).await;
    let client = Client::with_lookup(guard, Arc::clone(&lookup) as Arc<dyn Lookup>).unwrap();
    let _dispatcher = Running::with(&world, QUICK, client);
    await_attempts(&world, 2).await;
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempts WHERE error = 'refused_target'").await, 2);
    assert_eq!(lookup.0.load(Ordering::SeqCst), 2, "the dispatcher looked once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_and_nobody_follows_it() {
    let world = World::new().await;
    let inside = Receiver::start().await;
    let target = inside.url();
    let receiver = Receiver::answering(move |_, _| Reply::With(302, "location", target.clone())).await;
    endpoint(&world, &receiver.url()).await;
    event(&world).await;
    let dispatcher = Running::start(&world, QUICK);
    await_attempts(&world, 1).await;
    dispatcher.stop().await;
    assert_eq!(world.count("SELECT status::int8 FROM delivery_attempts").await, 302);
    assert_eq!(world.count("SELECT count(*) FROM deliveries WHERE state = 'pending'").await, 1);
    assert!(inside.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_called_no_more_often_than_its_owner_allows() {
    const RATE: i32 = 20;
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let id = endpoint(&world, &receiver.url()).await.endpoint.id;
    let limit = EndpointChange { rate_limit: RateChange::PerSecond(RATE), ..EndpointChange::default() };
    world.store().change_endpoint(live(&world), id, &limit).await.unwrap();
    events(&world, 60).await;
    let since = Instant::now();
    let _dispatcher = Running::start(&world, QUICK);
    receiver.await_seen(60).await;
    // The deliveries of the first second come immediately.
    assert!(since.elapsed() >= Duration::from_millis(1950), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_or_disabled_on_the_way_harms_no_one() {
    let world = World::new().await;
    let slow = Receiver::answering(|_, _| Reply::Hang).await;
    let first = endpoint(&world, &slow.url()).await.endpoint.id;
    let second = endpoint(&world, &slow.url()).await.endpoint.id;
    event(&world).await;
    let dispatcher = Running::start(&world, QUICK);
    slow.await_seen(2).await;
    assert!(world.store().delete_endpoint(live(&world), first).await.unwrap());
    let off = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    assert!(world.store().change_endpoint(live(&world), second, &off).await.unwrap());
    dispatcher.stop().await;
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempts").await, 1, "of the one that is there");
    assert_eq!(world.count("SELECT count(*) FROM deliveries WHERE state = 'failed'").await, 1, "given up by request");
    assert_eq!(world.store().insert_test_event(live(&world), second).await.unwrap(), Written::Disabled);
    assert_eq!(world.store().insert_test_event(live(&world), first).await.unwrap(), Written::NoSuchEndpoint);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_repeats_what_it_was_told_is_erased_with_the_job() {
    let world = World::new().await;
    let receiver = Receiver::answering(|_, seen| Reply::Body(200, seen.body.clone())).await;
    endpoint(&world, &receiver.url()).await;
    let mut body = request("face_match", photos::blank(), photos::blank());
    body["metadata"] = json!({ "case": "case-90210" });
    let job = world.submit(None, body.to_string().as_bytes()).await.unwrap().summary.id;
    finish(&world, job).await;
    let dispatcher = Running::start(&world, QUICK);
    await_state(&world, "delivered", 1).await;
    dispatcher.stop().await;
    let needle = [Needle::text("metadata", "case-90210")];
    let found = search::database(&world.pool, &needle).await;
    assert!(found.iter().any(|column| column.contains("delivery_attempts.answer")), "{found:?}");
    let images = visavis::images::Images::new(world.store().clone(), world.intake.media.clone(), "http://localhost");
    images.unwrap().erase_job(live(&world), job).await.unwrap().expect("the job is there");
    assert_eq!(search::database(&world.pool, &needle).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_for_an_endpoint_while_it_was_disabled_is_given_up() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    endpoint(&world, &receiver.url()).await;
    event(&world).await;
    world.execute("UPDATE webhook_endpoints SET disabled = 'gone', disabled_at = now()").await;
    let _dispatcher = Running::start(&world, QUICK);
    await_state(&world, "failed", 1).await;
    assert!(receiver.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_dispatcher_ends_what_it_began_and_records_it() {
    let world = World::new().await;
    let receiver = Receiver::answering(|_, _| Reply::Hang).await;
    endpoint(&world, &receiver.url()).await;
    event(&world).await;
    let dispatcher = Running::start(&world, QUICK);
    receiver.await_seen(1).await;
    dispatcher.stop().await;
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempts WHERE error = 'timeout'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_were_over_long_ago_are_forgotten() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    endpoint(&world, &receiver.url()).await;
    event(&world).await;
    let dispatcher = Running::start(&world, QUICK);
    await_state(&world, "delivered", 1).await;
    dispatcher.stop().await;
    event(&world).await;
    world.pass(KEPT.saturating_sub(Duration::from_mins(1))).await;
    erase_due(world.store(), &world.intake.media).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 2, "a minute is left");
    world.pass(Duration::from_mins(1)).await;
    erase_due(world.store(), &world.intake.media).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 1, "what is pending stays");
    assert_eq!(world.count("SELECT count(*) FROM delivery_attempts").await, 0);
}
