//! Outsiders who guess passwords: they neither keep a reviewer from signing in, nor lock a known browser out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::desk::{Desk, PASSWORD};
use crate::support::{World, eventually};

const SOON: Duration = Duration::from_mins(1);
/// More than wait in both lanes together.
const SOCKETS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_guesses_keeps_neither_a_known_browser_nor_another_address_from_signing_in() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    world.reviewer("bob").await;
    let known = Desk::signed_in(&process, "ada").await;
    let refused = Arc::new(AtomicUsize::new(0));
    let outsider = Arc::new(Desk::of(&process));
    #[expect(clippy::disallowed_methods, reason = "no tracker in a test")]
    let flood: Vec<_> = (0..SOCKETS)
        .map(|socket| {
            let (outsider, refused) = (Arc::clone(&outsider), Arc::clone(&refused));
            let login = if socket % 2 == 0 { "ada".to_owned() } else { format!("nobody-{socket}") };
            tokio::spawn(async move {
                loop {
                    let page = outsider.sign_in(&login, "wrong").await;
                    assert!(matches!(page.status, 401 | 503), "{page:?}");
                    if page.status == 503 {
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
        })
        .collect();
    eventually("the flood is refused", SOON, async || refused.load(Ordering::Relaxed) > SOCKETS).await;
    let locked = "SELECT count(*) FROM reviewers WHERE login = 'ada' AND locked_until > now()";
    eventually("ada is locked out of other browsers", SOON, async || world.count(locked).await == 1).await;

    // From the address of the flood.
    let ada = known.signed_out();
    assert_eq!(ada.sign_in("ada", PASSWORD).await.status, 303);
    assert_eq!(ada.get("/desk/queue").await.status, 200);
    let new_password = [("current", PASSWORD), ("new", "other plain words"), ("again", "other plain words")];
    assert_eq!(ada.post("/desk/account", &new_password).await.status, 200, "during the lock of other browsers");
    // In a browser that nobody has signed in from.
    let bob = Desk::at(&process, IpAddr::from([127, 0, 0, 2]));
    assert_eq!(bob.sign_in("bob", PASSWORD).await.status, 303);
    for task in &flood {
        task.abort();
    }
    for ended in join_all(flood).await {
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_in_a_known_browser_lock_that_browser_alone() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    world.reviewer("bob").await;
    let (first, second) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "ada").await);
    let (first, second, new) = (first.signed_out(), second.signed_out(), Desk::of(&process));
    for _ in 0..5 {
        assert_eq!(first.sign_in("ada", "wrong").await.status, 401);
    }
    assert_eq!(first.sign_in("ada", PASSWORD).await.status, 401, "the browser is locked out");
    assert_eq!(second.sign_in("ada", PASSWORD).await.status, 303);
    assert_eq!(new.sign_in("ada", PASSWORD).await.status, 303);
    assert_eq!(world.count("SELECT count(*) FROM review_trail WHERE action = 'locked_out'").await, 1);
    // The cookie of one login is worth nothing for another, nor is a forged one.
    for cookie in [second.cookie(), second.cookie().replace('A', "B")] {
        let stranger = Desk::of(&process);
        for _ in 0..5 {
            let form = [("login", "bob"), ("password", "wrong"), ("next", "")];
            let request = stranger.request(reqwest::Method::POST, "/desk/sign-in").header("cookie", cookie.clone());
            assert_eq!(stranger.send(crate::support::desk::with_form(request, &form)).await.status, 401);
        }
    }
    assert_eq!(Desk::of(&process).sign_in("bob", PASSWORD).await.status, 401, "locked out everywhere");
    assert_eq!(world.count("SELECT count(*) FROM reviewer_devices").await, 1);
    world.pass(Duration::from_mins(15)).await;
    assert_eq!(first.sign_in("ada", PASSWORD).await.status, 303);
    assert_eq!(world.count("SELECT count(*) FROM reviewer_devices").await, 0, "the right password ends the series");
}
