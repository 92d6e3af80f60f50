//! The case page in a real browser: pictures, reasons, corrections, second opinions, and forms without the script.

use serde_json::{Value, json};
use thirtyfour::Key;
use uuid::Uuid;
use visavis::domain::ids::ImageId;
use visavis::domain::image::Variant;
use visavis::domain::review::UNDO;
use visavis::keys::links::LIFETIME;

use crate::support::desk::{PASSWORD, opinion};
use crate::support::seat::Seat;
use crate::support::{Browser, World};

async fn set_rule(world: &World, four_eyes_fmr: f64) {
    let settings = json!({ "four_eyes_fmr": four_eyes_fmr });
    let update = sqlx::query("UPDATE tenants SET settings = settings || $1").bind(settings);
    update.execute(&world.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_picture_link_is_renewed_silently_and_an_erased_picture_says_so() {
    let (world, process, api) = World::with_api().await;
    world.reviewer("ada").await;
    let case = world.case(68.0).await;
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.press("s").await;
    ada.await_case(case).await;
    ada.await_pictures().await;

    let image: Uuid = world.scalar("SELECT id FROM images WHERE job_id = $1 AND role = 'probe'", case).await;
    let now: i64 = world.scalar("SELECT extract(epoch FROM now())::bigint FROM jobs WHERE id = $1", case).await;
    let links = visavis::keys::SignedLinks::new(world.intake.media.keyring(), "").unwrap();
    let expired = links.issue_path(world.tenant.id, ImageId(image), Variant::Whole, now - LIFETIME - 1).unwrap();
    let expire = "for (const picture of document.querySelectorAll('img[data-role]')) picture.src = arguments[0]";
    let fresh =
        format!("![...document.querySelectorAll('img[data-role]')].some((image) => image.src.endsWith('{expired}'))");
    // Twice, because a page may stay open longer than two links live.
    for _ in 0..2 {
        ada.run(expire, vec![json!(expired)]).await;
        ada.wait_script(&fresh).await;
        ada.await_pictures().await;
        assert_eq!(ada.count(".broken").await, 0);
        ada.assert_quiet(&[410]).await;
    }
    ada.screenshot("case_pictures_again").await;

    // The job is erased while the page is open: the case is closed, and no new link helps.
    let (status, body) = api.delete(&format!("/v1/jobs/{case}")).await;
    assert!(status.is_success(), "{body}");
    ada.wait_text("[role=alert]", "This case is no longer open: Erased.").await;
    ada.run(expire, vec![json!(expired)]).await;
    for side in ["reference", "probe"] {
        ada.wait_text(&format!("[data-side={side}] .broken.crop"), "This picture can't be shown: it was erased.").await;
    }
    ada.screenshot("case_pictures_erased").await;
    ada.click(".broken.crop button").await;
    ada.wait_text(".broken.crop", "it was erased.").await;
    ada.reload().await;
    ada.wait_text("[data-side=probe]", "This picture was erased.").await;
    assert_eq!(ada.count("img").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_wipe_blink_zoom_and_move_the_pictures() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let case = world.case(68.0).await;
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.open_case(case).await;
    ada.await_pictures().await;
    let mode = async || ada.attribute(".viewer", "data-mode").await.unwrap();
    ada.press("w").await;
    assert_eq!(mode().await, "wipe");
    ada.screenshot("case_wipe").await;
    ada.press("b").await;
    assert_eq!(mode().await, "blink");
    for side in ["probe", "reference"] {
        ada.wait_script(&format!("document.querySelector('.viewer').dataset.blink === '{side}'")).await;
    }
    ada.press("b").await;
    assert_eq!(mode().await, "side");
    ada.press("++").await;
    assert_eq!(ada.text("[data-zoom-words]").await, "156 %");
    ada.run("document.querySelector('[data-stage]').focus()", vec![]).await;
    ada.press(Key::Left).await;
    let moved = "document.querySelector('.viewer').style.getPropertyValue('--x') === '6%'";
    ada.wait_script(moved).await;
    ada.press("0").await;
    assert_eq!(ada.text("[data-zoom-words]").await, "100 %");
    ada.click("[data-view-choice=whole]").await;
    assert!(ada.is_visible("img[data-role=probe]").await && !ada.is_visible("img[data-role=probe_crop]").await);
    ada.assert_quiet(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_needs_a_reason_and_another_reason_needs_a_note() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let case = world.case(68.0).await;
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.open_case(case).await;
    ada.click("[data-action=take]").await;
    ada.wait_visible("[data-decide]").await;
    ada.await_case(case).await;
    ada.press("r").await;
    ada.wait_text("[data-hint]", "Why?").await;
    ada.press(Key::Enter).await;
    ada.wait_text("[data-hint]", "Choose at least one reason").await;
    // The approve key must not approve in the middle of a rejection.
    ada.press("a").await;
    ada.wait_text("[data-hint]", "You are rejecting.").await;
    ada.press(Key::Escape).await;
    ada.wait_text("[data-action=reject]", "Reject").await;
    assert!(ada.has_focus("[data-action=reject]").await);
    ada.assert_quiet(&[]).await;

    // Nothing is sent without the note, and the chosen reason stays.
    ada.press("r").await;
    let digit = ada.attribute("[data-for=rejected] input[value=other]", "data-digit").await.unwrap();
    ada.press(digit.as_str()).await;
    ada.press(Key::Enter).await;
    ada.wait_text("[data-hint]", "Say in the note what the other reason is.").await;
    ada.screenshot("case_not_saved").await;
    world.await_case_state(case, "waiting").await;
    ada.assert_quiet(&[]).await;
    assert!(ada.has_focus("#note").await);
    ada.press("twins").await;
    ada.click("[data-action=reject]").await;
    ada.wait_url("/desk/queue").await;
    world.await_settled(case, "decided").await;
    let kept = "SELECT count(*) FROM review_decisions WHERE reasons = '{other}' AND note = 'twins'";
    assert_eq!(world.count(kept).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_corrects_a_decision_and_both_entries_are_shown() {
    let (world, process, api) = World::with_api().await;
    let ada = world.reviewer("ada").await;
    world.lead("zoe").await;
    let case = world.case(68.0).await;
    world.decide(&ada, case, &opinion("approved", &[], ""), false).await;
    world.await_settled(case, "decided").await;
    let browser = Browser::start().await;
    let zoe = Seat::signed_in(&browser, &process, "zoe").await;
    zoe.open_case(case).await;
    assert_eq!(zoe.count("[data-revision]").await, 1);
    zoe.click(".correct summary").await;
    zoe.click(".correct input[value=rejected]").await;
    zoe.click(".correct input[value=document_altered]").await;
    zoe.screenshot("case_correcting").await;
    // The browser itself asks for the missing note.
    zoe.click("[data-action=correct]").await;
    assert!(zoe.has_focus("#note").await);
    zoe.press("the portrait was glued in").await;
    zoe.click("[data-action=correct]").await;
    zoe.wait_text("[data-revision='2']", "the portrait was glued in").await;
    let text = zoe.text("[data-revision='2']").await;
    assert!(text.contains("Rejected by ZOE") && text.contains("The document's portrait was altered"), "{text}");
    assert!(zoe.text("[data-revision='1']").await.contains("Approved by ADA"));
    assert_eq!(zoe.text("#decide .verdict").await, "Rejected");
    zoe.assert_quiet(&[]).await;
    let (_, job) = api.get(&format!("/v1/jobs/{case}")).await;
    assert_eq!((&job["verdict"], &job["review"]["revision"]), (&json!("rejected"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_reviewer_sees_the_rule_but_not_the_first_opinion() {
    let (world, process, _api) = World::with_api().await;
    set_rule(&world, 0.0).await;
    for login in ["ada", "bob"] {
        world.reviewer(login).await;
    }
    let case = world.case(68.0).await;
    let browser = Browser::start().await;
    let (ada, bob) =
        tokio::join!(Seat::signed_in(&browser, &process, "ada"), Seat::signed_in(&browser, &process, "bob"));
    ada.press("s").await;
    ada.await_case(case).await;
    assert_eq!(ada.text(".rule").await, "Two reviewers must agree on this case. Yours is the first opinion.");
    ada.press("n").await;
    ada.press("the first to speak").await;
    ada.press(Key::Escape).await;
    ada.press("a").await;
    ada.wait_url("/desk/queue").await;
    // Bob sees that Ada has decided, but not how: neither during the undo time nor afterwards.
    let assert_silent = async |place: &str| {
        let page = bob.run("return document.querySelector('main').outerHTML", vec![]).await;
        let page = page.as_str().unwrap();
        for secret in ["the first to speak", "decided: ", "class=\"verdict "] {
            assert!(!page.contains(secret), "{place}: {secret}: {page}");
        }
    };
    bob.open_case(case).await;
    assert!(bob.text("#decide").await.contains("ADA has just decided this case."));
    assert_silent("settling").await;
    world.await_settled(case, "second").await;

    // Ada gave the first opinion, so she cannot give the second.
    ada.open_case(case).await;
    assert!(ada.text("#decide").await.contains("Another reviewer must give the second."));
    assert_eq!(ada.count("[data-action=take]").await, 0);
    assert!(ada.text("[data-revision='1']").await.contains("the first to speak"), "she may read her own note");
    bob.open("/desk/history?by=").await;
    assert_eq!(bob.count("[data-row]").await, 0);
    bob.open("/desk/queue").await;
    bob.press("s").await;
    bob.await_case(case).await;
    assert!(bob.text(".rule").await.starts_with("This is the second opinion."));
    assert_silent("second").await;
    bob.wait_text("[aria-labelledby=decisions-heading]", "Hidden until the second opinion is given.").await;
    bob.screenshot("case_second").await;

    // Bob hands the case back, and gets it again as the next one.
    bob.press("h").await;
    bob.wait_url("/desk/queue").await;
    bob.wait_text(&format!("[data-row='{case}'] [data-cell=holder]"), "nobody").await;
    bob.press("s").await;
    bob.await_case(case).await;
    bob.press("a").await;
    bob.wait_url("/desk/queue").await;
    world.await_settled(case, "decided").await;
    let both = "SELECT count(*) FROM review_decisions WHERE (revision, stage) IN ((1, 'opinion'), (2, 'decision'))";
    assert_eq!(world.count(both).await, 2);
    bob.open("/desk/history").await;
    assert_eq!(bob.count("[data-row]").await, 2, "after the decision he may see both");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_lists_the_keys_and_has_a_switch_to_turn_them_off() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let case = world.case(68.0).await;
    let browser = Browser::start().await;
    let ada = Seat::signed_in(&browser, &process, "ada").await;
    ada.press("?").await;
    ada.wait_visible("#help").await;
    // No shortcut works behind a dialog.
    ada.press("s").await;
    ada.click("#keys").await;
    ada.press(Key::Escape).await;
    ada.wait_gone("#help").await;
    ada.press("s?").await;
    assert!(!ada.is_visible("#help").await);
    assert!(ada.url().await.ends_with("/desk/queue"));
    assert!(!ada.is_visible("[data-action=next] kbd").await, "keys that are off are not shown");

    // The browser remembers the switch. A button still opens the dialog.
    ada.open_case(case).await;
    ada.click("[data-action=take]").await;
    ada.wait_visible("[data-decide]").await;
    ada.await_case(case).await;
    ada.press("a").await;
    assert_eq!(ada.count("[data-decide]").await, 1);
    ada.click("header [data-action=help]").await;
    ada.click("#keys").await;
    ada.press(Key::Escape).await;
    ada.wait_gone("#help").await;
    ada.press("a").await;
    ada.wait_url("/desk/queue").await;
    world.await_case_state(case, "settling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_script_everything_works_by_forms() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let [first, second] = [world.case(66.0).await, world.case(67.0).await];
    let browser = Browser::start().await;
    let ada = Seat::at(&browser, &process).await;
    ada.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    ada.open("/desk/queue").await;
    ada.sign_in("ada", PASSWORD).await;
    ada.wait_visible("[data-action=next]").await;
    assert_eq!(ada.attribute("html", "class").await, None, "the script did not run");
    assert!(!ada.is_visible(".script-only").await);
    ada.click("[data-action=next]").await;
    ada.wait_url(&first.to_string()).await;
    for (picture, shown) in [("reference", true), ("probe", true), ("probe_crop", true), ("reference_crop", false)] {
        assert_eq!(ada.is_visible(&format!("img[data-role={picture}]")).await, shown, "{picture}");
    }
    assert!(!ada.is_visible(".tools").await);
    ada.screenshot("case_without_script").await;

    // A rejection without a reason gets a page that leads back to the case.
    ada.click("[data-action=reject]").await;
    ada.wait_text("main", "A rejection needs a reason: choose at least one.").await;
    ada.click("main .button").await;
    ada.wait_url(&first.to_string()).await;
    ada.assert_quiet(&[422]).await;
    ada.click("[data-action=approve]").await;
    ada.wait_url(&second.to_string()).await;
    world.await_case_state(first, "settling").await;
    ada.open(&format!("/desk/cases/{first}")).await;
    ada.click("[data-action=undo]").await;
    ada.wait_visible("[data-decide]").await;
    world.await_case_state(first, "waiting").await;
    ada.click("[data-action=approve]").await;
    ada.wait_url(&second.to_string()).await;
    ada.click("[data-for=rejected] input[value=not_live]").await;
    ada.click("[data-action=reject]").await;
    ada.wait_url("/desk/queue").await;
    world.pass(UNDO).await;
    for case in [first, second] {
        world.await_case_state(case, "decided").await;
    }
    let choices: Vec<(String, Value)> =
        sqlx::query_as("SELECT choice, to_jsonb(reasons) FROM review_decisions ORDER BY job_id")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    assert_eq!(choices, [("approved".to_owned(), json!([])), ("rejected".to_owned(), json!(["not_live"]))]);
    ada.assert_quiet(&[]).await;
}
