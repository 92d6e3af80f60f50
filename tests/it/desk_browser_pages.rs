//! Every page, light and dark, on a phone and wide: nobody is shut out, nothing is cut off, and nothing is logged.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;
use thirtyfour::Key;
use visavis::domain::ids::JobId;
use visavis::domain::review::Reviewer;
use visavis::domain::tenant::Account;
use visavis::store::jobs::Change;

use crate::support::desk::{PASSWORD, opinion};
use crate::support::process::Process;
use crate::support::seat::Seat;
use crate::support::window::{Motion, Scheme, View};
use crate::support::{Browser, World, photos};

/// A desk at work: a case in every state.
struct Bustle {
    world: World,
    process: Process,
    bob: Reviewer,
    free: JobId,
    held: JobId,
    others: JobId,
    second: JobId,
    disputed: JobId,
    settling: JobId,
    decided: JobId,
    corrected: JobId,
    erased: JobId,
}

impl Bustle {
    async fn start() -> Self {
        let (world, process, api) = World::with_api().await;
        let (portrait, selfie) = (photos::thumbnail("obama.jpg", 256), photos::thumbnail("obama2.jpg", 256));
        let case = async |score: f64| world.case_of(score, &portrait, &selfie).await;
        let [ada, bob] = [world.reviewer("ada").await, world.reviewer("bob").await];
        let zoe = world.lead("zoe").await;
        let (approved, rejected) = (
            opinion("approved", &["aged"], "Ten years older, the same scar over the left brow."),
            opinion("rejected", &["different_person", "not_live"], ""),
        );
        let decided = case(69.2).await;
        world.decide(&ada, decided, &approved, false).await;
        world.await_settled(decided, "decided").await;
        let corrected = case(66.4).await;
        world.decide(&bob, corrected, &approved, false).await;
        world.await_settled(corrected, "decided").await;
        let altered = opinion("rejected", &["document_altered"], "The portrait was glued in: look at its lower edge.");
        assert_eq!(world.store().correct_decision(&zoe, corrected, 1, &altered).await.unwrap(), Change::Done);
        let disputed = case(61.3).await;
        world.decide(&ada, disputed, &approved, true).await;
        world.await_settled(disputed, "second").await;
        world.decide(&bob, disputed, &rejected, true).await;
        world.await_settled(disputed, "disputed").await;
        let second = case(62.8).await;
        world.decide(&ada, second, &approved, true).await;
        world.await_settled(second, "second").await;
        let erased = case(70.0).await;
        world.decide(&ada, erased, &rejected, false).await;
        world.await_settled(erased, "decided").await;
        let (status, body) = api.delete(&format!("/v1/jobs/{erased}")).await;
        assert!(status.is_success(), "{body}");
        world.pass(Duration::from_mins(200)).await;
        let [free, held, others, settling] = [case(68.0).await, case(73.5).await, case(64.9).await, case(71.1).await];
        world.decide(&zoe, settling, &rejected, false).await;
        // As long as the test looks at it.
        world.execute("UPDATE review_cases SET settles_at = now() + interval '1 hour' WHERE state = 'settling'").await;
        world.take(&zoe, held).await;
        world.take(&bob, others).await;
        Self { world, process, bob, free, held, others, second, disputed, settling, decided, corrected, erased }
    }
}

/// Looks at pages, in one size of window.
struct Look<'a> {
    seat: &'a Seat,
    size: &'a str,
    runs: Cell<usize>,
}

impl Look<'_> {
    /// Checks the page that is open, light and dark. `refused` is what the server answered, if not 200.
    async fn at(&self, name: &str, refused: &[u16]) {
        for (scheme, words) in [(Scheme::Dark, "dark"), (Scheme::Light, "light")] {
            self.seat.appearance(scheme, Motion::Reduced).await;
            let place = format!("{name}_{}_{words}", self.size);
            let violations = self.seat.axe_with_best_practice().await;
            assert!(violations.is_empty(), "{place}: {violations:#?}");
            let widths = "const it = document.documentElement; return [it.scrollWidth, it.clientWidth]";
            let widths: [u32; 2] = serde_json::from_value(self.seat.run(widths, vec![]).await).unwrap();
            assert!(widths[0] <= widths[1], "{place}: {widths:?}");
            // A panel that hides what is too wide for it would hide it from the page's width, too.
            let cut = "return [...document.querySelectorAll('.panel')].filter((it) => it.scrollWidth > it.clientWidth).length";
            assert_eq!(self.seat.run(cut, vec![]).await, json!(0), "{place}: a panel is cut off");
            self.seat.assert_quiet(refused).await;
            self.seat.screenshot(&place).await;
            self.runs.set(self.runs.get() + 1);
        }
    }

    async fn open(&self, name: &str, path: &str, refused: &[u16]) {
        self.seat.open(path).await;
        self.at(name, refused).await;
    }

    async fn case(&self, name: &str, id: JobId) {
        self.seat.open_case(id).await;
        self.seat.await_pictures().await;
        self.at(name, &[]).await;
    }
}

