//! The parking table: what a loop sets aside is counted, listed, and taken again later or when an operator says so.

use std::time::Duration;

use serde_json::{Value, json};
use visavis::store::parked::WorkLoop;

use crate::support::World;

async fn run(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(&[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn an_item_that_fails_again_waits_twice_as_long_up_to_a_day() {
    let world = World::without_broker().await;
    for minutes in [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
        world.store().park(WorkLoop::Erasure, "images/a/b", None, "access denied").await.unwrap();
        let wait = world.count("SELECT extract(epoch FROM retry_at - last_at)::bigint FROM parked_items").await;
        assert_eq!(wait, minutes * 60);
    }
    assert_eq!(world.count("SELECT count FROM parked_items").await, 11);
}

#[tokio::test]
async fn operators_list_parked_items_and_give_them_back_to_their_loop() {
    let world = World::without_broker().await;
    let store = world.store();
    store.park(WorkLoop::Erasure, "images/a/b", Some(world.tenant.id), "access denied").await.unwrap();
    store.park(WorkLoop::Sweeper, "a job\0", None, "the column params cannot be read").await.unwrap();
    world.execute("UPDATE parked_items SET loop = 'of_a_newer_version' WHERE loop = 'sweeper'").await;

    let listed = run(&world, &["parked", "list"]).await;
    let seen = |at: usize| (&listed["parked"][at]["loop"], &listed["parked"][at]["organisation"]);
    assert_eq!(seen(0), (&json!("of_a_newer_version"), &Value::Null));
    assert_eq!(seen(1), (&json!("erasure"), &json!("acme")));
    assert_eq!(listed["parked"][1]["reason"], "access denied");
    assert_eq!(listed["parked"].as_array().unwrap().len(), 2);
    let table = String::from_utf8(world.run(&["parked", "list", "--limit", "1"]).await.stdout).unwrap();
    assert_eq!(table.lines().count(), 2, "a heading and one item: {table}");

    let items = ["images/a/b".to_owned(), "images/a/c".to_owned()];
    assert_eq!(store.list_parked_among(WorkLoop::Erasure, &items).await.unwrap(), items[..1]);
    run(&world, &["parked", "retry", "erasure", "images/a/b"]).await;
    assert!(store.list_parked_among(WorkLoop::Erasure, &items).await.unwrap().is_empty());
    run(&world, &["parked", "forget", "erasure", "images/a/b"]).await;
    let output = world.run(&["parked", "forget", "erasure", "images/a/b"]).await;
    assert!(!output.status.success());
    assert_eq!(world.count("SELECT count(*) FROM parked_items").await, 1);
}

#[tokio::test]
async fn an_item_that_did_not_fail_again_for_a_day_is_forgotten() {
    let world = World::without_broker().await;
    world.store().park(WorkLoop::Erasure, "well", None, "access denied").await.unwrap();
    world.pass(Duration::from_hours(25)).await;
    world.store().park(WorkLoop::Erasure, "ill", None, "access denied").await.unwrap();
    assert_eq!(world.store().forget_recovered(10).await.unwrap(), 1);
    assert_eq!(world.store().list_parked(None, 10).await.unwrap()[0].item, "ill");
}
