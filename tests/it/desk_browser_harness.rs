//! Tests of the browser support itself: each check finds the fault of a bad page and accepts a good one.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;
use tempfile::TempDir;
use thirtyfour::{Cookie, Key};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::support::Browser;
use crate::support::axe::Violation;
use crate::support::browser::runs;
use crate::support::window::{Motion, Scheme, View};

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'";

const GOOD: &str = r#"<!doctype html><html lang="en"><head><title>Good</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/style.css">
<script src="/script.js" defer></script></head><body><main><h1>Cases</h1>
<label for="name">Name</label> <input id="name"> <button type="button" id="later">Later</button>
<p id="pressed"></p><p id="late" hidden>It came.</p></main></body></html>"#;

const BAD: &str = r#"<!doctype html><html lang="en"><head><title>Bad</title>
<link rel="stylesheet" href="/style.css"></head><body><main><h1>Cases</h1><input id="name"><p class="faint">Faint</p>
<script>window.inline = true</script></main></body></html>"#;

const STYLE: &str = "body { color: #000; background: #fff } .faint { color: #ccc } @media (prefers-color-scheme: dark) \
    { body { color: #fff; background: #000 } } @media (prefers-reduced-motion: reduce) { #late { color: #010203 } }";

const SCRIPT: &str = r##"
const pressed = document.querySelector("#pressed");
document.addEventListener("keydown", ({ key, shiftKey }) => { pressed.textContent += `${key}${shiftKey ? "^" : ""} `; });
document.querySelector("#later").addEventListener("click", () => {
  setTimeout(() => { document.querySelector("#late").hidden = false; }, 200);
  history.pushState(null, "", "?asked");
});"##;

const LOUD: &str = "<!doctype html><title>Loud</title><script>
    console.log('a word'); console.warn('a warning'); console.error('a fault'); nothing.there()</script>";

/// A site whose good and bad pages have a strict CSP. Its loud page has none.
async fn site() -> MockServer {
    let server = MockServer::start().await;
    let page = |body: &str, kind: &str| ResponseTemplate::new(200).set_body_raw(body, kind);
    let strict = |body: &str| page(body, "text/html").insert_header("content-security-policy", CSP);
    let cookie = "session=secret; HttpOnly; SameSite=Strict; Path=/";
    let answers = [
        ("/good", strict(GOOD)),
        ("/bad", strict(BAD)),
        ("/login", strict(GOOD).insert_header("set-cookie", cookie)),
        ("/loud", page(LOUD, "text/html")),
        ("/favicon.ico", ResponseTemplate::new(204)),
        ("/style.css", page(STYLE, "text/css")),
        ("/script.js", page(SCRIPT, "text/javascript")),
    ];
    for (place, answer) in answers {
        Mock::given(path(place)).respond_with(answer).mount(&server).await;
    }
    server
}

