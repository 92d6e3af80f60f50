//! Promise: a request that is sent many times under one key, in parallel or not, makes one job.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::StatusCode;
use visavis::intake::Error;

use crate::support::api::answer;
use crate::support::world::request;
use crate::support::{Api, World, blobs, photos};

const PARALLEL: usize = 64;
/// Many rounds run in this process. A few rounds over HTTP show that the key is passed on.
const ROUNDS: usize = 100;
const HTTP_ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_parallel_submissions_of_one_key_make_one_job_a_hundred_times() {
    let world = World::without_broker().await;
    let body = request("likeness_check", photos::blank(), photos::blank()).to_string();
    for round in 0..ROUNDS {
        let key = format!("key {round}");
        let answers = join_all((0..PARALLEL).map(|_| world.submit(Some(&key), body.as_bytes()))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let jobs: HashSet<_> = answers.iter().map(|answer| answer.summary.id).collect();
        assert_eq!(jobs.len(), 1, "{key}");
        assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1, "{key}");
    }
    assert_eq!(rows(&world).await, [100, 200, 100]);
    assert_eq!(blobs::count(&world.blobs), 200, "no image without a job is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_parallel_posts_of_one_key_make_one_job_and_another_body_is_a_conflict() {
    let world = World::new().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let body = request("likeness_check", photos::blank(), photos::blank());
    for round in 0..HTTP_ROUNDS {
        let key = format!("key {round}");
        let post = || answer(api.post("/v1/jobs", &body).header("idempotency-key", &key));
        let answers = join_all((0..PARALLEL).map(|_| post())).await;
        assert!(answers.iter().all(|answer| answer.status == StatusCode::ACCEPTED), "{answers:?}");
        let bodies: HashSet<_> = answers.iter().map(|answer| answer.body.to_string()).collect();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        assert_eq!(answers.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count(), 1);
    }
    let other = request("face_match", photos::blank(), photos::blank());
    let (status, problem) = api.submit(Some("key 0"), &other).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &"idempotency_conflict".into()));
    let other = world.make_tenant("other", None).await;
    let foreign = answer(Api::of(&process, &other.api_key).post("/v1/jobs", &body).header("idempotency-key", "key 0"));
    assert_eq!(foreign.await.header("idempotent-replayed"), "", "a key belongs to its organisation");
    assert_eq!(rows(&world).await, [4, 8, 4]);
    assert_eq!(blobs::count(&world.blobs), 8, "no image without a job is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_bodies_that_race_under_one_key_one_wins_and_every_other_is_told() {
    let world = World::without_broker().await;
    let bodies =
        ["likeness_check", "face_match"].map(|kind| request(kind, photos::blank(), photos::blank()).to_string());
    let answers = join_all((0..PARALLEL).map(|i| world.submit(Some("key"), bodies[i % 2].as_bytes()))).await;
    let winner = answers.iter().flatten().next().expect("somebody wins").summary.clone();
    for (i, answer) in answers.iter().enumerate() {
        match answer {
            Ok(accepted) => {
                assert_eq!((accepted.summary.id, i % 2), (winner.id, usize::from(winner.kind == "face_match")));
            }
            Err(Error::Conflict(fault)) => {
                assert_eq!((fault.code, i % 2), ("idempotency_conflict", usize::from(winner.kind != "face_match")));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(rows(&world).await, [1, 2, 1]);
    assert_eq!(blobs::count(&world.blobs), 2);
}

/// The numbers of jobs, images and doorbells.
async fn rows(world: &World) -> [i64; 3] {
    [
        world.count("SELECT count(*) FROM jobs").await,
        world.count("SELECT count(*) FROM images").await,
        world.count("SELECT count(*) FROM outbox WHERE kind = 'doorbell'").await,
    ]
}
