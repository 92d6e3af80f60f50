//! A browser window: what a person does and sees in it. Each wait has a time limit; a failure prints the page.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use thirtyfour::error::{WebDriverError, WebDriverResult};
use thirtyfour::{BrowserLogEntry, By, Cookie, Key, TypingData, WebDriver, WebElement};
use tokio::time::{Instant, sleep};

use super::browser::Driver;
use super::environment;

/// How long a wait may last.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A viewport.
#[derive(Debug, Clone, Copy)]
pub struct View {
    width: u32,
    height: u32,
    mobile: bool,
}

impl View {
    /// A phone. It lays pages out at 980 pixels unless they have a viewport tag.
    pub const PHONE: Self = Self { width: 390, height: 844, mobile: true };
    pub const WIDE: Self = Self { width: 1600, height: 1000, mobile: false };

    pub const fn sized(width: u32, height: u32) -> Self {
        Self { width, height, mobile: false }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Scheme {
    Light,
    Dark,
}

#[derive(Debug, Clone, Copy)]
pub enum Motion {
    Full,
    Reduced,
}

/// A browser session with its own cookies.
pub struct Window {
    session: WebDriver,
    patience: Duration,
    driver: Arc<Driver>,
}

impl Window {
    pub(super) async fn new(session: WebDriver, driver: Arc<Driver>) -> Self {
        let window = Self { session, patience: PATIENCE, driver };
        window.resize(View::WIDE).await;
        window.appearance(Scheme::Light, Motion::Full).await;
        window
    }

    /// Sets how long each wait may last.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    // --- how it looks ---

    pub async fn resize(&self, view: View) {
        let View { width, height, mobile } = view;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub async fn appearance(&self, scheme: Scheme, motion: Motion) {
        let scheme = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let motion = match motion {
            Motion::Full => "no-preference",
            Motion::Reduced => "reduce",
        };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": motion },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    // --- where it is ---

    /// Opens the page and returns when it has loaded.
    pub async fn goto(&self, url: &str) {
        self.check(&format!("open {url}"), self.session.goto(url).await).await;
    }

    pub async fn reload(&self) {
        self.check("reload", self.session.refresh().await).await;
    }

    pub async fn back(&self) {
        self.check("go back", self.session.back().await).await;
    }

    pub async fn url(&self) -> String {
        self.check("tell the URL", self.session.current_url().await).await.to_string()
    }

    pub async fn title(&self) -> String {
        self.check("tell the title", self.session.title().await).await
    }

    // --- what a person does ---

    /// Presses these keys one after another, in the focused element.
    pub async fn press(&self, keys: impl Into<TypingData>) {
        let actions = self.session.action_chain().send_keys(keys);
        self.check("press keys", actions.perform().await).await;
    }

    /// Presses a key while another is held.
    pub async fn press_with(&self, held: Key, key: impl Into<char>) {
        let (held, key) = (char::from(held), key.into());
        let actions = self.session.action_chain().key_down(held).key_down(key).key_up(key).key_up(held);
        self.check("press keys", actions.perform().await).await;
    }

    /// Clicks the element as soon as it can be clicked.
    pub async fn click(&self, css: &str) {
        self.until(&format!("{css} can be clicked"), async || {
            self.session.find(By::Css(css)).await?.click().await.map(Some)
        })
        .await;
    }

    /// Replaces the field's text.
    pub async fn fill(&self, css: &str, text: &str) {
        self.until(&format!("{css} can be filled"), async || {
            let field = self.session.find(By::Css(css)).await?;
            field.clear().await?;
            field.send_keys(text).await.map(Some)
        })
        .await;
    }

    // --- what a person sees ---

    /// The first matching element, as soon as there is one.
    pub async fn element(&self, css: &str) -> WebElement {
        self.until(&format!("there is {css}"), async || self.session.find(By::Css(css)).await.map(Some)).await
    }

    pub async fn count(&self, css: &str) -> usize {
        self.check(css, self.session.find_all(By::Css(css)).await).await.len()
    }

    /// The element's visible text.
    pub async fn text(&self, css: &str) -> String {
        self.of(css, async |element| element.text().await).await
    }

    /// The attribute's present value.
    pub async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        self.of(css, async |element| element.attr(name).await).await
    }

    /// The value of a field.
    pub async fn value(&self, css: &str) -> String {
        self.of(css, async |element| element.prop("value").await).await.unwrap_or_default()
    }

    pub async fn is_visible(&self, css: &str) -> bool {
        match self.session.find(By::Css(css)).await {
            Ok(found) => found.is_displayed().await.unwrap_or_default(),
            Err(_) => false,
        }
    }

    pub async fn has_focus(&self, css: &str) -> bool {
        let script = "return !!document.activeElement && document.activeElement.matches(arguments[0])";
        self.run(script, vec![css.into()]).await == json!(true)
    }

    // --- waiting ---

    pub async fn wait_visible(&self, css: &str) {
        self.until(&format!("{css} is seen"), async || {
            Ok(self.session.find(By::Css(css)).await?.is_displayed().await?.then_some(()))
        })
        .await;
    }

    /// Waits until no matching element is visible.
    pub async fn wait_gone(&self, css: &str) {
        self.until(&format!("{css} is gone"), async || {
            for found in self.session.find_all(By::Css(css)).await? {
                if found.is_displayed().await? {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await;
    }

    pub async fn wait_text(&self, css: &str, part: &str) {
        self.until(&format!("{css} says {part:?}"), async || {
            Ok(self.session.find(By::Css(css)).await?.text().await?.contains(part).then_some(()))
        })
        .await;
    }

    /// Waits until the page's URL contains this part.
    pub async fn wait_url(&self, part: &str) {
        self.until(&format!("the URL has {part}"), async || {
            Ok(self.session.current_url().await?.as_str().contains(part).then_some(()))
        })
        .await;
    }

    /// Waits until a JavaScript expression is true.
    pub async fn wait_script(&self, expression: &str) {
        let script = format!("return !!({expression})");
        self.until(expression, async || {
            let holds = self.session.execute(script.as_str(), Vec::new()).await?;
            Ok((*holds.json() == json!(true)).then_some(()))
        })
        .await;
    }

    // --- below the surface ---

    /// Runs a function body and returns its result, or what its promise resolves to. The page's CSP does not apply.
    pub async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        let result = self.session.execute(script, arguments).await;
        let start: String = script.chars().take(80).collect();
        self.check(&format!("run {start}"), result).await.json().clone()
    }

    /// All cookies, including those that scripts cannot see.
    pub async fn cookies(&self) -> Vec<Cookie> {
        self.check("tell the cookies", self.session.get_all_cookies().await).await
    }

    /// Adds a cookie for the open site.
    pub async fn add_cookie(&self, cookie: Cookie) {
        self.check("take a cookie", self.session.add_cookie(cookie).await).await;
    }

    /// Warnings and errors since the last call, from the page and from the browser.
    pub async fn log(&self) -> Vec<BrowserLogEntry> {
        let mut entries = self.check("tell the log", self.session.browser_log().await).await;
        entries.retain(|entry| ["WARNING", "SEVERE"].contains(&entry.level.as_str()));
        entries
    }

    /// Saves the whole page as NAME.png in the folder `VISAVIS_SCREENSHOTS`; does nothing if it is not set.
    pub async fn screenshot(&self, name: &str) {
        if let Some(folder) = environment::screenshots() {
            std::fs::create_dir_all(&folder).expect("the folder of screenshots can be made");
            self.screenshot_to(&folder.join(name).with_extension("png")).await;
        }
    }

    pub async fn screenshot_to(&self, file: &Path) {
        let script = "const page = document.documentElement; return [page.scrollWidth, page.scrollHeight]";
        let size = self.run(script, Vec::new()).await;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let wanted = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let image = self.devtools("Page.captureScreenshot", wanted).await;
        let image = BASE64_STANDARD.decode(image["data"].as_str().expect("there is an image"));
        std::fs::write(file, image.expect("an image is base64")).expect("a screenshot can be written");
    }

    /// Runs a command of the `DevTools` protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let result = self.session.cdp().send_raw(command, parameters).await;
        self.check(command, result).await
    }

    async fn of<T>(&self, css: &str, look: impl AsyncFn(WebElement) -> WebDriverResult<T>) -> T {
        // If the element is replaced between finding and reading, it is searched for again.
        let what = format!("{css} can be read");
        self.until(&what, async || look(self.session.find(By::Css(css)).await?).await.map(Some)).await
    }

    /// Returns what `look` finds. After a fault, such as an element that is not there yet, it looks again.
    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> WebDriverResult<Option<T>>) -> T {
        let until = Instant::now() + self.patience;
        loop {
            let fault = match look().await {
                Ok(Some(found)) => return found,
                Ok(None) => String::new(),
                Err(fault) => plain(&fault),
            };
            assert!(Instant::now() < until, "not within {:?}: {what}\n{fault}\n{}", self.patience, self.seen().await);
            sleep(LOOK_EVERY).await;
        }
    }

    async fn check<T>(&self, what: &str, result: WebDriverResult<T>) -> T {
        match result {
            Ok(value) => value,
            Err(fault) => panic!("the browser does not {what}: {}\n{}", plain(&fault), self.seen().await),
        }
    }

    /// What the page shows, for the message of a failed test.
    async fn seen(&self) -> String {
        let script = "return location.href + '\\n' + (document.body ? document.body.innerText : '')";
        let page = tokio::time::timeout(PATIENCE, self.session.execute(script, Vec::new())).await;
        match page {
            Ok(Ok(page)) => format!("--- the page: {}", page.json().as_str().unwrap_or_default()),
            Ok(Err(fault)) => format!("--- no page: {}\n--- the driver:\n{}", plain(&fault), self.driver.tail()),
            Err(_) => format!("--- the page hangs\n--- the driver:\n{}", self.driver.tail()),
        }
    }
}

/// The fault's text without the driver's stack trace.
fn plain(fault: &WebDriverError) -> String {
    let text = fault.to_string();
    text.split("Stacktrace:").next().unwrap_or_default().trim_end().to_owned()
}
