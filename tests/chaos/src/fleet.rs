//! The processes of visavis: started, watched, and started again however they ended.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::Url;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::lock;
use crate::plan::{LAYOUT, Link, Trouble};
use crate::proxy::Proxy;
use crate::services::Services;

/// How visavis is started.
pub struct Launch {
    pub binary: PathBuf,
    /// Another version, which every second process runs.
    pub other: Option<PathBuf>,
    pub environment: Vec<(String, String)>,
    /// Where logs and ready files go.
    pub folder: PathBuf,
}

pub struct Fleet {
    launch: Launch,
    slots: Vec<Slot>,
}

/// A place for one process.
struct Slot {
    roles: &'static [&'static str],
    database: Proxy,
    broker: Proxy,
    own: Vec<(String, String)>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    child: Option<Child>,
    /// Not to be started before.
    down_until: Option<Instant>,
    /// Whether it is we who ended it.
    is_killed: bool,
    /// Not to be started again.
    is_over: bool,
    starts: usize,
    /// Ends that nobody asked for.
    own_ends: Vec<String>,
}

/// How long a start may take on a busy machine, models and their warm-up included.
const START: Duration = Duration::from_mins(2);
/// The promise is 30 s.
const END: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A process that ends at once is not started in a hot loop.
const AFTER_OWN_END: Duration = Duration::from_secs(1);

