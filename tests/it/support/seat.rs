//! Somebody at the reviewers' desk, in a browser's window of their own.

use std::ops::Deref;

use visavis::domain::ids::JobId;

use super::Browser;
use super::desk::PASSWORD;
use super::process::Process;
use super::window::Window;

pub struct Seat {
    window: Window,
    base: String,
}

impl Seat {
    /// With nobody signed in.
    pub async fn at(browser: &Browser, process: &Process) -> Self {
        Self { window: browser.window().await, base: format!("http://{}", process.address()) }
    }

    /// With the queue on the screen.
    pub async fn signed_in(browser: &Browser, process: &Process, login: &str) -> Self {
        let seat = Self::at(browser, process).await;
        seat.open("/desk/sign-in").await;
        seat.sign_in(login, PASSWORD).await;
        seat.wait_url("/desk/queue").await;
        seat
    }

    pub async fn open(&self, path: &str) {
        self.goto(&format!("{}{path}", self.base)).await;
    }

    /// Fills in and sends the form that is open.
    pub async fn sign_in(&self, login: &str, password: &str) {
        self.fill("#login", login).await;
        self.fill("#password", password).await;
        self.click("main [data-action=sign-in]").await;
    }

    /// The case's own page.
    pub async fn open_case(&self, id: JobId) {
        self.open(&format!("/desk/cases/{id}")).await;
        self.await_case(id).await;
    }

    /// Until the case is on the screen, and keys are about it.
    pub async fn await_case(&self, id: JobId) {
        self.wait_script(&format!("document.querySelector('[data-case=\"{id}\"]')?.dataset.ready === 'true'")).await;
    }

    /// Until that case waits behind the one on the screen, pictures and all.
    pub async fn await_next(&self, id: JobId) {
        self.wait_script(&format!("document.documentElement.dataset.next === '{id}'")).await;
    }

    /// Until screen readers have been told something that begins so.
    pub async fn await_announced(&self, start: &str) {
        self.wait_script(&format!("document.querySelector('#status').textContent.startsWith('{start}')")).await;
    }

    /// Until every picture of the case is there.
    pub async fn await_pictures(&self) {
        let shown =
            "[...document.querySelectorAll('img[data-role]')].every((it) => it.complete && it.naturalWidth > 0)";
        self.wait_script(shown).await;
    }

    /// Nothing was logged but that the server refused what the test had it refuse.
    pub async fn assert_quiet(&self, refused: &[u16]) {
        let mut log = self.log().await;
        log.retain(|it| !refused.iter().any(|status| it.message.contains(&format!("status of {status} "))));
        assert!(log.is_empty(), "{}: {log:?}", self.url().await);
    }
}

impl Deref for Seat {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}
