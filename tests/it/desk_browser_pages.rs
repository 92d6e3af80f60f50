//! Every page in light and dark, on a phone and on a wide screen: accessible, not cut off, and without log messages.

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

/// A desk with a case in every state.
struct BusyDesk {
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

impl BusyDesk {
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
        // It must stay undoable until the test has seen it.
        world.execute("UPDATE review_cases SET settles_at = now() + interval '1 hour' WHERE state = 'settling'").await;
        world.take(&zoe, held).await;
        world.take(&bob, others).await;
        Self { world, process, bob, free, held, others, second, disputed, settling, decided, corrected, erased }
    }
}

/// Checks pages in one size of window.
struct PageCheck<'a> {
    seat: &'a Seat,
    size: &'a str,
    runs: Cell<usize>,
}

impl PageCheck<'_> {
    /// Checks the open page in light and dark. `refused` lists the error statuses that the test provoked.
    async fn at(&self, name: &str, refused: &[u16]) {
        for (scheme, words) in [(Scheme::Dark, "dark"), (Scheme::Light, "light")] {
            self.seat.appearance(scheme, Motion::Reduced).await;
            let place = format!("{name}_{}_{words}", self.size);
            let violations = self.seat.axe_with_best_practice().await;
            assert!(violations.is_empty(), "{place}: {violations:#?}");
            let widths = "const root = document.documentElement; return [root.scrollWidth, root.clientWidth]";
            let widths: [u32; 2] = serde_json::from_value(self.seat.run(widths, vec![]).await).unwrap();
            assert!(widths[0] <= widths[1], "{place}: {widths:?}");
            // A panel with hidden overflow would not widen the page, so panels are checked on their own.
            let cut_off = "const panels = [...document.querySelectorAll('.panel')];
                return panels.filter((panel) => panel.scrollWidth > panel.clientWidth).length";
            assert_eq!(self.seat.run(cut_off, vec![]).await, json!(0), "{place}: a panel is cut off");
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

async fn check_every_page(view: View, size: &str) {
    let busy = BusyDesk::start().await;
    let BusyDesk { world, process, .. } = &busy;
    let browser = Browser::start().await;
    let seat = Seat::at(&browser, process).await;
    seat.resize(view).await;
    let check = PageCheck { seat: &seat, size, runs: Cell::new(0) };

    check.open("sign_in", "/desk/history", &[]).await;
    seat.sign_in("zoe", "wrong").await;
    seat.wait_visible("[role=alert]").await;
    check.at("sign_in_wrong", &[401]).await;
    seat.sign_in("zoe", PASSWORD).await;
    seat.wait_visible("[data-row]").await;
    check.at("history", &[]).await;
    check.open("history_none", "/desk/history?decision=approved&by=nobody", &[]).await;
    seat.open("/desk/queue").await;
    seat.wait_visible(&format!("[data-row='{}']", busy.free)).await;
    check.at("queue", &[]).await;
    check.open("queue_filtered", "/desk/queue?risk=BLURRED", &[]).await;
    seat.open("/desk/dashboard").await;
    seat.click("main summary").await;
    check.at("dashboard", &[]).await;
    check.open("account", "/desk/account", &[]).await;
    seat.fill("#current", "wrong").await;
    for field in ["#new", "#again"] {
        seat.fill(field, "a few other words").await;
    }
    seat.click("main button").await;
    seat.wait_visible("[role=alert]").await;
    check.at("account_wrong", &[422]).await;
    check.open("problem_404", "/desk/cases/nothing", &[404]).await;

    for (name, id) in [
        ("case_free", busy.free),
        ("case_of_another", busy.others),
        ("case_second", busy.second),
        ("case_disputed", busy.disputed),
        ("case_settling", busy.settling),
        ("case_decided", busy.decided),
        ("case_corrected", busy.corrected),
        ("case_erased", busy.erased),
    ] {
        check.case(name, id).await;
        assert_eq!(
            seat.count(".hand-back").await,
            0,
            "{name}: only an open case that the reviewer holds can be handed back"
        );
    }
    seat.open_case(busy.corrected).await;
    seat.click(".correct summary").await;
    check.at("case_correcting", &[]).await;
    seat.click(".menu summary").await;
    check.at("menu", &[]).await;

    check.case("case", busy.held).await;
    seat.press("r").await;
    seat.wait_text("[data-hint]", if size == "wide" { "Pick with 1 to 9" } else { "Choose, then confirm." }).await;
    check.at("case_rejecting", &[]).await;
    seat.press(Key::Escape).await;
    seat.press("w").await;
    check.at("case_wipe", &[]).await;
    seat.press("w").await;
    seat.press("?").await;
    seat.wait_visible("#help").await;
    check.at("help", &[]).await;
    seat.press(Key::Escape).await;

    // Another reviewer takes the case first.
    seat.open_case(busy.free).await;
    world.take(&busy.bob, busy.free).await;
    seat.click("[data-action=take]").await;
    seat.wait_text("h1", "This case has changed").await;
    check.at("problem_409", &[409]).await;
    assert_eq!(world.store().hand_back_case(&busy.bob, busy.free, false).await.unwrap(), Change::Done);

    // The next case with the toast; then the session ends.
    seat.open_case(busy.held).await;
    seat.wait_script("document.documentElement.dataset.next").await;
    seat.press("a").await;
    seat.wait_visible("#toast").await;
    check.at("case_after_decision", &[]).await;
    world.execute("UPDATE reviewer_sessions SET seen_at = seen_at - interval '31 minutes'").await;
    seat.run("desk.send('/desk/next').catch(() => {})", vec![]).await;
    seat.wait_visible("#session").await;
    check.at("session_ended", &[401]).await;

    // An organisation without cases.
    let quiet = world.make_tenant("quiet", None).await;
    world.make_reviewer(Account::live(quiet.id), "olga", false).await;
    seat.open("/desk/sign-in").await;
    seat.sign_in("olga", PASSWORD).await;
    seat.wait_text("main", "Nothing to review").await;
    check.at("queue_empty", &[]).await;
    check.open("history_empty", "/desk/history", &[]).await;
    check.open("dashboard_empty", "/desk/dashboard", &[]).await;
    seat.wait_text("main", "Nothing in the last 14 days.").await;
    eprintln!("axe, {size}: {} runs without a violation", check.runs.get());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_on_a_phone_is_accessible_fits_and_logs_nothing() {
    check_every_page(View::PHONE, "phone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_on_a_wide_screen_is_accessible_fits_and_logs_nothing() {
    check_every_page(View::WIDE, "wide").await;
}
