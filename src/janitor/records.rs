//! Deletes records whose time is over: events first, then jobs with everything that hangs on them. Each organisation
//! has its own times. The ledger, reviewers' decisions, the audit log and receipts of erasures stay.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::{info, warn};
use uuid::Uuid;

use super::{Drained, drain};
use crate::domain::ids::{JobId, TenantId};
use crate::domain::tenant::{Account, TenantSettings};
use crate::lifecycle::Lifecycle;
use crate::store::parked::WorkLoop;
use crate::store::{self, Store};

/// Time between rounds.
const EVERY: Duration = Duration::from_hours(1);
/// Jobs that one commit deletes.
const BATCH: i64 = 500;
/// Organisations read at once.
const TENANTS: i64 = 100;
const DAY: Duration = Duration::from_hours(24);

/// What a round deleted, and what it could not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeletedRecords {
    pub jobs: u64,
    pub events: u64,
    pub dead_letters: u64,
    /// Rows that could not be deleted, and organisations of which something failed.
    pub failed: u64,
}

/// Runs rounds until the shutdown begins. The first waits, so that a process that was set up wrongly deletes nothing
/// at once.
pub(super) async fn run(store: Store, life: Lifecycle) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = life.stopping().cancelled() => return,
            _ = ticks.tick() => {}
        }
        let deleted = tokio::select! {
            () = life.stopping().cancelled() => return,
            deleted = delete_old(&store) => deleted,
        };
        match deleted {
            Ok(deleted) if deleted == DeletedRecords::default() => {}
            Ok(DeletedRecords { jobs, events, dead_letters, failed }) => {
                info!(jobs, events, dead_letters, failed, "deleted records whose time is over");
            }
            Err(error) => warn!(%error, "records whose time is over were not looked for"),
        }
    }
}

/// Deletes everything whose time is over. A fault of one organisation or job stops no other.
///
/// # Errors
/// When the organisations cannot be listed. The next call continues.
pub async fn delete_old(store: &Store) -> Result<DeletedRecords, store::Error> {
    let mut deleted = DeletedRecords::default();
    let mut after = String::new();
    loop {
        let tenants = store.list_tenants(&after, TENANTS).await?;
        let Some(last) = tenants.last() else { break };
        after.clone_from(&last.name);
        for tenant in &tenants {
            if let Err(error) = delete_of(store, tenant.id, &tenant.settings, &mut deleted).await {
                deleted.failed += 1;
                warn!(organisation = tenant.name, %error, "old records of an organisation were not all deleted");
            }
        }
    }
    let age = DAY * TenantSettings::default().records_days;
    let letters = drain(|limit, skip| store.delete_old_dead_letters(age, limit, skip)).await;
    deleted.dead_letters = letters.done;
    deleted.failed += park(store, "old dead letters", None, letters).await?;
    Ok(deleted)
}

/// Parks what a step left out. Returns how many rows.
async fn park(store: &Store, step: &str, tenant_id: Option<TenantId>, drained: Drained) -> Result<u64, store::Error> {
    for error in &drained.left_out {
        store.park(WorkLoop::Records, step, tenant_id, &error.reason()).await?;
    }
    drained.fault.map_or(Ok(drained.left_out.len() as u64), Err)
}

async fn delete_of(
    store: &Store,
    tenant_id: TenantId,
    settings: &TenantSettings,
    deleted: &mut DeletedRecords,
) -> Result<(), store::Error> {
    for sandbox in [false, true] {
        let (account, age) = (Account { tenant_id, sandbox }, DAY * settings.events_days);
        let events = drain(|limit, skip| store.delete_old_events(account, age, limit, skip)).await;
        deleted.events += events.done;
        deleted.failed += park(store, &format!("old events of {tenant_id}"), Some(tenant_id), events).await?;
    }
    let mut after = JobId(Uuid::nil());
    loop {
        let mut jobs = store.list_old_jobs(tenant_id, DAY * settings.records_days, after, BATCH).await?;
        let Some(last) = jobs.last() else { return Ok(()) };
        after = *last;
        let ids: Vec<_> = jobs.iter().map(ToString::to_string).collect();
        let parked = store.list_parked_among(WorkLoop::Records, &ids).await?;
        jobs.retain(|job| !parked.contains(&job.to_string()));
        match store.delete_old_jobs(&jobs).await {
            Ok(count) => deleted.jobs += count,
            // One of them cannot be deleted. Alone it stops no other.
            Err(error) if error.is_of_item() => {
                for job in &jobs {
                    match store.delete_old_jobs(std::slice::from_ref(job)).await {
                        Ok(count) => deleted.jobs += count,
                        Err(error) if error.is_of_item() => {
                            deleted.failed += 1;
                            store.park(WorkLoop::Records, &job.to_string(), Some(tenant_id), &error.reason()).await?;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
}