fn ids(violations: &[Violation]) -> Vec<&str> {
    violations.iter().map(|violation| violation.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_faults_in_spite_of_a_strict_csp() {
    let (site, browser) = (site().await, Browser::start().await);
    let window = browser.window().await;
    window.goto(&format!("{}/bad", site.uri())).await;
    assert_eq!(window.title().await, "Bad");
    let violations = window.axe().await;
    assert_eq!(ids(&violations), ["color-contrast", "label"]);
    assert_eq!(violations[1].impact.as_deref(), Some("critical"));
    assert_eq!(violations[1].nodes[0].html, r#"<input id="name">"#);
    assert!(violations[0].nodes[0].why.contains("contrast of 1.6"), "{violations:?}");
    assert!(violations.iter().all(|violation| !violation.help.is_empty()), "{violations:?}");
    // The CSP stops the page's own inline script, but not the test's scripts. What it stops is logged.
    assert_eq!(window.run("return window.inline === undefined", vec![]).await, json!(true));
    let log = window.log().await;
    assert!(log.iter().any(|entry| entry.message.contains("Content Security Policy")), "{log:?}");

    window.goto(&format!("{}/good", site.uri())).await;
    assert_eq!(ids(&window.axe_with_best_practice().await), [""; 0]);
    let log = window.log().await;
    assert!(log.is_empty(), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_and_errors_are_reported_once_and_plain_log_lines_are_not() {
    let (site, browser) = (site().await, Browser::start().await);
    let window = browser.window().await;
    window.goto(&format!("{}/loud", site.uri())).await;
    let log = window.log().await;
    let levels: Vec<_> = log.iter().map(|entry| entry.level.as_str()).collect();
    assert_eq!(levels, ["WARNING", "SEVERE", "SEVERE"], "{log:?}");
    for (entry, part) in log.iter().zip(["a warning", "a fault", "nothing is not defined"]) {
        assert!(entry.message.contains(part), "{entry:?}");
    }
    assert!(window.log().await.is_empty());
    window.goto(&format!("{}/missing", site.uri())).await;
    assert!(window.log().await.iter().any(|entry| entry.message.contains("404")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_clicks_and_text_arrive_and_waits_see_their_effects() {
    let (site, browser) = (site().await, Browser::start().await);
    let window = browser.window().await;
    window.goto(&format!("{}/good", site.uri())).await;
    window.press("j").await;
    window.press_with(Key::Shift, 'a').await;
    window.press(Key::Escape).await;
    window.wait_text("#pressed", "j Shift^ A^ Escape").await;

    window.press(Key::Tab).await;
    assert!(window.has_focus("#name").await && !window.has_focus("#later").await);
    window.fill("#name", "Ada").await;
    window.fill("#name", "Grace").await;
    assert_eq!(window.value("#name").await, "Grace");
    assert_eq!(window.attribute("#name", "id").await.as_deref(), Some("name"));
    assert_eq!(window.attribute("#name", "hidden").await, None);

    assert!(!window.is_visible("#late").await && !window.is_visible("#never").await);
    window.wait_gone("#late").await;
    window.click("#later").await;
    window.wait_visible("#late").await;
    assert_eq!(window.text("#late").await, "It came.");
    window.wait_url("?asked").await;
    window.back().await;
    assert!(window.url().await.ends_with("/good"));
    window.reload().await;
    window.wait_script("document.querySelector('#late').hidden").await;
    assert_eq!(window.count("p").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_windows_share_no_cookies() {
    let (site, browser) = (site().await, Browser::start().await);
    let (one, two) = tokio::join!(browser.window(), browser.window());
    one.goto(&format!("{}/login", site.uri())).await;
    two.goto(&format!("{}/good", site.uri())).await;
    let cookies = one.cookies().await;
    assert_eq!((cookies[0].name.as_str(), cookies[0].value.as_str()), ("session", "secret"));
    assert_eq!(cookies[0].http_only, Some(true));
    assert!(two.cookies().await.is_empty());
    two.add_cookie(Cookie::new("session", "other")).await;
    two.reload().await;
    one.reload().await;
    let asked = site.received_requests().await.unwrap();
    let has_cookie =
        |request: &Request, value: &str| request.headers.get("cookie").is_some_and(|cookie| cookie == value);
    let sent = |value: &str| asked.iter().any(|request| has_cookie(request, value));
    assert!(sent("session=secret") && sent("session=other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_has_the_size_colour_scheme_and_motion_that_were_set() {
    let (site, browser) = (site().await, Browser::start().await);
    let window = browser.window().await;
    let viewport = async || window.run("return [innerWidth, innerHeight]", vec![]).await;
    let colour = async |css: &str| window.element(css).await.css_value("color").await.unwrap();
    window.goto(&format!("{}/good", site.uri())).await;
    assert_eq!(viewport().await, json!([1600, 1000]));
    assert_eq!((colour("h1").await, colour("#late").await), ("rgba(0, 0, 0, 1)".into(), "rgba(0, 0, 0, 1)".into()));

    window.resize(View::PHONE).await;
    window.appearance(Scheme::Dark, Motion::Reduced).await;
    window.reload().await;
    assert_eq!(viewport().await, json!([390, 844]));
    assert_eq!(
        (colour("h1").await, colour("#late").await),
        ("rgba(255, 255, 255, 1)".into(), "rgba(1, 2, 3, 1)".into())
    );
    assert_eq!(window.run("return matchMedia('(prefers-color-scheme: dark)').matches", vec![]).await, json!(true));
    // Without a viewport tag, a phone lays the page out wider than its screen.
    window.goto(&format!("{}/bad", site.uri())).await;
    assert_eq!(viewport().await[0], json!(980));

    window.resize(View::sized(1024, 600)).await;
    window.screenshot("desk_browser_harness").await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("page.png");
    window.screenshot_to(&file).await;
    assert_eq!(image::image_dimensions(&file).unwrap(), (1024, 600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_never_met_fails_in_time_and_prints_the_page() {
    let (site, browser) = (site().await, Browser::start().await);
    let mut window = browser.window().await;
    window.set_patience(Duration::from_millis(300));
    window.goto(&format!("{}/good", site.uri())).await;
    for failing in [
        window.wait_visible("#late").boxed_local(),
        window.click("#never").boxed_local(),
        window.wait_url("no").boxed_local(),
    ] {
        let failure = AssertUnwindSafe(failing).catch_unwind().await.unwrap_err();
        let text = failure.downcast_ref::<String>().unwrap();
        assert!(text.contains("not within 300ms") && text.contains("/good\nCases"), "{text}");
        assert!(!text.contains("Stacktrace"), "{text}");
    }
    let failure = AssertUnwindSafe(window.run("throw new Error('broken')", vec![])).catch_unwind().await.unwrap_err();
    assert!(failure.downcast_ref::<String>().unwrap().contains("broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_or_file_outlives_a_browser_and_its_windows() {
    let browser = Browser::start().await;
    let window = browser.window().await;
    let (folder, processes) = (browser.folder(), browser.processes());
    assert!(processes.len() > 3, "{processes:?}");
    drop(browser);
    // The window still works.
    assert_eq!(window.run("return 1 + 1", vec![]).await, json!(2));
    drop(window);
    assert!(!Path::new(&folder).exists());
    assert!(!processes.into_iter().any(runs));
}
