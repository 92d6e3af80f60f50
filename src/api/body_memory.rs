//! Memory for request bodies. A body is charged as its bytes arrive: an announced length reserves nothing.
//!
//! The memory has two pools, a reserve for small bodies and the rest. In each pool an owner may hold as much as the
//! pool has left (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). One owner
//! alone gets a half, the next one half of the rest. Something is always left for one more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::StatusCode;
use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use crate::domain::ids::TenantId;
use crate::domain::request::LARGEST_BODY;

/// Bytes are charged, and passed on, in pieces of at least this size. The first piece of a body is free, because its
/// connection takes as much. Without a key no path takes more than that.
const UNIT: usize = 8 << 10;

/// Bytes of a body that the reserve for small bodies pays for. A thumbnail has no more.
const SMALL: usize = 64 << 10;

/// The reserve is this part of the memory: with the default of 512 MiB it holds 1,000 small bodies.
const RESERVE: usize = 8;

/// With less memory, the largest body would be more than the half of it that one owner may have.
const LEAST_BUDGET: usize = 3 * LARGEST_BODY;

/// How slow a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlowestPace {
    /// In each period of this length ...
    period: Duration,
    /// ... at least so many bytes must arrive, until the body is whole.
    bytes: usize,
}

/// 4 KiB/s. The slowest mobile networks (GPRS, EDGE) bring more, and a long period forgives gaps.
const PACE: SlowestPace = SlowestPace { period: Duration::from_secs(15), bytes: 60 << 10 };

/// Who answers for a body: an organisation with its live and test keys, or nobody that has such a key. The latter are
/// operators and reviewers, whose bodies are small.
type Owner = Option<TenantId>;

/// The memory for the bodies of this process; clones share it.
#[derive(Clone)]
pub(super) struct BodyMemory {
    pools: Arc<Mutex<[MemoryPool; 2]>>,
    pace: SlowestPace,
}

/// Bytes that owners share.
struct MemoryPool {
    size: usize,
    used: usize,
    /// Owners that hold something.
    held: HashMap<Owner, usize>,
}

/// Why a pool has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shortage {
    /// The owner would have more than half of it.
    Own,
    /// Others use it.
    Shared,
}

/// What one body has cost so far. It is freed when the body was taken in, or with the request.
#[derive(Clone)]
pub(super) struct BodyMeter(Arc<Metered>);

struct Metered {
    memory: BodyMemory,
    /// From the header, if it is there.
    announced: usize,
    state: Mutex<Meter>,
}

#[derive(Default)]
struct Meter {
    owner: Owner,
    arrived: usize,
    /// Bytes in each pool.
    charged: [usize; 2],
    /// Nothing is charged any more.
    freed: bool,
    /// Why the body was cut off.
    fault: Option<ApiError>,
}

impl BodyMemory {
    /// `budget`: bytes of all bodies at the same time. Less than 240 MiB counts as 240 MiB.
    pub(super) fn new(budget: usize) -> Self {
        Self::with_pace(budget.max(LEAST_BUDGET), PACE)
    }

    fn with_pace(budget: usize, pace: SlowestPace) -> Self {
        let reserve = budget / RESERVE;
        let pools = [reserve, budget - reserve].map(|size| MemoryPool { size, used: 0, held: HashMap::new() });
        Self { pools: Arc::new(Mutex::new(pools)), pace }
    }

    /// Meters a body. `announced` is its length by its header, else 0.
    pub(super) fn meter(&self, announced: usize) -> BodyMeter {
        BodyMeter(Arc::new(Metered { memory: self.clone(), announced, state: Mutex::default() }))
    }

    fn pools(&self) -> MutexGuard<'_, [MemoryPool; 2]> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryPool {
    /// Whether the owner may have `bytes` more.
    fn check(&self, owner: Owner, bytes: usize) -> Result<(), Shortage> {
        let own = self.held.get(&owner).copied().unwrap_or_default() + bytes;
        if bytes == 0 || own <= self.size.saturating_sub(self.used + bytes) {
            return Ok(());
        }
        Err(if own > self.size / 2 { Shortage::Own } else { Shortage::Shared })
    }

