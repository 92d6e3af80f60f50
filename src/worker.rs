//! Runs jobs: claims one, fetches its images, compares, records the result in one commit, and then acknowledges the
//! message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tracing::{Instrument as _, error, info, info_span, warn};

use crate::domain::backoff;
use crate::domain::identity::{IdNumber, IdentityRecord};
use crate::domain::ids::ImageId;
use crate::domain::image::{FileFormat, ImageFormat, ImageRole};
use crate::domain::job::{Failure, JobParams, VIDEO_FRAME};
use crate::domain::pepper::{HashPurpose, Pepper};
use crate::domain::perceptual_hash::PerceptualHash;
use crate::domain::warning::Warning;
use crate::domain::work_queue::WorkQueue;
use crate::jobs::slots::{OutsideCall, RunPermit, Slots};
use crate::jobs::{self, Finished, InputImage, Inputs, JobError};
use crate::keys::{self, WrappedKey};
use crate::lifecycle::Lifecycle;
use crate::media::{self, Media};
use crate::queue::connection::Broker;
use crate::queue::consumer::{self, Incoming, Settle};
use crate::queue::{message, topology};
use crate::store::due_jobs::DueJob;
use crate::store::images::ImageRow;
use crate::store::jobs::{Change, Claim, LEASE, Success};
use crate::store::perceptual_hashes::{ComparedWith, ProbeHash};
use crate::store::sealed::{SealPurpose, SealedRecord};
use crate::store::{self, Store};
use crate::vision::scene::Scene;

/// What a worker needs.
#[derive(Clone)]
pub struct Worker {
    pub store: Store,
    pub media: Media,
    pub pepper: Pepper,
    pub context: jobs::Context,
    pub slots: Slots,
    pub unrecorded: Unrecorded,
    pub life: Lifecycle,
}

/// How many outcomes of this worker could not be recorded yet, because the database failed. Meanwhile the worker claims
/// nothing more. Clones share the number.
#[derive(Clone, Default)]
pub struct Unrecorded(Arc<watch::Sender<usize>>);

/// An outcome that could not be recorded yet. Dropping it lets claims go on.
struct UnrecordedOutcome<'a>(&'a Unrecorded);

/// How many doorbells a worker holds: enough to keep the engine busy, few enough to leave some to other workers.
const PREFETCH: [(WorkQueue, u16); 3] = [(WorkQueue::Interactive, 8), (WorkQueue::Bulk, 4), (WorkQueue::Sandbox, 8)];
/// A job that computes for longer than this is stopped and retried.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long to wait for the images of a job before it is retried. This is longer than the grace time of a shutdown,
/// which gives the attempt back.
const FETCH: Duration = Duration::from_secs(30);
/// The longest time for a call of the database before the outcome. It is less than a third of a lease, so that one hung
/// renewal does not lose the lease.
const STATEMENT: Duration = Duration::from_secs(8);
/// The longest time for one try to record an outcome. An outcome takes one to nine round trips, so that it is recorded
/// at a round trip of a second, too. The lease is renewed meanwhile.
const RECORD: Duration = Duration::from_secs(25);
/// After a fault of our own database, the job is put back when this time has passed.
const OUTAGE: Duration = Duration::from_secs(2);
/// From this attempt on a job runs alone on its worker. When a worker dies, each of its jobs is charged an attempt, and
/// all of them come back together. Otherwise a job that kills its worker would use up the attempts of the jobs beside
/// it.
const IN_DOUBT: i32 = 3;

/// The shutdown began.
struct Stopping;

/// Why a claimed job has no outcome yet.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Media(#[from] media::Error),
    #[error("an image or the ID number is gone")]
    ImageGone,
    #[error("the blob store did not answer in time")]
    FetchTimeout,
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("another worker took the job over")]
    LeaseLost,
    #[error("the database did not answer")]
    Timeout,
}

impl From<keys::Error> for Error {
    fn from(error: keys::Error) -> Self {
        Self::Media(error.into())
    }
}