impl Launch {
    /// Runs another command of visavis to its end, and returns what it printed.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().envs(self.environment.iter().cloned()).stdin(Stdio::null());
        let output = command.output().await.with_context(|| self.binary.display().to_string())?;
        if !output.status.success() {
            bail!("visavis {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Fleet {
    /// Puts a bad network before every process. None is started yet.
    ///
    /// # Errors
    /// When a service's address is unknown.
    pub async fn assemble(launch: Launch, services: &Services) -> Result<Self> {
        let (postgres, rabbitmq) = (resolve(&services.database, 5432).await?, resolve(&services.amqp, 5672).await?);
        let mut slots = Vec::new();
        for roles in LAYOUT {
            let (database, broker) = (Proxy::before(postgres).await?, Proxy::before(rabbitmq).await?);
            let own = vec![
                ("DATABASE_URL".to_owned(), through(&services.database, database.address)?),
                ("AMQP_URL".to_owned(), through(&services.amqp, broker.address)?),
            ];
            slots.push(Slot { roles, database, broker, own, running: Mutex::default() });
        }
        Ok(Self { launch, slots })
    }

    /// Starts what is not running, for as long as it is polled.
    ///
    /// # Errors
    /// When a process cannot be started at all.
    pub async fn watch(&self) -> Result<()> {
        loop {
            for (number, slot) in self.slots.iter().enumerate() {
                self.tend(number, slot)?;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn tend(&self, number: usize, slot: &Slot) -> Result<()> {
        let mut running = lock(&slot.running);
        if let Some(child) = &mut running.child {
            let Some(status) = child.try_wait()? else { return Ok(()) };
            running.child = None;
            if !running.is_killed {
                running.own_ends.push(format!("{} ended by itself: {status}", slot.roles.join(" ")));
                running.down_until = Some(Instant::now() + AFTER_OWN_END);
            }
        }
        if running.is_over || running.down_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let _ = std::fs::remove_file(self.ready_file(number));
        let binary = match &self.launch.other {
            Some(other) if (number + running.starts) % 2 == 1 => other,
            _ => &self.launch.binary,
        };
        let log = File::options().create(true).append(true).open(self.log(number))?;
        let mut command = Command::new(binary);
        command.arg("serve").args(slot.roles).env_clear().envs(self.launch.environment.iter().cloned());
        command.envs(slot.own.iter().cloned()).env("VISAVIS_READY_FILE", self.ready_file(number));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        running.child = Some(command.spawn().with_context(|| binary.display().to_string())?);
        running.is_killed = false;
        running.starts += 1;
        Ok(())
    }

    fn ready_file(&self, number: usize) -> PathBuf {
        self.launch.folder.join(format!("{number}.ready"))
    }

    fn log(&self, number: usize) -> PathBuf {
        self.launch.folder.join(format!("{number}-{}.log", LAYOUT[number].join("-")))
    }

    /// Waits until every process says that it runs.
    ///
    /// # Errors
    /// When one does not.
    pub async fn await_ready(&self) -> Result<()> {
        let until = Instant::now() + START;
        for (number, slot) in self.slots.iter().enumerate() {
            while !self.ready_file(number).exists() {
                if Instant::now() > until {
                    bail!("{} does not start: see {}", slot.roles.join(" "), self.log(number).display());
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// The addresses of the APIs that run now.
    #[must_use]
    pub fn apis(&self) -> Vec<SocketAddr> {
        let address = |number: usize| std::fs::read_to_string(self.ready_file(number)).ok()?.trim().parse().ok();
        (0..self.slots.len()).filter(|&number| LAYOUT[number].contains(&"api")).filter_map(address).collect()
    }

    /// SIGKILL.
    pub fn kill(&self, number: usize, down: Duration) {
        let mut running = lock(&self.slots[number].running);
        if let Some(child) = &mut running.child {
            let _ = child.start_kill();
        }
        running.is_killed = true;
        running.down_until = Some(Instant::now() + down);
        let _ = std::fs::remove_file(self.ready_file(number));
    }

    /// SIGSTOP, and SIGCONT after `time`.
    pub async fn stop(&self, number: usize, time: Duration) {
        self.signal(number, Signal::STOP);
        sleep(time).await;
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let running = lock(&self.slots[number].running);
        let pid = running.child.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Makes trouble on a link of one process or of all.
    pub async fn suffer(&self, link: Link, slot: Option<usize>, trouble: Trouble) {
        let hit = self.slots.iter().enumerate().filter(|(number, _)| slot.is_none_or(|slot| slot == *number));
        let proxies = hit.map(|(_, slot)| if link == Link::Broker { &slot.broker } else { &slot.database });
        futures_util::future::join_all(proxies.map(|proxy| proxy.suffer(trouble))).await;
    }

    /// Ends every lasting trouble.
    pub fn heal(&self) {
        for (number, slot) in self.slots.iter().enumerate() {
            slot.database.heal();
            slot.broker.heal();
            self.signal(number, Signal::CONT);
        }
    }

    /// Starts the processes with this role anew.
    pub fn restart(&self, role: &str) {
        for number in (0..LAYOUT.len()).filter(|&number| LAYOUT[number].contains(&role)) {
            self.kill(number, Duration::ZERO);
        }
    }

    /// SIGTERM to every process, and waits. Returns what did not end well. Nothing starts again afterwards.
    pub async fn shut_down(&self) -> Vec<String> {
        let mut children = Vec::new();
        for (number, slot) in self.slots.iter().enumerate() {
            lock(&slot.running).is_over = true;
            self.signal(number, Signal::TERM);
            if let Some(child) = lock(&slot.running).child.take() {
                children.push((slot.roles.join(" "), child));
            }
        }
        let until = Instant::now() + END;
        let mut faults = Vec::new();
        for (roles, mut child) in children {
            match tokio::time::timeout_at(until, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(ended) => faults.push(format!("{roles}: after SIGTERM {ended:?}")),
                Err(_) => faults.push(format!("{roles}: ran on for {END:?} after SIGTERM")),
            }
        }
        faults
    }

    /// Processes that ended without being asked to.
    #[must_use]
    pub fn own_ends(&self) -> Vec<String> {
        self.slots.iter().flat_map(|slot| lock(&slot.running).own_ends.clone()).collect()
    }

    /// Lines of logs that tell of a panic.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        (0..self.slots.len()).flat_map(|number| panics(&self.log(number))).collect()
    }
}

fn panics(log: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let panicked = text.lines().filter(|line| line.contains("panicked at"));
    panicked.map(|line| format!("{}: {line}", log.display())).collect()
}

async fn resolve(url: &Url, port: u16) -> Result<SocketAddr> {
    let host = url.host_str().context("an address without a host")?;
    let mut found = tokio::net::lookup_host((host, url.port().unwrap_or(port))).await?;
    found.next().with_context(|| format!("{host} has no address"))
}

/// The same address, by way of a relay.
fn through(url: &Url, relay: SocketAddr) -> Result<String> {
    let mut url = url.clone();
    if url.set_ip_host(relay.ip()).is_err() || url.set_port(Some(relay.port())).is_err() {
        bail!("an address without a host");
    }
    Ok(url.into())
}
