//! A reviewer at the desk, in their own browser window.

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
    /// A window in which nobody is signed in.
    pub async fn at(browser: &Browser, process: &Process) -> Self {
        Self { window: browser.window().await, base: format!("http://{}", process.address()) }
    }

    /// A window that shows the reviewer's queue.
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

    /// Fills in the sign-in form and sends it.
    pub async fn sign_in(&self, login: &str, password: &str) {
        self.fill("#login", login).await;
        self.fill("#password", password).await;
        self.click("main [data-action=sign-in]").await;
    }

    /// Opens the case's own page.
    pub async fn open_case(&self, id: JobId) {
        self.open(&format!("/desk/cases/{id}")).await;
        self.await_case(id).await;
    }

    /// Waits until the case is on the screen and accepts keys.
    pub async fn await_case(&self, id: JobId) {
        self.wait_script(&format!("document.querySelector('[data-case=\"{id}\"]')?.dataset.ready === 'true'")).await;
    }

    /// Waits until this case is loaded ahead, with its pictures.
    pub async fn await_next(&self, id: JobId) {
        self.wait_script(&format!("document.documentElement.dataset.next === '{id}'")).await;
    }

    /// Waits until screen readers got a message that starts like this.
    pub async fn await_announced(&self, start: &str) {
        self.wait_script(&format!("document.querySelector('#status').textContent.startsWith('{start}')")).await;
    }

    /// Waits until every picture of the case is loaded.
    pub async fn await_pictures(&self) {
        let images = "[...document.querySelectorAll('img[data-role]')]";
        self.wait_script(&format!("{images}.every((image) => image.complete && image.naturalWidth > 0)")).await;
    }

    /// Asserts that the browser logged nothing, except answers with these statuses, which the test provoked.
    pub async fn assert_quiet(&self, refused: &[u16]) {
        let mut log = self.log().await;
        log.retain(|entry| !refused.iter().any(|status| entry.message.contains(&format!("status of {status} "))));
        assert!(log.is_empty(), "{}: {log:?}", self.url().await);
    }
}

impl Deref for Seat {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}