    fn take(&mut self, owner: Owner, bytes: usize) -> Result<(), Shortage> {
        self.check(owner, bytes)?;
        if bytes > 0 {
            self.used += bytes;
            *self.held.entry(owner).or_default() += bytes;
        }
        Ok(())
    }

    fn give_back(&mut self, owner: Owner, bytes: usize) {
        let Some(held) = self.held.get_mut(&owner) else { return };
        *held = held.saturating_sub(bytes);
        if *held == 0 {
            self.held.remove(&owner);
        }
        self.used = self.used.saturating_sub(bytes);
    }
}

/// What a body of this length costs in each pool.
fn cost(bytes: usize) -> [usize; 2] {
    let whole = bytes.next_multiple_of(UNIT);
    [whole.min(SMALL).saturating_sub(UNIT), whole.saturating_sub(SMALL)]
}

impl BodyMeter {
    /// Names the owner, before the body is read. If the announced length has no place now, the client hears it before
    /// it sends the body.
    ///
    /// # Errors
    /// When the owner, or all of them, have too many bodies in memory.
    pub(super) fn belongs_to(&self, owner: TenantId) -> Result<(), ApiError> {
        self.state().owner = Some(owner);
        let pools = self.0.memory.pools();
        let checks = pools.iter().zip(cost(self.0.announced)).map(|(pool, bytes)| pool.check(Some(owner), bytes));
        checks.collect::<Result<(), _>>().map_err(refusal)
    }

    /// Frees the memory of the body: it was taken in.
    pub(super) fn free(&self) {
        self.0.free();
    }

    /// Why the body was cut off, if it was.
    pub(super) fn fault(&self) -> Option<ApiError> {
        self.state().fault.clone()
    }

    /// The body, metered: charged as it arrives, and ended by an error if there is no memory or it is too slow.
    pub(super) fn read(self, body: Body) -> Body {
        let reading = MeteredBody {
            period_ends: Instant::now() + self.0.memory.pace.period,
            meter: self,
            frames: body.into_data_stream(),
            kept: BytesMut::new(),
            in_period: 0,
        };
        Body::from_stream(reading.pieces())
    }

