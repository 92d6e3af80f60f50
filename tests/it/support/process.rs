//! The real executable, as a child process that can be stopped in every way a process can stop.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::poll::obtain;

/// How long a start may take on a busy machine, with models and their warm-up.
const START: Duration = Duration::from_mins(1);
/// How long an end may take. Above the promised 30 s, so that the test itself notices a longer one.
const END: Duration = Duration::from_mins(1);

/// A running `visavis serve`. Dropping it kills the process.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where its API listens, if it has that role.
    address: Option<SocketAddr>,
}

impl Process {
    /// Starts the roles with this environment alone, and waits until they run.
    pub async fn start(roles: &[&str], environment: &[(String, String)], log: PathBuf) -> Self {
        let file = File::create(&log).expect("a log file can be made");
        let mut command = executable(environment);
        let ready = log.with_extension("ready");
        command.arg("serve").args(roles).env("VISAVIS_READY_FILE", &ready);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        let mut process = Self { child: child.expect("the executable starts"), log, address: None };
        let address = obtain(&format!("serve {roles:?} starts"), START, async || {
            let exit = process.child.try_wait().expect("a child can be waited for");
            assert!(exit.is_none(), "serve {roles:?} ended while starting: {}", process.log());
            std::fs::read_to_string(&ready).ok()
        })
        .await;
        process.address = address.trim().parse().ok();
        process
    }

    /// Where its API listens.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("this process has the role api")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// SIGKILL: the process can do nothing more.
    pub fn kill9(mut self) {
        self.kill();
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process is there");
    }

    /// SIGTERM, and waits until it ended.
    pub async fn terminate(mut self) -> ExitStatus {
        self.ask_to_stop();
        self.exit().await
    }

    /// Waits until it ended.
    pub async fn exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        obtain("the process ends", END, async || child.try_wait().expect("a child can be waited for")).await
    }

    fn kill(&mut self) {
        // Fails if it has ended before, which does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command of the executable to its end.
pub async fn run(arguments: &[&str], environment: &[(String, String)]) -> Output {
    let mut command = executable(environment);
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    output.expect("the command does not panic").expect("the executable starts")
}

/// The end of a log, for a test that failed.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 60;
    let text = read(log);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

pub(super) fn executable(environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_visavis"));
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}
