//! How many jobs an organisation may have waiting or running. Beyond that it gets 429, or the reply `rejected`, and
//! sends the job again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use crate::domain::ids::TenantId;
use crate::domain::request::RequestFault;
use crate::domain::tenant::{JOBS_IN_FLIGHT, TenantSettings};
use crate::store::Store;

/// How long a count is believed. Counting costs a long backlog some milliseconds, so not every submission counts.
const FRESH: Duration = Duration::from_secs(1);

/// The counts of this process; clones share them. Several processes may exceed a limit by what they accept in a second.
#[derive(Clone, Default)]
pub struct JobsInFlight(Arc<Mutex<HashMap<TenantId, (Instant, i64)>>>);

impl JobsInFlight {
    /// Counts one more job.
    ///
    /// # Errors
    /// [`Error::TooManyJobs`] when there is no place for it; when the database fails.
    pub(super) async fn add(&self, store: &Store, tenant: TenantId, settings: &TenantSettings) -> Result<(), Error> {
        let limit = settings.jobs_in_flight.unwrap_or(JOBS_IN_FLIGHT);
        let known = self.add_known(tenant, limit);
        let added = if let Some(added) = known {
            added
        } else {
            let count = store.count_jobs_in_flight(tenant, i64::from(limit)).await?;
            self.counts().insert(tenant, (Instant::now(), count));
            self.add_known(tenant, limit).unwrap_or(true)
        };
        if added {
            return Ok(());
        }
        Err(Error::TooManyJobs(RequestFault {
            code: "too_many_jobs",
            field: None,
            message: format!("the organisation has {limit} jobs that wait or run: send this one again when some ended"),
        }))
    }

    /// Whether there was a place for one more; `None` without a fresh count.
    fn add_known(&self, tenant: TenantId, limit: u32) -> Option<bool> {
        let mut counts = self.counts();
        let (_, count) = counts.get_mut(&tenant).filter(|(counted_at, _)| counted_at.elapsed() < FRESH)?;
        let has_place = *count < i64::from(limit);
        *count += i64::from(has_place);
        Some(has_place)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, (Instant, i64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
