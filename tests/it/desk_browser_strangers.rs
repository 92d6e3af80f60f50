//! Text that strangers wrote is only text on the desk's pages: in a real browser none of it runs, wherever it appears.

use serde_json::json;
use thirtyfour::Key;
use visavis::domain::ids::JobId;
use visavis::store::jobs::Change;

use crate::support::desk::PASSWORD;
use crate::support::seat::Seat;
use crate::support::world::request;
use crate::support::{Browser, World, photos};

/// Tries to break out of an attribute, an element and a script.
const EVIL: &str = "\"'></textarea></title><script>xss=1</script><img src=x onerror=xss=1><svg onload=xss=1>{{7*7}}";
const EVIL_IN_URL: &str =
    "%22%27%3E%3C/select%3E%3Cscript%3Exss=1%3C/script%3E%3Cimg%20src=x%20onerror=xss=1%3E%3Csvg%20onload=xss=1%3E";

/// Nothing ran, and the content security policy had nothing to stop.
async fn assert_inert(seat: &Seat, refused: &[u16]) {
    assert_eq!(seat.run("return window.xss === undefined", vec![]).await, json!(true), "{}", seat.url().await);
    assert_eq!(seat.count("img[src=x], svg[onload], main script, header script").await, 0, "{}", seat.url().await);
    seat.assert_quiet(refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_clients_and_reviewers_is_shown_literally_and_never_runs() {
    let (world, process, api) = World::with_api().await;
    let mut body = request("face_match", photos::small_face(), photos::small_face());
    let name: String = EVIL.chars().skip(2).take(64).collect();
    body["metadata"] = json!({ &name: EVIL, "link": "javascript:xss=1" });
    let (status, job) = api.submit(None, &body).await;
    assert!(status.is_success(), "{job}");
    let case = JobId(job["id"].as_str().unwrap().parse().unwrap());
    world.end_in_doubt(case, 68.0).await;
    let other = world.case(70.0).await;
    let ada = world.lead("ada").await;
    world.lead("bob").await;
    let update = sqlx::query("UPDATE reviewers SET name = $1 WHERE login = 'ada'").bind(EVIL);
    update.execute(&world.pool).await.unwrap();

    let browser = Browser::start().await;
    let seat = Seat::signed_in(&browser, &process, "ada").await;
    assert_eq!(seat.text(".menu-name").await, EVIL);
    seat.press("s").await;
    seat.await_case(case).await;
    seat.await_pictures().await;
    let metadata = "const rows = [...document.querySelectorAll('[aria-labelledby=metadata-heading] dl div')];
        return rows.map((row) => row.innerText.split('\\n'))";
    let shown = seat.run(metadata, vec![]).await.to_string();
    for text in [json!(name), json!(EVIL), json!("javascript:xss=1")] {
        assert!(shown.contains(&text.to_string()), "{text}: {shown}");
    }
    assert_inert(&seat, &[]).await;

    // A note is typed, survives the end of the session, and appears among the decisions.
    seat.await_next(other).await;
    seat.press("n").await;
    seat.press(EVIL).await;
    seat.press(Key::Escape).await;
    world.execute("UPDATE reviewer_sessions SET seen_at = seen_at - interval '31 minutes'").await;
    seat.press("a").await;
    seat.wait_visible("#session").await;
    seat.click("#session [data-action=sign-in]").await;
    seat.wait_url("/desk/sign-in").await;
    seat.sign_in("ada", PASSWORD).await;
    seat.await_case(case).await;
    assert_eq!(seat.value("#note").await, EVIL);
    assert_inert(&seat, &[401]).await;
    seat.press("a").await;
    world.await_case_state(case, "settling").await;
    world.await_settled(case, "decided").await;
    seat.open_case(case).await;
    assert_eq!(seat.text("[data-revision='1'] blockquote").await, EVIL);

    // The same with the note of a correction.
    seat.click(".correct summary").await;
    seat.click(".correct input[value=rejected]").await;
    seat.click(".correct input[value=not_live]").await;
    seat.fill("#note", EVIL).await;
    seat.click("[data-action=correct]").await;
    seat.wait_text("[data-revision='2'] blockquote", EVIL).await;
    assert_inert(&seat, &[]).await;
    for path in ["/desk/history", "/desk/dashboard", "/desk/account"] {
        seat.open(path).await;
        seat.wait_text("main", EVIL).await;
        assert_inert(&seat, &[]).await;
    }

    // Names also arrive by live news and in the list of colleagues.
    let bob = Seat::signed_in(&browser, &process, "bob").await;
    bob.wait_text("#live", "Live").await;
    assert_eq!(world.store().hand_back_case(&ada, other, false).await.unwrap(), Change::Done);
    bob.wait_text(&format!("[data-row='{other}'] [data-cell=holder]"), "nobody").await;
    world.take(&ada, other).await;
    bob.wait_text(&format!("[data-row='{other}'] [data-cell=holder]"), EVIL).await;
    assert_inert(&bob, &[]).await;
    bob.open_case(other).await;
    bob.click(".assign summary").await;
    bob.wait_text("#reviewer", EVIL).await;
    bob.wait_text("#decide", EVIL).await;
    assert_inert(&bob, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_in_addresses_and_logins_is_shown_literally_or_not_at_all() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let case = world.case(68.0).await;
    let browser = Browser::start().await;
    let seat = Seat::at(&browser, &process).await;
    seat.open(&format!("/desk/sign-in?next={EVIL_IN_URL}&ended={EVIL_IN_URL}")).await;
    assert_inert(&seat, &[]).await;
    seat.sign_in(EVIL, EVIL).await;
    seat.wait_visible("[role=alert]").await;
    assert_eq!(seat.value("#login").await, EVIL);
    assert_inert(&seat, &[401]).await;
    for next in ["javascript:xss=1", "data:text/html,%3Cscript%3Exss=1%3C/script%3E", "//evil.example/desk/queue"] {
        seat.open(&format!("/desk/sign-in?next={next}")).await;
        assert_eq!(seat.value("[name=next]").await, "/desk/queue", "{next}");
    }
    seat.sign_in("ada", PASSWORD).await;
    seat.wait_visible(&format!("[data-row='{case}']")).await;
    for (path, refused) in [
        (format!("/desk/queue?risk={EVIL_IN_URL}&state={EVIL_IN_URL}&held={EVIL_IN_URL}"), None),
        (format!("/desk/queue?age={EVIL_IN_URL}&after={EVIL_IN_URL}&none={EVIL_IN_URL}"), None),
        (format!("/desk/history?by={EVIL_IN_URL}&before={EVIL_IN_URL}&decision={EVIL_IN_URL}"), None),
        (format!("/desk/cases/{EVIL_IN_URL}").replace("%3C/", "%3C%2F"), Some(404)),
        (format!("/desk/cases/{case}?notice={EVIL_IN_URL}#{EVIL_IN_URL}"), None),
    ] {
        seat.open(&path).await;
        seat.wait_visible("h1").await;
        assert_inert(&seat, refused.as_slice()).await;
    }
    // After the session ends, the link to sign in contains the page's address.
    seat.open(&format!("/desk/queue?risk={EVIL_IN_URL}")).await;
    world.execute("UPDATE reviewer_sessions SET seen_at = seen_at - interval '31 minutes'").await;
    seat.run("desk.send('/desk/next').catch(() => {})", vec![]).await;
    seat.wait_visible("#session").await;
    seat.click("#session [data-action=sign-in]").await;
    seat.wait_url("/desk/sign-in?next=%2Fdesk%2Fqueue%3Frisk").await;
    seat.sign_in("ada", PASSWORD).await;
    seat.wait_url("/desk/queue?risk=").await;
    assert_inert(&seat, &[401]).await;
}
