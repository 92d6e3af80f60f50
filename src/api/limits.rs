//! Limits of load: requests a minute and requests in progress for each organisation, and memory for request bodies.
//!
//! Limits hold for one process. Behind a load balancer each process grants its own.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body_memory::BodyMemory;
use super::error::ApiError;
use crate::domain::tenant::{Account, CONCURRENT_REQUESTS, REQUESTS_PER_MINUTE, TenantSettings};

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// Names of headers: the limit of requests a minute, how many are left, and seconds until all are available again.
pub(super) const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// The limits of this process; clones share them.
#[derive(Clone)]
pub struct Limits(Arc<LimitState>);

struct LimitState {
    clock: DefaultClock,
    buckets: Mutex<HashMap<Account, (NonZeroU32, Arc<Bucket>)>>,
    in_progress: Mutex<HashMap<Account, (u32, Arc<Semaphore>)>>,
    bodies: BodyMemory,
}

/// How many requests an organisation has left in this minute; sent in headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    limit: u32,
    remaining: u32,
    /// Seconds until the whole limit is available again.
    reset: u64,
}

/// The extractor that knows the caller puts the allowance here, for the headers of the answer.
#[derive(Clone, Default)]
pub(super) struct AllowanceSlot(Arc<OnceLock<Allowance>>);

/// Counts one request in progress until it is dropped.
pub(super) type RequestPermit = OwnedSemaphorePermit;

impl Limits {
    /// `body_budget`: bytes of request bodies at the same time.
    #[must_use]
    pub fn new(body_budget: usize) -> Self {
        Self(Arc::new(LimitState {
            clock: DefaultClock::default(),
            buckets: Mutex::default(),
            in_progress: Mutex::default(),
            bodies: BodyMemory::new(body_budget),
        }))
    }

    /// Counts a request of the account.
    ///
    /// # Errors
    /// When the account has used up its requests of this minute.
    pub(super) fn count(
        &self,
        account: Account,
        settings: &TenantSettings,
        slot: Option<&AllowanceSlot>,
    ) -> Result<(), ApiError> {
        let Some(limit) = NonZeroU32::new(settings.requests_per_minute.unwrap_or(REQUESTS_PER_MINUTE)) else {
            return Ok(());
        };
        let bucket = {
            let mut buckets = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || {
                let quota = Quota::per_minute(limit);
                (limit, Arc::new(RateLimiter::direct_with_clock(quota, self.0.clock.clone()).with_middleware()))
            };
            let entry = buckets.entry(account).or_insert_with(fresh);
            if entry.0 != limit {
                *entry = fresh();
            }
            Arc::clone(&entry.1)
        };
        let leave = |remaining: u32| {
            let used = u64::from(limit.get().saturating_sub(remaining));
            let reset = (used * 60).div_ceil(u64::from(limit.get()));
            if let Some(slot) = slot {
                let _ = slot.0.set(Allowance { limit: limit.get(), remaining, reset });
            }
        };
        match bucket.check() {
            Ok(state) => {
                leave(state.remaining_burst_capacity());
                Ok(())
            }
            Err(until) => {
                leave(0);
                let wait = until.wait_time_from(self.0.clock.now());
                let detail = format!("more than {limit} requests in a minute: wait as long as Retry-After says");
                Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &detail).after(wait))
            }
        }
    }

    /// Counts one more request in progress.
    ///
    /// # Errors
    /// When the account has as many as its limit allows.
    pub(super) fn start_request(&self, account: Account, settings: &TenantSettings) -> Result<RequestPermit, ApiError> {
        let limit = settings.concurrent_requests.unwrap_or(CONCURRENT_REQUESTS);
        let semaphore = {
            let mut in_progress = self.0.in_progress.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || (limit, Arc::new(Semaphore::new((limit as usize).min(Semaphore::MAX_PERMITS))));
            let entry = in_progress.entry(account).or_insert_with(fresh);
            if entry.0 != limit {
                *entry = fresh();
            }
            Arc::clone(&entry.1)
        };
        semaphore.try_acquire_owned().map_err(|_| {
            let detail = format!("more than {limit} requests at the same time: wait until one of them is answered");
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_concurrent_requests", &detail);
            error.after(Duration::from_secs(1))
        })
    }

    /// The memory for request bodies.
    pub(super) fn bodies(&self) -> &BodyMemory {
        &self.0.bodies
    }
}

impl AllowanceSlot {
    /// Writes the three headers.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Some(allowance) = self.0.get() else { return };
        let values = [u64::from(allowance.limit), u64::from(allowance.remaining), allowance.reset];
        for (name, value) in HEADERS.into_iter().zip(values) {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TenantId;

    fn settings(requests_per_minute: Option<u32>, concurrent_requests: Option<u32>) -> TenantSettings {
        TenantSettings { requests_per_minute, concurrent_requests, ..TenantSettings::default() }
    }

    #[test]
    fn each_account_has_a_limit_of_its_own_and_headers_say_what_is_left() {
        let limits = Limits::new(0);
        let (one, other) = (Account::live(TenantId::new()), Account::live(TenantId::new()));
        let two = settings(Some(2), None);
        for remaining in ["1", "0"] {
            let (slot, mut headers) = (AllowanceSlot::default(), HeaderMap::new());
            limits.count(one, &two, Some(&slot)).unwrap();
            slot.write(&mut headers);
            assert_eq!(
                (&headers["ratelimit-limit"], &headers["ratelimit-remaining"]),
                (&"2".parse().unwrap(), &remaining.parse().unwrap())
            );
        }
        let error = limits.count(one, &two, None).unwrap_err();
        assert_eq!((error.status, error.code), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
        assert!(error.retry_after.is_some_and(|seconds| (1..=30).contains(&seconds)), "{:?}", error.retry_after);
        assert!(limits.count(other, &two, None).is_ok());
        assert!(limits.count(Account { sandbox: true, ..one }, &two, None).is_ok(), "test keys have their own");
        assert!(limits.count(one, &settings(Some(3), None), None).is_ok(), "a new limit starts fresh");
        let (slot, mut headers) = (AllowanceSlot::default(), HeaderMap::new());
        limits.count(other, &TenantSettings::default(), Some(&slot)).unwrap();
        slot.write(&mut headers);
        assert_eq!(headers["ratelimit-limit"], "12000", "by default");
    }

    #[test]
    fn a_request_ends_when_its_permit_is_dropped() {
        let limits = Limits::new(0);
        let (account, one) = (Account::live(TenantId::new()), settings(None, Some(1)));
        let permit = limits.start_request(account, &one).unwrap();
        assert_eq!(limits.start_request(account, &one).unwrap_err().code, "too_many_concurrent_requests");
        drop(permit);
        assert!(limits.start_request(account, &one).is_ok());
    }
}
