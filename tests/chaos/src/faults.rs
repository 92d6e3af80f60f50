//! Carries out the faults of a plan, each at its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use reqwest::Url;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::drain;
use crate::fleet::Fleet;
use crate::plan::{Fault, Link, Plan};
use crate::poison;
use crate::receivers::Receivers;
use crate::services::Services;

const WORK_QUEUES: [&str; 3] = ["visavis.work.interactive.v1", "visavis.work.bulk.v1", "visavis.work.sandbox.v1"];
const SUBMISSIONS_QUEUE: &str = "visavis.submissions.v1";

/// Whatever a fault may strike.
pub struct Targets {
    pub fleet: Arc<Fleet>,
    pub services: Services,
    pub receivers: Receivers,
    /// The broker address of the poisoned organisation.
    pub poisoned: Url,
    pub struck: AtomicUsize,
}

/// Lets every fault of the plan strike at its time after `start`. Ends when the last one is over.
pub async fn strike_all(plan: &Plan, targets: &Arc<Targets>, start: Instant) {
    let mut tasks = JoinSet::new();
    for planned in &plan.faults {
        sleep_until(start + planned.at).await;
        let (targets, fault) = (Arc::clone(targets), planned.fault);
        tasks.spawn(async move {
            if let Err(error) = strike(&targets, fault).await {
                // A fault may hit while another one keeps us from it: the management API lags, a session is ended.
                eprintln!("{fault:?} did not strike: {error:#}");
            }
            targets.struck.fetch_add(1, Ordering::Relaxed);
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

async fn strike(targets: &Targets, fault: Fault) -> Result<()> {
    let (fleet, services) = (&targets.fleet, &targets.services);
    match fault {
        Fault::Kill { slot, down } => fleet.kill(slot, down),
        Fault::Stop { slot, time } => fleet.stop(slot, time).await,
        Fault::Network { link: Link::Webhooks, trouble, .. } => targets.receivers.suffer(trouble).await,
        Fault::Network { link, slot, trouble } => fleet.suffer(link, slot, trouble).await,
        Fault::EndSessions { percent } => services.end_sessions(percent).await?,
        Fault::ReadOnly { time } => {
            services.set_read_only(true).await?;
            sleep(time).await;
            services.set_read_only(false).await?;
        }
        Fault::Purge { submissions } => {
            for queue in WORK_QUEUES {
                services.purge(queue).await;
            }
            if submissions {
                services.purge(SUBMISSIONS_QUEUE).await;
            }
        }
        Fault::CloseConnections => services.close_connections().await?,
        Fault::Clock { step } => drain::step_clock(&services.pool, step).await?,
        Fault::Poison { kind } => poison::add(services, &targets.poisoned, kind).await?,
    }
    Ok(())
}

/// Ends everything that lasts.
///
/// # Errors
/// When Postgres does not take changes again.
pub async fn heal(targets: &Targets) -> Result<()> {
    targets.fleet.heal();
    targets.receivers.calm();
    targets.services.set_read_only(false).await?;
    // The management API may lag behind; nothing of it lasts.
    sleep(Duration::from_millis(100)).await;
    Ok(())
}
