//! A reviewer's day in a real browser: signing in, deciding by keys, undoing, and two reviewers who want the same case.

use serde_json::json;
use thirtyfour::Key;
use uuid::Uuid;
use visavis::domain::review::UNDO;
use visavis::store::jobs::Change;

use crate::support::desk::{PASSWORD, opinion};
use crate::support::seat::Seat;
use crate::support::{Browser, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_a_right_one_leads_to_the_page_that_was_asked_for() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    world.reviewer("ada").await;
    let browser = Browser::start().await;
    let ada = Seat::at(&browser, &process).await;
    ada.open("/desk/queue?held=free").await;
    ada.wait_url("/desk/sign-in?").await;
    assert!(ada.has_focus("#login").await);
    ada.sign_in("ada", "a few plain wordz").await;
    ada.wait_text("[role=alert]", "The login or the password is wrong.").await;
    assert_eq!((ada.value("#login").await.as_str(), ada.value("#password").await.as_str()), ("ada", ""));
    assert!(ada.has_focus("#password").await, "the login stays, and the password must be typed again");
    ada.assert_quiet(&[401]).await;

    ada.press(PASSWORD).await;
    ada.press(Key::Enter).await;
    ada.wait_url("/desk/queue?held=free").await;
    ada.wait_text(&format!("[data-row='{case}']"), "68.00").await;
    assert_eq!(ada.text(".menu-name").await, "ADA");
    let cookies = ada.cookies().await;
    assert!(cookies.iter().all(|cookie| cookie.http_only == Some(true)), "{cookies:?}");
    assert_eq!(ada.run("return document.cookie + JSON.stringify(localStorage)", vec![]).await, json!("{}"));

    ada.click(".menu summary").await;
    ada.click("[data-action=sign-out]").await;
    ada.wait_url("/desk/sign-in").await;
    ada.back().await;
    ada.wait_url("/desk/sign-in?ended=1").await;
    ada.assert_quiet(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_decide_case_after_case_and_the_next_case_is_shown_at_once() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let mut cases = Vec::new();
    for i in 0..11 {
        cases.push(world.case(61.0 + f64::from(i)).await);
    }
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.press("s").await;
    ada.await_case(cases[0]).await;
    for (i, next) in cases.iter().skip(1).enumerate() {
        ada.await_next(*next).await;
        let words = if i % 2 == 0 {
            ada.press("a").await;
            "Approved. Next: Case "
        } else {
            for key in ["r", "1", "\u{e007}"] {
                ada.press(key).await;
            }
            "Rejected. Next: Case "
        };
        ada.await_case(*next).await;
        ada.await_announced(words).await;
        assert!(ada.url().await.ends_with(&next.to_string()) && ada.has_focus("#case-heading").await);
    }
    ada.assert_quiet(&[]).await;

    let script = "return performance.getEntriesByName('desk:next').map((entry) => entry.duration)";
    let mut measures: Vec<f64> = serde_json::from_value(ada.run(script, vec![]).await).unwrap();
    assert_eq!(measures.len(), 10, "{measures:?}");
    measures.sort_by(f64::total_cmp);
    let (median, longest) = (f64::midpoint(measures[4], measures[5]), measures[9]);
    eprintln!("desk:next, key press to next case, 10 decisions: median {median:.1} ms, longest {longest:.1} ms");

    world.pass(UNDO).await;
    for case in &cases[..10] {
        world.await_case_state(*case, "decided").await;
    }
    let query = "SELECT job_id, choice, reasons FROM review_decisions ORDER BY job_id";
    let written: Vec<(Uuid, String, Vec<String>)> = sqlx::query_as(query).fetch_all(&world.pool).await.unwrap();
    let expected = cases[..10].iter().enumerate().map(|(i, case)| match i % 2 {
        0 => (case.0, "approved".to_owned(), Vec::new()),
        _ => (case.0, "rejected".to_owned(), vec!["different_person".to_owned()]),
    });
    assert_eq!(written, expected.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_pressed_twice_or_held_down_decides_one_case() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let cases = [world.case(66.0).await, world.case(67.0).await, world.case(68.0).await];
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.press("s").await;
    ada.await_case(cases[0]).await;
    ada.await_next(cases[1]).await;
    // The browser gets all four presses before it can show the next case.
    ada.press("aaaa").await;
    ada.await_case(cases[1]).await;
    world.await_case_state(cases[0], "settling").await;
    assert_eq!(world.case_state(cases[1]).await, "waiting");
    ada.await_next(cases[2]).await;
    let repeat = "const held = { key: 'a', repeat: true, bubbles: true };
        for (let i = 0; i < 20; i += 1) document.body.dispatchEvent(new KeyboardEvent('keydown', held))";
    ada.run(repeat, vec![]).await;
    assert_eq!(ada.count(&format!("[data-case='{}']", cases[1])).await, 1);
    assert_eq!(world.case_state(cases[1]).await, "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_undone_in_time_was_never_made_and_its_case_is_on_the_screen_again() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let [first, second] = [world.case(66.0).await, world.case(67.0).await];
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.press("s").await;
    ada.await_case(first).await;
    ada.await_next(second).await;
    ada.press("a").await;
    ada.await_case(second).await;
    ada.wait_text("#toast", "Approved.").await;
    world.await_case_state(first, "settling").await;
    ada.press("u").await;
    ada.await_case(first).await;
    ada.await_announced("Undone.").await;
    assert_eq!(world.case_state(first).await, "waiting");
    world.pass(UNDO).await;
    assert_eq!(world.store().settle_decisions(10).await.unwrap(), 0);
    assert_eq!(world.count("SELECT count(*) FROM review_decisions").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM events WHERE type = 'review.decided'").await, 0);
    assert_eq!(ada.text(".case-meta [data-cell=holder]").await, "held by you");

    // The case that stepped aside comes next. After the last case, the queue page can undo, too.
    ada.await_next(second).await;
    ada.press("a").await;
    ada.await_case(second).await;
    ada.press("a").await;
    ada.wait_url("/desk/queue").await;
    ada.wait_text("#toast", "Approved.").await;
    ada.press_with(Key::Control, 'z').await;
    ada.await_case(second).await;
    assert_eq!(world.case_state(second).await, "waiting");

    // An undo that comes too late is refused in words.
    ada.press("a").await;
    ada.wait_url("/desk/queue").await;
    ada.wait_visible("#toast").await;
    world.await_settled(second, "decided").await;
    ada.press("u").await;
    ada.wait_text("#toast", "Not undone. You have no decision here that can still be undone.").await;
    assert_eq!(world.count("SELECT count(*) FROM review_decisions").await, 2);
    ada.assert_quiet(&[409]).await;
}

/// Makes the page's next decisions fail with this status and detail; a status of 0 lets them through again.
async fn refuse_decisions(seat: &Seat, status: u16, detail: &str) {
    let script = "window.send ??= window.fetch;
        const [status, detail] = arguments;
        const refusal = () => Promise.resolve(new Response(JSON.stringify({ detail }), { status }));
        window.fetch = (path, options) =>
            status && path.endsWith('/decision') ? refusal() : window.send(path, options)";
    seat.run(script, vec![json!(status), json!(detail)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_not_saved_brings_its_case_back() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let [first, second] = [world.case(66.0).await, world.case(67.0).await];
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.press("s").await;
    ada.await_case(first).await;
    ada.await_next(second).await;

    // After a passing fault the case can be decided again, and the other one steps aside.
    refuse_decisions(&ada, 503, "Try again.").await;
    ada.press("a").await;
    ada.wait_text("[role=alert]", "Not saved. Try again.").await;
    ada.await_case(first).await;
    ada.await_next(second).await;
    assert_eq!(ada.attribute("[data-action=approve]", "disabled").await, None);

    // After a conflict it is closed.
    refuse_decisions(&ada, 409, "BOB has this case.").await;
    ada.press("a").await;
    ada.wait_text("[role=alert]", "Not saved. BOB has this case.").await;
    ada.await_case(first).await;
    ada.await_next(second).await;
    assert_eq!(ada.attribute("[data-action=approve]", "disabled").await.as_deref(), Some("true"));
    refuse_decisions(&ada, 0, "").await;
    ada.press("a").await;
    ada.press("r").await;
    assert!(!ada.is_visible("[data-hint]").await, "a closed case cannot be rejected");
    for case in [first, second] {
        assert_eq!(world.case_state(case).await, "waiting");
    }
    ada.assert_quiet(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_that_take_one_case_get_one_winner_and_the_other_learns_who() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    world.reviewer("bob").await;
    let browser = Browser::start().await;
    let (ada, bob) =
        tokio::join!(Seat::signed_in(&browser, &process, "ada"), Seat::signed_in(&browser, &process, "bob"));
    for _ in 0..3 {
        let case = world.case(68.0).await;
        tokio::join!(ada.open_case(case), bob.open_case(case));
        // Both pages click at one moment of their clock. A later click could find the button gone: live news would
        // have said who has the case.
        let moment = ada.run("return Date.now() + 500", vec![]).await;
        let take = "const button = document.querySelector('[data-action=take]');
                    setTimeout(() => button.click(), arguments[0] - Date.now());";
        tokio::join!(ada.run(take, vec![moment.clone()]), bob.run(take, vec![moment]));
        let over = "document.querySelector('[data-decide]') || document.querySelector('.door h1')";
        tokio::join!(ada.wait_script(over), bob.wait_script(over));
        let holder: String = world
            .scalar("SELECT login FROM review_cases JOIN reviewers ON reviewers.id = holder WHERE job_id = $1", case)
            .await;
        let (winner, loser) = if holder == "ada" { (&ada, &bob) } else { (&bob, &ada) };
        assert_eq!(winner.text(".case-meta [data-cell=holder]").await, "held by you");
        assert_eq!(loser.text("h1").await, "This case has changed");
        loser.wait_text("main", &format!("{} has this case.", holder.to_uppercase())).await;
        loser.assert_quiet(&[409]).await;
        winner.assert_quiet(&[]).await;
        winner.press("h").await;
        winner.wait_url("/desk/queue").await;
        // An empty queue reloads when the next case comes. That would cancel the opening of its page.
        winner.open("/desk/account").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_queue_and_an_open_case_follow_what_others_do() {
    let (world, process, _api) = World::with_api().await;
    let ada = world.reviewer("ada").await;
    world.reviewer("bob").await;
    let [case, other] = [world.case(66.0).await, world.case(67.0).await];
    let browser = Browser::start().await;
    let (at_queue, at_case) =
        tokio::join!(Seat::signed_in(&browser, &process, "bob"), Seat::signed_in(&browser, &process, "bob"));
    at_case.open_case(case).await;
    for window in [&at_queue, &at_case] {
        window.wait_text("#live", "Live").await;
        window.run("window.loaded = 'once'", vec![]).await;
    }
    let (row, holder) = (format!("[data-row='{case}']"), format!("[data-row='{case}'] [data-cell=holder]"));
    assert_eq!(at_queue.text(&holder).await, "nobody");
    world.take(&ada, case).await;
    at_queue.wait_text(&holder, "ADA").await;
    at_case.wait_text(".case-meta [data-cell=holder]", "held by ADA").await;

    let third = world.case(68.0).await;
    at_queue.wait_text(".fresh", "1 new case: show").await;
    let opinion = opinion("approved", &[], "");
    assert_eq!(world.store().decide_case(&ada, case, &opinion, false).await.unwrap(), Change::Done);
    at_queue.wait_text(&row, "Being decided").await;
    at_case.wait_text(".banner", "This case has changed: Being decided.").await;
    world.pass(UNDO).await;
    at_queue.wait_gone(&row).await;
    at_case.wait_text(".case-meta [data-cell=state]", "Decided").await;
    for window in [&at_queue, &at_case] {
        assert_eq!(window.run("return window.loaded", vec![]).await, json!("once"), "the page was not reloaded");
        window.assert_quiet(&[]).await;
    }
    at_queue.click("[data-action=show-new]").await;
    at_queue.wait_visible(&format!("[data-row='{third}']")).await;
    at_queue.wait_visible(&format!("[data-row='{other}']")).await;

    // A lead assigns the case to somebody else: the page that has it open can no longer decide it.
    at_case.open_case(other).await;
    at_case.click("[data-action=take]").await;
    at_case.wait_visible("[data-decide]").await;
    at_case.await_case(other).await;
    at_case.wait_text("#live", "Live").await;
    let zoe = world.lead("zoe").await;
    assert_eq!(world.store().assign_case(&zoe, other, ada.id).await.unwrap(), Change::Done);
    at_case.wait_text("[role=alert]", "ADA has this case now. You cannot decide it.").await;
    assert_eq!(at_case.attribute("[data-action=approve]", "disabled").await.as_deref(), Some("true"));
    at_case.press("a").await;
    assert_eq!(world.case_state(other).await, "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_survives_the_end_of_the_session() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let [first, second] = [world.case(66.0).await, world.case(67.0).await];
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.press("s").await;
    ada.await_case(first).await;
    ada.await_next(second).await;
    ada.press("n").await;
    // In the note, shortcut keys are just letters.
    ada.press("a bar, a scar").await;
    ada.press(Key::Escape).await;
    world.execute("UPDATE reviewer_sessions SET seen_at = seen_at - interval '31 minutes'").await;
    ada.press("a").await;
    ada.wait_visible("#session").await;
    ada.await_case(first).await;
    assert_eq!(ada.value("#note").await, "a bar, a scar");
    assert_eq!(world.case_state(first).await, "waiting");
    ada.assert_quiet(&[401]).await;

    ada.click("#session [data-action=sign-in]").await;
    ada.wait_url("/desk/sign-in?").await;
    ada.sign_in("ada", PASSWORD).await;
    ada.await_case(first).await;
    assert_eq!(ada.value("#note").await, "a bar, a scar");
    ada.press("a").await;
    world.await_case_state(first, "settling").await;
    world.await_settled(first, "decided").await;
    assert_eq!(world.count("SELECT count(*) FROM review_decisions WHERE note = 'a bar, a scar'").await, 1);
}