impl Error {
    /// Whether another attempt would fail in the same way.
    fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::ImageGone
                | Self::Media(media::Error::Keys(keys::Error::Altered))
                | Self::Job(JobError::Fail(_) | JobError::SourceFault(_))
        )
    }

    /// Whether our own database is at fault, so that the attempt does not count.
    fn is_outage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_outage(),
            Self::Timeout => true,
            _ => false,
        }
    }
}

impl Unrecorded {
    fn begin(&self) -> UnrecordedOutcome<'_> {
        self.0.send_modify(|count| *count += 1);
        UnrecordedOutcome(self)
    }

    /// Waits until every outcome is recorded, or given up.
    async fn none(&self) {
        // The sender is ours, so the channel does not close.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for UnrecordedOutcome<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl Worker {
    /// Serves every work queue until the shutdown begins.
    pub fn start(&self, broker: &Broker) {
        for (queue, prefetch) in PREFETCH {
            let worker = self.clone();
            let handler = move |incoming| worker.clone().handle(queue, incoming);
            let consume =
                consumer::consume(broker.clone(), topology::work_queue(queue), prefetch, self.life.clone(), handler);
            self.life.spawn("worker", consume);
        }
    }

    async fn handle(self, queue: WorkQueue, incoming: Incoming) -> Settle {
        let Some(job_id) = message::read_doorbell(&incoming.body) else {
            error!("a message in a work queue is not a doorbell and was dropped");
            return Settle::Ack;
        };
        // The job is over, runs elsewhere, or is not due yet. If it must run, another doorbell will come.
        let due = match self.patiently(|| self.store.find_due_job(job_id)).await {
            Ok(Some(due)) => due,
            Ok(None) => return Settle::Ack,
            Err(Stopping) => return Settle::Requeue,
        };
        let outside = match self.outside_call(&due, incoming.early_ack) {
            Ok(outside) => outside,
            // Not kept here: it would fill the prefetch, and a face match behind it would wait.
            Err(wait) => match self.patiently(|| self.store.postpone_job(job_id, wait)).await {
                Ok(()) => return Settle::Ack,
                Err(Stopping) => return Settle::Requeue,
            },
        };
        let is_in_doubt = due.attempt >= IN_DOUBT;
        let turn = async { if is_in_doubt { self.slots.alone(queue).await } else { self.slots.together(queue).await } };
        let mut permit = tokio::select! {
            biased;
            () = self.life.stopping().cancelled() => return Settle::Requeue,
            permit = turn => permit,
        };
        if let Some(outside) = outside {
            permit.allow_outside(outside);
        }
        tokio::select! {
            () = self.life.stopping().cancelled() => return Settle::Requeue,
            () = self.unrecorded.none() => {}
        }
        let claim = match self.patiently(|| self.store.claim_job(job_id)).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return Settle::Ack,
            Err(Stopping) => return Settle::Requeue,
        };
        let span = info_span!("job", request_id = %claim.summary.request_id, attempt = claim.attempt);
        self.run(&claim, &mut permit).instrument(span).await;
        Settle::Ack
    }

    /// The right to call the source of a live `id_match`, if that is somebody else's server.
    ///
    /// # Errors
    /// After which time to try again, when the source has enough calls under way.
    fn outside_call(
        &self,
        due: &DueJob,
        doorbell: Option<oneshot::Sender<()>>,
    ) -> Result<Option<OutsideCall>, Duration> {
        let Some(limit) = due.id_type.and_then(|id_type| self.context.sources.limit(id_type)) else { return Ok(None) };
        let permit = limit.try_acquire(due.tenant_id, Instant::now())?;
        Ok(Some(OutsideCall { permit, doorbell }))
    }

    /// Repeats a query while the database does not answer, until the shutdown begins.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Stopping>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let mut wait = Duration::from_millis(200);
        loop {
            match within(STATEMENT, ask()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => warn!(%error, "no claim: the database does not answer"),
            }
            tokio::select! {
                () = self.life.stopping().cancelled() => return Err(Stopping),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(10)),
            }
        }
    }

    async fn run(&self, claim: &Claim, permit: &mut RunPermit) {
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = self.compute(claim, permit) => outcome,
            lost = self.keep_lease(claim) => Err(lost),
            () = self.life.aborting().cancelled() => Err(JobError::Stopping.into()),
        };
        let change = match &outcome {
            Ok(success) => self.record(claim, || self.store.finish_succeeded(claim, success)).await,
            Err(Error::LeaseLost) => Some(Change::Lost),
            Err(Error::Job(JobError::Later(wait))) => self.record(claim, || self.store.release_job(claim, *wait)).await,
            // Faults during a shutdown may come from the shutdown, so that no attempt is charged for them.
            Err(fault) if !fault.is_permanent() && self.life.stopping().is_cancelled() => {
                self.record(claim, || self.store.release_job(claim, Duration::ZERO)).await
            }
            // Recorded when the database answers again.
            Err(fault) if fault.is_outage() => self.record(claim, || self.store.release_job(claim, OUTAGE)).await,
            Err(fault) => self.record_fault(claim, fault).await,
        };
        let ms = begun.elapsed().as_millis();
        match (change, outcome) {
            (Some(Change::Done), Ok(success)) => info!(verdict = success.outcome.verdict.name(), ms, "job succeeded"),
            (Some(Change::Done), Err(Error::Job(JobError::Later(_)))) => {
                info!(ms, "job put off, as its test key asked");
            }
            (Some(Change::Done), Err(fault)) => warn!(%fault, ms, "job has no outcome yet"),
            (Some(Change::Lost), outcome) => {
                warn!(ms, "another worker has taken the job over: nothing was recorded");
                if let Some(frame) = outcome.ok().and_then(|success| success.frame) {
                    self.forget(claim, &frame).await;
                }
            }
            (None, _) => error!(ms, "nothing could be recorded: the job returns when its lease runs out"),
        }
    }

    /// Deletes a frame whose key was not stored. If this fails, the janitor deletes it later.
    async fn forget(&self, claim: &Claim, frame: &ImageRow) {
        if let Err(error) = self.media.delete_image(claim.tenant_id, frame.id).await {
            warn!(image = %frame.id, %error, "a blob without a key was left behind");
        }
    }

    async fn compute(&self, claim: &Claim, permit: &mut RunPermit) -> Result<Success, Error> {
        // Limited like the computing, so that a hung file system does not hold the lease for ever.
        let inputs = tokio::time::timeout(FETCH, self.fetch(claim)).await.map_err(|_| Error::FetchTimeout)??;
        let mut finished = if claim.summary.sandbox {
            jobs::sandbox::run(&claim.params, &inputs, claim.attempt, claim.epoch == 1)?
        } else {
            jobs::run(&self.context, &claim.params, &inputs, permit, Instant::now() + DEADLINE).await?
        };
        let probe_hash = self.probe_hash(claim, &finished, &inputs);
        if let Some(probe_hash) = &probe_hash {
            match within(STATEMENT, self.store.find_duplicates(claim.tenant_id, claim.summary.id, probe_hash)).await {
                Ok(None) => {}
                Ok(Some((jobs, latest))) => {
                    let probe = finished.outcome.probe();
                    let image =
                        probe.map(|report| claim.params.image_name(report.role, report.position)).unwrap_or_default();
                    finished.outcome.warnings.push(Warning::duplicated_image(&image, jobs, &latest));
                }
                // The warning is not worth another attempt of the whole job.
                Err(error) => warn!(%error, "it is not known whether the image was sent before"),
            }
        }
        let identity = finished.identity.map(|record| self.seal(claim, &record)).transpose()?;
        let frame = match finished.frame {
            Some(jpeg) => {
                Some(tokio::time::timeout(FETCH, self.keep(claim, &jpeg)).await.map_err(|_| Error::FetchTimeout)??)
            }
            None => None,
        };
        Ok(Success { outcome: finished.outcome, identity, frame, probe_hash })
    }

    /// Hashes of the compared picture, and of the picture or number that it was compared with.
    fn probe_hash(&self, claim: &Claim, finished: &Finished, inputs: &Inputs) -> Option<ProbeHash> {
        let probe = finished.probe.as_ref()?;
        let hash = |scene: &Scene| PerceptualHash::of(scene.cells(), &self.pepper, claim.tenant_id);
        let compared_with = match (&probe.reference, &claim.params, &inputs.id_number) {
            (Some(reference), ..) => ComparedWith::Image(hash(reference)?),
            (None, JobParams::IdMatch { id_type, .. }, Some(number)) => {
                let (tenant, id_type, number) = (claim.tenant_id.0, id_type.name(), number.canonical());
                let parts = [tenant.as_bytes().as_slice(), b"number", id_type.as_bytes(), number.as_bytes()];
                ComparedWith::Number(self.pepper.digest(HashPurpose::PerceptualHash, &parts))
            }
            _ => return None,
        };
        let hash = hash(&probe.scene)?;
        Some(ProbeHash { hash, parts: hash.parts(&self.pepper, claim.tenant_id), compared_with })
    }

    /// Stores the frame that was taken out of a video, encrypted like every image. Its key is stored with the result.
    async fn keep(&self, claim: &Claim, jpeg: &Bytes) -> Result<ImageRow, Error> {
        let id = ImageId::new();
        let key = self.media.put_image(claim.tenant_id, id, jpeg).await?;
        Ok(ImageRow {
            id,
            role: ImageRole::Probe,
            position: VIDEO_FRAME,
            format: FileFormat::Image(ImageFormat::Jpeg),
            bytes: i64::try_from(jpeg.len()).unwrap_or(i64::MAX),
            master_key_id: key.master_key_id,
            wrapped_key: key.wrapped,
        })
    }

    /// Encrypts a person's record, which leaves this process in no other form.
    fn seal(&self, claim: &Claim, identity: &IdentityRecord) -> Result<SealedRecord, Error> {
        let plain = serde_json::Value::Object(identity.attributes.clone()).to_string();
        let place = SealPurpose::Identity.place(claim.tenant_id, claim.summary.id);
        let (sealed, key) = self.media.keyring().seal(&place, plain.as_bytes())?;
        Ok(SealedRecord { master_key_id: key.master_key_id, wrapped_key: key.wrapped, sealed })
    }

    async fn fetch(&self, claim: &Claim) -> Result<Inputs, Error> {
        let (tenant_id, job_id) = (claim.tenant_id, claim.summary.id);
        let mut images = Vec::new();
        for row in self.store.list_images(tenant_id, job_id).await? {
            let key = WrappedKey { master_key_id: row.master_key_id, wrapped: row.wrapped_key };
            let bytes = self.media.get_image(tenant_id, row.id, &key).await?;
            images.push(InputImage { role: row.role, position: row.position, bytes });
        }
        let needs_number = matches!(claim.params, JobParams::IdMatch { .. });
        let roles: &[ImageRole] =
            if needs_number { &[ImageRole::Probe] } else { &[ImageRole::Reference, ImageRole::Probe] };
        if roles.iter().any(|role| !images.iter().any(|image| image.role == *role)) {
            return Err(Error::ImageGone);
        }
        let id_number = if needs_number { Some(self.id_number(claim).await?) } else { None };
        Ok(Inputs { images, id_number })
    }

    async fn id_number(&self, claim: &Claim) -> Result<IdNumber, Error> {
        let (tenant_id, job_id) = (claim.tenant_id, claim.summary.id);
        let record = self.store.find_sealed(tenant_id, job_id, SealPurpose::IdNumber).await?.ok_or(Error::ImageGone)?;
        let key = WrappedKey { master_key_id: record.master_key_id, wrapped: record.wrapped_key };
        let plain = self.media.keyring().open(&SealPurpose::IdNumber.place(tenant_id, job_id), &key, record.sealed)?;
        String::from_utf8(plain).ok().and_then(|text| IdNumber::parse(&text)).ok_or(keys::Error::Altered.into())
    }

    /// Renews the lease whenever a third of it has passed. Returns when it is lost.
    async fn keep_lease(&self, claim: &Claim) -> Error {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            match within(STATEMENT, self.store.renew_lease(claim)).await {
                Ok(Change::Done) => {}
                Ok(Change::Lost) => return Error::LeaseLost,
                // The lease may still stand. The next renewal will show it.
                Err(error) => warn!(%error, "lease not renewed"),
            }
        }
    }

    /// A transient fault puts the job back. A permanent fault, or the fault of the last attempt, ends the job.
    async fn record_fault(&self, claim: &Claim, fault: &Error) -> Option<Change> {
        let wait = if fault.is_permanent() { None } else { backoff::after_attempt(claim.attempt, rand::random()) };
        if let Some(wait) = wait {
            self.record(claim, || self.store.retry_job(claim, wait)).await
        } else {
            let failure = failure(fault);
            self.record(claim, || self.store.finish_failed(claim, &failure)).await
        }
    }

    /// Commits a change, and repeats it after a fault. When an answer was lost, it reads the state instead of assuming
    /// one. While the database is at fault it does not give up, because no other outcome can be recorded either. At
    /// another fault it gives up when the lease would be over anyway.
    async fn record<F>(&self, claim: &Claim, change: impl Fn() -> F) -> Option<Change>
    where
        F: Future<Output = Result<Change, store::Error>>,
    {
        let renew = async {
            self.keep_lease(claim).await;
            // Our own change may have ended it. The next try tells.
            std::future::pending().await
        };
        tokio::select! {
            change = self.repeat(claim, change) => change,
            never = renew => never,
        }
    }

    async fn repeat<F>(&self, claim: &Claim, change: impl Fn() -> F) -> Option<Change>
    where
        F: Future<Output = Result<Change, store::Error>>,
    {
        let give_up = Instant::now() + LEASE;
        let mut unrecorded = None;
        let mut wait = Duration::from_millis(100);
        loop {
            match within(RECORD, change()).await {
                Ok(Change::Lost) if unrecorded.is_some() => {
                    let finished = within(STATEMENT, self.store.is_finished(claim)).await;
                    return Some(if finished.is_ok_and(|finished| finished) { Change::Done } else { Change::Lost });
                }
                Ok(change) => return Some(change),
                Err(error) => {
                    warn!(%error, "not recorded yet");
                    if !error.is_outage() && Instant::now() >= give_up {
                        return None;
                    }
                    unrecorded.get_or_insert_with(|| self.unrecorded.begin());
                }
            }
            tokio::select! {
                () = self.life.aborting().cancelled() => return None,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            }
        }
    }
}