    fn charge(&self, bytes: usize) -> Result<(), CutOff> {
        let mut state = self.state();
        state.arrived += bytes;
        if state.freed {
            return Ok(());
        }
        let (owner, wanted) = (state.owner, cost(state.arrived));
        for (pool, wanted) in wanted.into_iter().enumerate() {
            let more = wanted - state.charged[pool];
            if more > 0 {
                let taken = self.0.memory.pools()[pool].take(owner, more);
                taken.map_err(|shortage| state.cut_off(refusal(shortage)))?;
                state.charged[pool] = wanted;
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, Meter> {
        self.0.state()
    }
}

impl Meter {
    fn cut_off(&mut self, fault: ApiError) -> CutOff {
        self.fault = Some(fault);
        CutOff
    }
}

impl Metered {
    fn state(&self) -> MutexGuard<'_, Meter> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self) {
        let mut state = self.state();
        state.freed = true;
        let (owner, charged) = (state.owner, std::mem::take(&mut state.charged));
        for (pool, bytes) in self.memory.pools().iter_mut().zip(charged) {
            pool.give_back(owner, bytes);
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.free();
    }
}

/// A body that is being read.
struct MeteredBody {
    meter: BodyMeter,
    frames: BodyDataStream,
    /// Small frames until there is a piece of them. Kept singly, a chunk of one byte would take forty.
    kept: BytesMut,
    in_period: usize,
    period_ends: Instant,
}

/// The body ends here; [`BodyMeter::fault`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut off")]
struct CutOff;

impl MeteredBody {
    fn pieces(self) -> impl Stream<Item = Result<Bytes, axum::BoxError>> {
        stream::try_unfold(self, async |mut reading: Self| Ok(reading.next().await?.map(|piece| (piece, reading))))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, axum::BoxError> {
        loop {
            let Ok(frame) = timeout_at(self.period_ends, self.frames.next()).await else {
                self.end_period()?;
                continue;
            };
            let Some(frame) = frame else {
                return Ok((!self.kept.is_empty()).then(|| self.kept.split().freeze()));
            };
            let frame = frame?;
            self.meter.charge(frame.len())?;
            self.in_period += frame.len();
            if self.kept.is_empty() && frame.len() >= UNIT {
                return Ok(Some(frame));
            }
            self.kept.extend_from_slice(&frame);
            if self.kept.len() >= UNIT {
                return Ok(Some(self.kept.split().freeze()));
            }
        }
    }

    fn end_period(&mut self) -> Result<(), CutOff> {
        let pace = self.meter.0.memory.pace;
        if self.in_period < pace.bytes {
            return Err(self.meter.state().cut_off(too_slow(pace)));
        }
        self.in_period = 0;
        self.period_ends = Instant::now() + pace.period;
        Ok(())
    }
}

fn refusal(shortage: Shortage) -> ApiError {
    let error = match shortage {
        Shortage::Own => {
            let detail = "the service is reading too many large requests of yours: wait until one of them is answered";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_large_requests", detail)
        }
        Shortage::Shared => {
            let detail = "the service is reading too many large requests: try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
        }
    };
    error.after(Duration::from_secs(1))
}

fn too_slow(SlowestPace { period, bytes }: SlowestPace) -> ApiError {
    let (kib, seconds) = (bytes >> 10, period.as_secs());
    let detail = format!("less than {kib} KiB of the body arrived in {seconds} s: send it over a faster connection");
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", &detail)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::to_bytes;
    use axum::extract::Request;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;
    use crate::api::edges::meter_body;

    const MIB: usize = 1 << 20;

    /// A body of this owner and length, as it arrives.
    fn arrive(memory: &BodyMemory, owner: TenantId, bytes: usize) -> Result<BodyMeter, &'static str> {
        let meter = memory.meter(0);
        meter.belongs_to(owner).map_err(|error| error.code)?;
        match meter.charge(bytes) {
            Ok(()) => Ok(meter),
            Err(CutOff) => Err(meter.fault().unwrap().code),
        }
    }

    #[test]
    fn nobody_holds_more_than_is_left_and_the_next_one_always_gets_some() {
        let memory = BodyMemory::new(512 * MIB);
        let owners: Vec<TenantId> = (0..5).map(|_| TenantId::new()).collect();
        let mut held = Vec::new();
        for (flooder, expected) in owners.iter().zip([22, 11, 6, 3, 1]) {
            let taken: Vec<_> = std::iter::from_fn(|| arrive(&memory, *flooder, 10 * MIB).ok()).collect();
            assert_eq!(taken.len(), expected, "of 448 MiB, each half of what the ones before left");
            held.extend(taken);
        }
        assert_eq!(arrive(&memory, owners[0], 10 * MIB).err(), Some("too_many_large_requests"));
        assert_eq!(arrive(&memory, owners[4], 10 * MIB).err(), Some("overloaded"));
        assert!(arrive(&memory, TenantId::new(), 5 * MIB).is_ok());
        drop(held);
        assert!(memory.pools().iter().all(|pool| pool.used == 0 && pool.held.is_empty()));
    }

    #[test]
    fn small_bodies_have_a_reserve_and_the_smallest_are_free() {
        let memory = BodyMemory::new(0);
        let (flooder, other) = (TenantId::new(), TenantId::new());
        let large: Vec<_> = std::iter::from_fn(|| arrive(&memory, flooder, 10 * MIB).ok()).collect();
        let small: Vec<_> = std::iter::from_fn(|| arrive(&memory, flooder, SMALL).ok()).collect();
        assert_eq!((large.len(), small.len()), (10, 264), "of 210 and 30 MiB");
        assert_eq!(arrive(&memory, flooder, SMALL).err(), Some("too_many_large_requests"));
        assert!(arrive(&memory, other, SMALL).is_ok());
        assert!(arrive(&memory, flooder, UNIT).is_ok(), "a connection takes as much");
        assert!(arrive(&BodyMemory::new(0), flooder, LARGEST_BODY).is_ok(), "one alone always fits");
    }

    #[test]
    fn an_announced_length_is_checked_but_takes_no_place() {
        let memory = BodyMemory::new(0);
        let owner = TenantId::new();
        let announced: Vec<_> = (0..1000).map(|_| memory.meter(LARGEST_BODY)).collect();
        assert!(announced.iter().all(|meter| meter.belongs_to(owner).is_ok()));
        let _half = arrive(&memory, owner, 100 * MIB).unwrap();
        assert_eq!(memory.meter(LARGEST_BODY).belongs_to(owner).unwrap_err().code, "too_many_large_requests");
        assert!(memory.meter(LARGEST_BODY >> 1).belongs_to(TenantId::new()).is_ok());
    }

    #[test]
    fn a_body_that_was_taken_in_costs_nothing_more() {
        let memory = BodyMemory::new(0);
        let meter = arrive(&memory, TenantId::new(), 3 * MIB).unwrap();
        assert_eq!(memory.pools().iter().map(|pool| pool.used).sum::<usize>(), 3 * MIB - UNIT);
        meter.free();
        meter.charge(MIB).unwrap();
        assert!(memory.pools().iter().all(|pool| pool.used == 0));
    }

    /// What a handler that reads bodies whole answers to these frames. With `ends` false more are awaited for ever.
    async fn answer(memory: &BodyMemory, frames: Vec<Bytes>, ends: bool) -> (u16, Bytes) {
        let frames = stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>));
        let body = if ends { Body::from_stream(frames) } else { Body::from_stream(frames.chain(stream::pending())) };
        let lengths = |request: Request| async {
            let lengths =
                request.into_body().into_data_stream().map(|piece| piece.map(|piece| piece.len().to_string()));
            let lengths: Vec<_> = lengths.collect().await;
            lengths.into_iter().collect::<Result<Vec<_>, _>>().map_or_else(|_| "broken".to_owned(), |all| all.join(" "))
        };
        let router = Router::new().route("/", post(lengths)).layer(from_fn_with_state(memory.clone(), meter_body));
        let response = router.oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
        (response.status().as_u16(), to_bytes(response.into_body(), 1 << 16).await.unwrap())
    }

    #[tokio::test]
    async fn frames_of_one_byte_are_joined_before_they_are_kept() {
        let memory = BodyMemory::new(0);
        let bytes = vec![Bytes::from_static(b"x"); 2 * UNIT + 1];
        assert_eq!(answer(&memory, bytes, true).await, (200, "8192 8192 1".into()));
        assert_eq!(answer(&memory, vec![vec![0; 3 * UNIT].into()], true).await, (200, "24576".into()));
        assert_eq!(answer(&memory, Vec::new(), true).await, (200, "".into()));
    }

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_or_finds_no_place_is_refused_with_its_reason() {
        let pace = SlowestPace { period: Duration::from_millis(50), bytes: 10 };
        let memory = BodyMemory::with_pace(64 * UNIT, pace);
        let code = async |frames, ends| {
            let (status, body) = answer(&memory, frames, ends).await;
            (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap()["code"].clone())
        };
        assert_eq!(code(vec!["short".into()], false).await, (408, "slow_body".into()));
        assert_eq!(code(vec!["longer than ten bytes".into()], false).await, (408, "slow_body".into()), "later");
        let large = vec![Bytes::from(vec![0; UNIT]); 64];
        assert_eq!(code(large, true).await, (429, "too_many_large_requests".into()));
    }
}