async fn look_everywhere(view: View, size: &str) {
    let bustle = Bustle::start().await;
    let Bustle { world, process, .. } = &bustle;
    let browser = Browser::start().await;
    let seat = Seat::at(&browser, process).await;
    seat.resize(view).await;
    let look = Look { seat: &seat, size, runs: Cell::new(0) };

    look.open("sign_in", "/desk/history", &[]).await;
    seat.sign_in("zoe", "wrong").await;
    seat.wait_visible("[role=alert]").await;
    look.at("sign_in_wrong", &[401]).await;
    seat.sign_in("zoe", PASSWORD).await;
    seat.wait_visible("[data-row]").await;
    look.at("history", &[]).await;
    look.open("history_none", "/desk/history?decision=approved&by=nobody", &[]).await;
    seat.open("/desk/queue").await;
    seat.wait_visible(&format!("[data-row='{}']", bustle.free)).await;
    look.at("queue", &[]).await;
    look.open("queue_filtered", "/desk/queue?risk=BLURRED", &[]).await;
    seat.open("/desk/dashboard").await;
    seat.click("main summary").await;
    look.at("dashboard", &[]).await;
    look.open("account", "/desk/account", &[]).await;
    seat.fill("#current", "wrong").await;
    for field in ["#new", "#again"] {
        seat.fill(field, "a few other words").await;
    }
    seat.click("main button").await;
    seat.wait_visible("[role=alert]").await;
    look.at("account_wrong", &[422]).await;
    look.open("problem_404", "/desk/cases/nothing", &[404]).await;

    for (name, id) in [
        ("case_free", bustle.free),
        ("case_of_another", bustle.others),
        ("case_second", bustle.second),
        ("case_disputed", bustle.disputed),
        ("case_settling", bustle.settling),
        ("case_decided", bustle.decided),
        ("case_corrected", bustle.corrected),
        ("case_erased", bustle.erased),
    ] {
        look.case(name, id).await;
        assert_eq!(seat.count(".hand-back").await, 0, "{name}: only an open case of one's own can be handed back");
    }
    seat.open_case(bustle.corrected).await;
    seat.click(".correct summary").await;
    look.at("case_correcting", &[]).await;
    seat.click(".menu summary").await;
    look.at("menu", &[]).await;

    look.case("case", bustle.held).await;
    seat.press("r").await;
    seat.wait_text("[data-hint]", if size == "wide" { "Pick with 1 to 9" } else { "Choose, then confirm." }).await;
    look.at("case_rejecting", &[]).await;
    seat.press(Key::Escape).await;
    seat.press("w").await;
    look.at("case_wipe", &[]).await;
    seat.press("w").await;
    seat.press("?").await;
    seat.wait_visible("#help").await;
    look.at("help", &[]).await;
    seat.press(Key::Escape).await;

    // Two at once: somebody else is quicker.
    seat.open_case(bustle.free).await;
    world.take(&bustle.bob, bustle.free).await;
    seat.click("[data-action=take]").await;
    seat.wait_text("h1", "The case has moved on").await;
    look.at("problem_409", &[409]).await;
    assert_eq!(world.store().hand_back_case(&bustle.bob, bustle.free, false).await.unwrap(), Change::Done);

    // The next case with the toast over it; then the session ends.
    seat.open_case(bustle.held).await;
    seat.wait_script("document.documentElement.dataset.next").await;
    seat.press("a").await;
    seat.wait_visible("#toast").await;
    look.at("case_after_decision", &[]).await;
    world.execute("UPDATE reviewer_sessions SET seen_at = seen_at - interval '31 minutes'").await;
    seat.run("desk.send('/desk/next').catch(() => {})", vec![]).await;
    seat.wait_visible("#session").await;
    look.at("session_ended", &[401]).await;

    // An organisation where nothing happens.
    let quiet = world.make_tenant("quiet", None).await;
    world.make_reviewer(Account::live(quiet.id), "olga", false).await;
    seat.open("/desk/sign-in").await;
    seat.sign_in("olga", PASSWORD).await;
    seat.wait_text("main", "Nothing to review").await;
    look.at("queue_empty", &[]).await;
    look.open("history_empty", "/desk/history", &[]).await;
    look.open("dashboard_empty", "/desk/dashboard", &[]).await;
    seat.wait_text("main", "Nothing in the last 14 days.").await;
    eprintln!("axe, {size}: {} runs without a violation", look.runs.get());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_every_page_is_accessible_fits_and_logs_nothing() {
    look_everywhere(View::PHONE, "phone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_wide_screen_every_page_is_accessible_fits_and_logs_nothing() {
    look_everywhere(View::WIDE, "wide").await;
}
