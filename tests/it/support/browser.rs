//! A real Chromium, driven by `WebDriver`: one driver process for each test, with windows that share nothing.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{Capabilities, TimeoutConfiguration, WebDriver};

use super::environment;
use super::poll::obtain;
use super::process::tail;
use super::window::Window;

/// How long the driver may take to start on a busy machine.
const START: Duration = Duration::from_secs(30);
/// How long a page may take to load, or a script to return.
const PAGE: Duration = Duration::from_secs(20);
/// How long the driver may take for any answer. It waits for a page twice before it reports a timeout itself.
const ANSWER: Duration = Duration::from_mins(1);

/// Opens windows. When it and its windows are dropped, all their processes and profiles are gone.
pub struct Browser {
    driver: Arc<Driver>,
}

/// The driver's process. It chooses its port itself.
pub(super) struct Driver {
    child: Child,
    /// The home and temporary folder of all processes that it starts.
    folder: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let program = environment::browser().chromedriver;
        let folder = TempDir::new().expect("a temporary folder can be made");
        let log = File::create(folder.path().join("driver.log")).expect("a log file can be made");
        let errors = log.try_clone().expect("a file can be opened twice");
        let mut command = Command::new(&program);
        command.arg("--port=0").stdin(Stdio::null()).stdout(log).stderr(errors);
        // Settings, language and time zone do not depend on the user who runs the tests.
        command.env("HOME", folder.path()).env("TMPDIR", folder.path()).env("LANG", "C.UTF-8").env("TZ", "UTC");
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_CACHE_HOME").env_remove("LANGUAGE");
        let child = command.spawn().unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let mut driver = Driver { child, folder };
        driver.await_start().await;
        Self { driver: Arc::new(driver) }
    }

    /// A session with its own profile: wide, light, and with motion.
    pub async fn window(&self) -> Window {
        let session = tokio::time::timeout(2 * ANSWER, self.driver.session()).await;
        let session = session.unwrap_or_else(|_| panic!("no window opens: {}", self.driver.tail()));
        Window::new(session, Arc::clone(&self.driver)).await
    }

    /// The folder of the profiles.
    pub fn folder(&self) -> PathBuf {
        self.driver.folder.path().to_owned()
    }

    /// The driver's process, then those of its browsers.
    pub fn processes(&self) -> Vec<Pid> {
        self.driver.processes()
    }
}

impl Driver {
    async fn await_start(&mut self) {
        obtain("chromedriver starts", START, async || {
            let exit = self.child.try_wait().expect("a child can be waited for");
            assert!(exit.is_none(), "chromedriver ended while starting: {}", self.tail());
            self.port()
        })
        .await;
    }

    fn port(&self) -> Option<u16> {
        let log = self.tail();
        let (_, rest) = log.split_once("started successfully on port ")?;
        // Without the full stop the number may be incomplete.
        let (port, _) = rest.split_once('.')?;
        port.parse().ok()
    }

    async fn session(&self) -> WebDriver {
        environment::tls_provider();
        let client = Client::builder().no_proxy().timeout(ANSWER).build().expect("a client can be made");
        let address = format!("http://127.0.0.1:{}", self.port().expect("the driver has started"));
        let session = WebDriver::builder(address, capabilities()).client(client).connect().await;
        let session = session.unwrap_or_else(|error| panic!("no window opens: {error}\n{}", self.tail()));
        // The session ends with the driver, not by a request that may hang.
        session.clone().leak().expect("the session is new");
        let limits = TimeoutConfiguration::new(Some(PAGE), Some(PAGE), Some(Duration::ZERO));
        session.update_timeouts(limits).await.expect("limits can be set");
        session
    }

    pub(super) fn tail(&self) -> String {
        tail(&self.folder.path().join("driver.log"))
    }

    fn processes(&self) -> Vec<Pid> {
        let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for entry in std::fs::read_dir("/proc").expect("Linux has a /proc").flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            // A process may end while this loop reads; then its text is empty.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
            if let (Some(pid), Some(parent)) = (pid, parent.and_then(Pid::from_raw)) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = vec![Pid::from_child(&self.child)];
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            found.extend(children.remove(pid).unwrap_or_default());
            next += 1;
        }
        found
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Chromium survives when only the driver is killed. Stop the driver first, so that it starts no more processes.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::STOP);
        }
        let processes = self.processes();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in &processes[1..] {
            let _ = kill_process(*pid, Signal::KILL);
        }
        // A dying process may still write into the folder, which is removed next. So wait until all have ended.
        let until = Instant::now() + Duration::from_secs(2);
        while processes.iter().any(|pid| runs(*pid)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Neither gone nor a zombie.
pub fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn capabilities() -> Capabilities {
    let mut arguments = vec![
        "--headless=new",
        "--no-proxy-server",
        "--disable-crash-reporter",
        // Containers have little shared memory.
        "--disable-dev-shm-usage",
        "--lang=en-US",
    ];
    // Chromium's sandbox does not work for root.
    if geteuid().is_root() {
        arguments.push("--no-sandbox");
    }
    let wanted = json!({
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
    });
    let Value::Object(wanted) = wanted else { unreachable!("it is an object") };
    wanted.into()
}
