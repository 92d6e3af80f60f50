//! Who may use the desk and for how long, and that no other site can act in a reviewer's name.

use std::time::Duration;

use reqwest::Method;
use visavis::domain::ids::JobId;
use visavis::domain::tenant::Account;

use crate::support::desk::{Desk, PASSWORD, with_form};
use crate::support::{World, photos};

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_signs_in_with_the_right_password_only_and_signs_out_again() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let desk = Desk::of(&process);
    for (login, password) in [("ada", "a few plain wordz"), ("ada", ""), ("nobody", PASSWORD), ("ada\0", PASSWORD)] {
        let page = desk.sign_in(login, password).await;
        assert_eq!(page.status, 401, "{login} {password}");
        assert!(page.text.contains("The login or the password is wrong."), "the same text in every case");
    }
    assert_eq!(desk.sign_in(" ADA ", PASSWORD).await.location, "/desk/queue");
    let page = desk.get("/desk/queue").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("ADA") && page.text.contains("acme"));

    let copied = desk.cookie();
    assert_eq!(desk.post("/desk/sign-out", &[]).await.location, "/desk/sign-in");
    let page = desk.send(desk.request(Method::GET, "/desk/queue").header("cookie", copied)).await;
    assert_eq!(
        page.location, "/desk/sign-in?ended=1&next=%2Fdesk%2Fqueue",
        "after signing out, a copied cookie is worthless"
    );
    assert_eq!(world.count("SELECT count(*) FROM review_trail WHERE action IN ('signed_in', 'signed_out')").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_in_a_row_lock_a_reviewer_out_for_a_quarter_of_an_hour() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let desk = Desk::of(&process);
    for _ in 0..4 {
        assert_eq!(desk.sign_in("ada", "wrong").await.status, 401);
    }
    assert_eq!(desk.sign_in("ada", PASSWORD).await.status, 303, "the right password ends the series");
    for _ in 0..5 {
        assert_eq!(desk.sign_in("ada", "wrong").await.status, 401);
    }
    let (right, wrong) = (desk.sign_in("ada", PASSWORD).await, desk.sign_in("ada", "wrong").await);
    assert_eq!(
        (right.status, right.text == wrong.text),
        (401, true),
        "during a lock, even the right password looks wrong"
    );
    // Many wrong passwords at the same time count like as many one after the other.
    world.reviewer("bob").await;
    let wrong = (0..30).map(|_| desk.sign_in("bob", "wrong"));
    let statuses: Vec<_> = futures_util::future::join_all(wrong).await.iter().map(|page| page.status).collect();
    let checked = statuses.iter().filter(|status| **status == 401).count();
    assert!(checked >= 5 && statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    assert_eq!(desk.sign_in("bob", PASSWORD).await.status, 401);
    let locks = "SELECT count(*) FROM review_trail JOIN reviewers ON reviewers.id = reviewer_id
                 WHERE action = 'locked_out' AND login = 'bob'";
    assert_eq!(world.count(locks).await, 1);
    world.pass(Duration::from_mins(15)).await;
    assert_eq!(desk.sign_in("ada", PASSWORD).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_half_an_hour_of_inactivity_and_after_twelve_hours_anyway() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    world.reviewer("ada").await;
    let desk = Desk::signed_in(&process, "ada").await;
    world.pass(Duration::from_mins(29)).await;
    assert_eq!(desk.get("/desk/queue").await.status, 200, "opening a page extends the session");
    world.pass(Duration::from_mins(29)).await;
    assert_eq!(desk.post(&format!("/desk/cases/{case}/take"), &[]).await.status, 303);
    // Heartbeats, which the page sends by itself, do not extend it.
    for _ in 0..8 {
        world.pass(Duration::from_mins(4)).await;
        desk.ask(&format!("/desk/cases/{case}/heartbeat"), &[]).await;
    }
    let page = desk.ask(&format!("/desk/cases/{case}/heartbeat"), &[]).await;
    assert_eq!(page.status, 401, "{}", page.text);
    assert!(page.text.contains("signed_out"), "{}", page.text);

    let desk = Desk::signed_in(&process, "ada").await;
    for _ in 0..25 {
        world.pass(Duration::from_mins(28)).await;
        assert_eq!(desk.get("/desk/queue").await.status, 200);
    }
    world.pass(Duration::from_mins(21)).await;
    assert_eq!(desk.get("/desk/queue").await.status, 303, "12 hours and a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_the_token_of_its_sessions_page_and_the_same_origin() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    world.reviewer("ada").await;
    world.reviewer("eve").await;
    let (ada, eve) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "eve").await);
    let take = format!("/desk/cases/{case}/take");
    let eves = eve.get("/desk/account").await.text;
    let eves = eves.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    for token in ["", "AAAA", eves.as_str()] {
        let page = ada.send(with_form(ada.request(Method::POST, &take), &[("csrf", token)])).await;
        assert_eq!(page.status, 403, "{token}");
        let page =
            ada.send(with_form(ada.request(Method::POST, &take).header("x-csrf-token", token), &[("x", "y")])).await;
        assert_eq!(page.status, 403, "{token}");
    }
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")] {
        let form = [("login", "ada"), ("password", PASSWORD)];
        let page = ada.send(with_form(ada.request(Method::POST, "/desk/sign-in").header(name, value), &form)).await;
        assert_eq!(page.status, 403, "{name}: {value}");
    }
    assert_eq!(world.count("SELECT count(*) FROM review_cases WHERE holder IS NOT NULL").await, 0);
    assert_eq!(ada.post(&take, &[]).await.case(), case);
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_of_other_organisations_and_of_test_keys_do_not_exist_for_a_reviewer() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    let other = world.make_tenant("other", None).await;
    world.make_reviewer(Account::live(other.id), "stranger", true).await;
    world.make_reviewer(Account { tenant_id: world.tenant.id, sandbox: true }, "tester", true).await;
    let own = world.lead("ada").await;
    for login in ["stranger", "tester"] {
        let desk = Desk::signed_in(&process, login).await;
        assert!(!desk.get("/desk/queue").await.text.contains(&case.to_string()), "{login}");
        assert_eq!(desk.post("/desk/next", &[]).await.location, "/desk/queue?none=1", "{login}");
        for path in [format!("/desk/cases/{case}"), format!("/desk/cases/{case}/images")] {
            assert_eq!(desk.get(&path).await.status, 404, "{login} {path}");
        }
        let (reviewer, decision) = (own.id.0.to_string(), [("decision", "approved"), ("note", "mine now")]);
        for action in ["take", "hand-back", "heartbeat", "opened", "undo", "decision", "correction", "assign"] {
            let form = [decision.as_slice(), &[("reviewer", reviewer.as_str())]].concat();
            let page = desk.ask(&format!("/desk/cases/{case}/{action}"), &form).await;
            let expected: &[u16] = if action == "assign" { &[404, 409] } else { &[404] };
            assert!(expected.contains(&page.status), "{login} {action}: {page:?}");
        }
        assert!(!desk.get("/desk/history").await.text.contains(&case.to_string()));
    }
    assert_eq!(world.count("SELECT count(*) FROM review_trail WHERE job_id IS NOT NULL").await, 0);
    let nobody = Desk::of(&process);
    assert_eq!(nobody.get(&format!("/desk/cases/{case}")).await.status, 303);
    for id in ["x", "0", &JobId::new().to_string()] {
        assert_eq!(Desk::signed_in(&process, "ada").await.get(&format!("/desk/cases/{id}")).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_strict_headers_and_pictures_need_signed_urls() {
    let (world, process, _api) = World::with_api().await;
    let case = world.case(68.0).await;
    world.reviewer("ada").await;
    let desk = Desk::signed_in(&process, "ada").await;
    let base = format!("http://{}", process.address());
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for path in ["/desk/sign-in", "/desk/queue", "/desk/nowhere/at/all", "/desk/cases/x"] {
        let answer = client.get(format!("{base}{path}")).header("cookie", desk.cookie()).send().await.unwrap();
        if path.contains("nowhere") {
            assert_eq!(answer.status(), 404);
            continue;
        }
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        assert_eq!(answer.headers()["x-frame-options"], "DENY", "{path}");
    }
    let images = desk.get(&format!("/desk/cases/{case}/images")).await.text;
    let images: serde_json::Value = serde_json::from_str(&images).unwrap();
    let path = images["probe"].as_str().unwrap();
    assert!(path.starts_with("/media/"), "{path}");
    let shown = desk.send(desk.request(Method::GET, path)).await;
    assert_eq!(shown.status, 200);
    assert_eq!(desk.get(path.split('?').next().unwrap()).await.status, 403, "a session alone does not open pictures");
    // The audit log has the reviewer's view. A request without a session is not a reviewer's.
    let views = "SELECT count(*) FROM review_trail WHERE action = 'viewed' AND detail = 'probe 0 whole'";
    assert_eq!(world.count(views).await, 1);
    client.get(format!("{base}{path}")).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(world.count(views).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_other_session() {
    let (world, process, _api) = World::with_api().await;
    world.reviewer("ada").await;
    let (here, there) = (Desk::signed_in(&process, "ada").await, Desk::signed_in(&process, "ada").await);
    let change = async |current: &str, new: &str, again: &str| {
        here.post("/desk/account", &[("current", current), ("new", new), ("again", again)]).await
    };
    let new = "other plain words";
    assert_eq!(change("wrong", new, new).await.status, 422);
    assert_eq!(change(PASSWORD, new, "other plain wordz").await.status, 422);
    let page = change(PASSWORD, "short", "short").await;
    assert!(page.status == 422 && page.text.contains("at least 12 characters"), "{page:?}");
    assert_eq!(change(PASSWORD, new, new).await.status, 200);
    assert_eq!((here.get("/desk/queue").await.status, there.get("/desk/queue").await.status), (200, 303));
    assert_eq!(there.sign_in("ada", PASSWORD).await.status, 401);
    assert_eq!(there.sign_in("ada", new).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_adds_disables_and_enables_reviewers() {
    let (world, process, _api) = World::with_api().await;
    let run = async |arguments: &[&str]| {
        let output = world.run(&[&["reviewer"], arguments].concat()).await;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().trim().to_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let add = ["add", "--organisation", "acme", "--login", "Ada@Example.com", "--name", "Ada L.", "--lead"];
    let (done, password, error) = run(&add).await;
    assert!(done && password.len() == 20, "{password} {error}");
    let (done, _, error) = run(&add).await;
    assert!(!done && error.contains("another reviewer signs in as ada@example.com"), "{error}");
    assert!(run(&[add.as_slice(), &["--if-missing"]].concat()).await.0);
    let (_, table, _) = run(&["list", "--organisation", "acme"]).await;
    assert!(table.contains("ada@example.com") && table.contains("lead") && !table.contains("argon2"), "{table}");

    let desk = Desk::of(&process);
    assert_eq!(desk.sign_in("ada@example.com", &password).await.status, 303);
    let case = world.case_of(68.0, photos::blank(), photos::blank()).await;
    assert_eq!(desk.post(&format!("/desk/cases/{case}/take"), &[]).await.status, 303);
    assert!(run(&["disable", "--login", "ada@example.com"]).await.0);
    assert_eq!(desk.get("/desk/queue").await.status, 303);
    assert_eq!(desk.sign_in("ada@example.com", &password).await.status, 401);
    assert_eq!(world.count("SELECT count(*) FROM review_cases WHERE holder IS NOT NULL").await, 0);
    assert!(run(&["enable", "--login", "ada@example.com"]).await.0);
    let (_, new, _) = run(&["password", "--login", "ada@example.com"]).await;
    assert_eq!(desk.sign_in("ada@example.com", &password).await.status, 401);
    assert_eq!(desk.sign_in("ada@example.com", &new).await.status, 303);
    let (done, _, error) = run(&["disable", "--login", "nobody"]).await;
    assert!(!done && error.contains("nobody signs in as nobody"), "{error}");
}