/// A call that takes longer than `limit` hangs on a connection that nobody answers any more.
async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, store::Error>>) -> Result<T, Error> {
    tokio::time::timeout(limit, call).await.map_err(|_| Error::Timeout)?.map_err(Error::from)
}

/// The failure as producers see it. It holds no details of our machines.
fn failure(fault: &Error) -> Failure {
    let (code, detail) = match fault {
        Error::Store(_) | Error::Timeout => ("database_unavailable", "the database did not answer"),
        Error::Media(media::Error::Keys(keys::Error::Altered | keys::Error::UnknownMasterKey(_))) => {
            ("image_unreadable", "a stored image could not be decrypted")
        }
        Error::Media(_) | Error::FetchTimeout => ("image_unavailable", "a stored image could not be fetched"),
        Error::Job(JobError::Fail(failure)) => return failure.clone(),
        Error::Job(JobError::SourceDown(_)) => {
            ("identity_source_unavailable", "the source of this ID type did not answer")
        }
        Error::Job(JobError::SourceFault(fault)) => (fault.code(), fault.detail()),
        Error::ImageGone => ("image_erased", "an image was erased before the job ran"),
        Error::Job(_) => ("inference_failed", "the vision engine failed"),
        Error::LeaseLost => ("lease_lost", "another worker took the job over"),
    };
    Failure { code: code.to_owned(), detail: detail.to_owned() }
}
