//! Limits of load: requests a minute and requests in progress for each organisation, and memory for request bodies. All
//! organisations share that memory; each may have half of it.
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

use super::error::ApiError;
use crate::domain::tenant::{Account, TenantSettings};

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// Names of headers: the limit of requests a minute, how many are left, and seconds until all are available again.
pub(super) const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// Bytes for which one permit of the body budget stands.
const UNIT: usize = 64 << 10;

/// The limits of this process; clones share them.
#[derive(Clone)]
pub struct Limits(Arc<LimitState>);

struct LimitState {
    clock: DefaultClock,
    buckets: Mutex<HashMap<Account, (NonZeroU32, Arc<Bucket>)>>,
    in_progress: Mutex<HashMap<Account, (u32, Arc<Semaphore>)>>,
    bodies: Arc<Semaphore>,
    body_units: u32,
    /// Each account's part of the body budget.
    own_bodies: Mutex<HashMap<Account, Arc<Semaphore>>>,
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

/// Counts one request in progress until it is dropped. `None` if there is no limit.
pub(super) type RequestPermit = Option<OwnedSemaphorePermit>;

/// A body's share of the memory for bodies and of its account's part. It is released when the body was taken in, or
/// dropped with the request.
#[derive(Clone)]
pub(super) struct BodyShare(Arc<Mutex<Vec<OwnedSemaphorePermit>>>);

impl BodyShare {
    /// Frees the memory of the body.
    pub(super) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Limits {
    /// `body_budget`: bytes of request bodies at the same time.
    #[must_use]
    pub fn new(body_budget: usize) -> Self {
        let body_units = u32::try_from(body_budget.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Self(Arc::new(LimitState {
            clock: DefaultClock::default(),
            buckets: Mutex::default(),
            in_progress: Mutex::default(),
            bodies: Arc::new(Semaphore::new(body_units as usize)),
            body_units,
            own_bodies: Mutex::default(),
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
        let Some(limit) = settings.requests_per_minute.and_then(NonZeroU32::new) else { return Ok(()) };
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
        let Some(limit) = settings.concurrent_requests else { return Ok(None) };
        let semaphore = {
            let mut in_progress = self.0.in_progress.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || (limit, Arc::new(Semaphore::new(limit as usize)));
            let entry = in_progress.entry(account).or_insert_with(fresh);
            if entry.0 != limit {
                *entry = fresh();
            }
            Arc::clone(&entry.1)
        };
        semaphore.try_acquire_owned().map(Some).map_err(|_| {
            let detail = format!("more than {limit} requests at the same time: wait until one of them is answered");
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_concurrent_requests", &detail);
            error.after(Duration::from_secs(1))
        })
    }

    /// Reserves `bytes` of the memory for bodies.
    ///
    /// # Errors
    /// When too many bodies are being read.
    pub(super) fn body(&self, bytes: usize) -> Result<BodyShare, ApiError> {
        // A single body always fits, because its route limits its size.
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.0.body_units);
        let permit = Arc::clone(&self.0.bodies).try_acquire_many_owned(units).map_err(|_| {
            let detail = "the service is reading too many large requests: try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).after(Duration::from_secs(1))
        })?;
        Ok(BodyShare(Arc::new(Mutex::new(vec![permit]))))
    }

    /// Counts a share against the account, so that slow bodies of one account cannot take all the memory.
    ///
    /// # Errors
    /// When the account would have more than half of the memory.
    pub(super) fn own_body(&self, account: Account, share: &BodyShare) -> Result<(), ApiError> {
        let half = (self.0.body_units / 2).max(1);
        let mut permits = share.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(units) = permits.first().map(OwnedSemaphorePermit::num_permits) else { return Ok(()) };
        let semaphore = {
            let mut accounts = self.0.own_bodies.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(accounts.entry(account).or_insert_with(|| Arc::new(Semaphore::new(half as usize))))
        };
        // A single body always fits.
        let units = u32::try_from(units).unwrap_or(u32::MAX).min(half);
        permits.push(semaphore.try_acquire_many_owned(units).map_err(|_| {
            let detail = "the service is reading too many large requests of yours: wait until one of them is answered";
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_large_requests", detail);
            error.after(Duration::from_secs(1))
        })?);
        Ok(())
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
        let limits = Limits::new(UNIT);
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
    }

    #[test]
    fn a_request_ends_when_its_permit_is_dropped() {
        let limits = Limits::new(UNIT);
        let (account, one) = (Account::live(TenantId::new()), settings(None, Some(1)));
        let permit = limits.start_request(account, &one).unwrap();
        assert_eq!(limits.start_request(account, &one).unwrap_err().code, "too_many_concurrent_requests");
        drop(permit);
        assert!(limits.start_request(account, &one).is_ok());
    }

    #[test]
    fn bodies_share_a_budget_and_one_alone_always_fits() {
        let limits = Limits::new(10 * UNIT);
        let large = limits.body(100 * UNIT).unwrap();
        assert_eq!(limits.body(1).err().unwrap().code, "overloaded");
        large.release();
        assert!(limits.body(10 * UNIT).is_ok());
    }

    #[test]
    fn nobody_has_more_than_half_of_the_memory_for_bodies() {
        let limits = Limits::new(10 * UNIT);
        let (one, other) = (Account::live(TenantId::new()), Account::live(TenantId::new()));
        let take = |account, units: usize| {
            let share = limits.body(units * UNIT)?;
            limits.own_body(account, &share).map(|()| share)
        };
        let held = take(one, 4).unwrap();
        assert_eq!(take(one, 2).err().unwrap().code, "too_many_large_requests");
        assert!(take(other, 2).is_ok(), "what was refused was given back");
        held.release();
        assert!(take(one, 9).is_ok(), "one alone always fits");
    }
}
