//! Runs jobs: claim, fetch, compare, record in one commit, and only then tell the broker.

pub mod slots;

use std::time::{Duration, Instant};

use bytes::Bytes;
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
use crate::jobs::{self, Finished, InputImage, Inputs, JobError};
use crate::keys::{self, WrappedKey};
use crate::lifecycle::Lifecycle;
use crate::media::{self, Media};
use crate::queue::connection::Broker;
use crate::queue::consumer::{self, Incoming, Settle};
use crate::queue::{message, topology};
use crate::store::images::ImageRow;
use crate::store::jobs::{Change, Claim, LEASE, Success};
use crate::store::perceptual_hashes::{ComparedWith, ProbeHash};
use crate::store::sealed::{SealPurpose, SealedRecord};
use crate::store::{self, Store};
use crate::vision::scene::Scene;
use slots::Slots;

/// What a worker needs.
#[derive(Clone)]
pub struct Worker {
    pub store: Store,
    pub media: Media,
    pub pepper: Pepper,
    pub context: jobs::Context,
    pub slots: Slots,
    pub life: Lifecycle,
}

/// Doorbells in hand: enough to keep the engine busy, few enough that another worker finds some.
const PREFETCH: [(WorkQueue, u16); 3] = [(WorkQueue::Interactive, 8), (WorkQueue::Bulk, 4), (WorkQueue::Sandbox, 8)];
/// A job that computes for longer than this is stopped and tried again.
const DEADLINE: Duration = Duration::from_mins(1);
/// Images that are not here after this long are tried again. Longer than the patience of a shutdown, which gives the
/// attempt back.
const FETCH: Duration = Duration::from_secs(30);
/// Within a third of a lease, so that one hung renewal does not cost it.
const STATEMENT: Duration = Duration::from_secs(8);
/// From this attempt on a job runs alone on its worker. When a worker dies, each job that it had in hand is charged an
/// attempt, and all of them come back together: without this, one that kills its worker would in the end take the
/// innocent ones beside it along.
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
    /// No other attempt can do better.
    fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::ImageGone
                | Self::Media(media::Error::Keys(keys::Error::Altered))
                | Self::Job(JobError::Fail(_) | JobError::SourceFault(_))
        )
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
            error!("a message in a work queue is no doorbell: dropped");
            return Settle::Ack;
        };
        // Over, running elsewhere, or not due yet: there will be another doorbell if there must.
        let attempt = match self.patiently(|| self.store.find_next_attempt(job_id)).await {
            Ok(Some(attempt)) => attempt,
            Ok(None) => return Settle::Ack,
            Err(Stopping) => return Settle::Requeue,
        };
        let turn =
            async { if attempt < IN_DOUBT { self.slots.together(queue).await } else { self.slots.alone(queue).await } };
        let turn = tokio::select! {
            biased;
            () = self.life.stopping().cancelled() => return Settle::Requeue,
            turn = turn => turn,
        };
        let claim = match self.patiently(|| self.store.claim_job(job_id)).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return Settle::Ack,
            Err(Stopping) => return Settle::Requeue,
        };
        let span = info_span!("job", request_id = %claim.summary.request_id, attempt = claim.attempt);
        self.run(&claim).instrument(span).await;
        drop(turn);
        Settle::Ack
    }

    /// Asks, waiting out a database that does not answer, until the shutdown begins.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Stopping>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let mut wait = Duration::from_millis(200);
        loop {
            match within(ask()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => warn!(%error, "no claim: the database does not answer"),
            }
            tokio::select! {
                () = self.life.stopping().cancelled() => return Err(Stopping),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(10)),
            }
        }
    }

    async fn run(&self, claim: &Claim) {
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = self.compute(claim) => outcome,
            lost = self.keep_lease(claim) => Err(lost),
            () = self.life.aborting().cancelled() => Err(JobError::Stopping.into()),
        };
        let change = match &outcome {
            Ok(success) => self.record(claim, || self.store.finish_succeeded(claim, success)).await,
            Err(Error::LeaseLost) => Some(Change::Lost),
            // Whatever goes wrong while we stop may go wrong because we stop: no attempt is charged for it.
            Err(fault) if !fault.is_permanent() && self.life.stopping().is_cancelled() => {
                self.record(claim, || self.store.release_job(claim)).await
            }
            Err(fault) => self.record_fault(claim, fault).await,
        };
        let ms = begun.elapsed().as_millis();
        match (change, outcome) {
            (Some(Change::Done), Ok(success)) => info!(verdict = success.outcome.verdict.name(), ms, "job succeeded"),
            (Some(Change::Done), Err(fault)) => warn!(%fault, ms, "job has no outcome yet"),
            (Some(Change::Lost), outcome) => {
                warn!(ms, "the job is somebody else's by now: nothing was recorded");
                if let Some(frame) = outcome.ok().and_then(|it| it.frame) {
                    self.forget(claim, &frame).await;
                }
            }
            (None, _) => error!(ms, "nothing could be recorded: the lease will run out"),
        }
    }

    /// What nobody will ever hold the key of. Should this fail, the janitor finds it.
    async fn forget(&self, claim: &Claim, frame: &ImageRow) {
        if let Err(error) = self.media.delete_image(claim.tenant_id, frame.id).await {
            warn!(image = %frame.id, %error, "a blob without a key was left behind");
        }
    }

    async fn compute(&self, claim: &Claim) -> Result<Success, Error> {
        // Bounded like the computing: a hung file system must not hold the lease for ever.
        let inputs = tokio::time::timeout(FETCH, self.fetch(claim)).await.map_err(|_| Error::FetchTimeout)??;
        let mut finished = if claim.summary.sandbox {
            jobs::sandbox::run(&claim.params, &inputs, claim.attempt).await?
        } else {
            jobs::run(&self.context, &claim.params, &inputs, Instant::now() + DEADLINE).await?
        };
        let probe_hash = self.probe_hash(claim, &finished, &inputs);
        if let Some(probe_hash) = &probe_hash {
            match within(self.store.find_duplicates(claim.tenant_id, claim.summary.id, probe_hash)).await {
                Ok(None) => {}
                Ok(Some((jobs, latest))) => {
                    let probe = finished.outcome.probe();
                    let image = probe.map(|it| claim.params.image_name(it.role, it.position)).unwrap_or_default();
                    finished.outcome.warnings.push(Warning::duplicated_image(&image, jobs, &latest));
                }
                // A warning is not worth computing all of it again.
                Err(error) => warn!(%error, "it is not known whether the image was sent before"),
            }
        }
        let identity = finished.identity.map(|it| self.seal(claim, &it)).transpose()?;
        let frame = match finished.frame {
            Some(jpeg) => {
                Some(tokio::time::timeout(FETCH, self.keep(claim, &jpeg)).await.map_err(|_| Error::FetchTimeout)??)
            }
            None => None,
        };
        Ok(Success { outcome: finished.outcome, identity, frame, probe_hash })
    }

    /// Of the picture that was compared, and of whose face it was said to be.
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

    /// Stores the frame that was taken out of a video, encrypted as every image; its key is stored with the result.
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

    /// A person's record leaves this process only encrypted.
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
        if roles.iter().any(|role| !images.iter().any(|it| it.role == *role)) {
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

    /// Renews the lease at a third of its length; returns when it is lost.
    async fn keep_lease(&self, claim: &Claim) -> Error {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            match within(self.store.renew_lease(claim)).await {
                Ok(Change::Done) => {}
                Ok(Change::Lost) => return Error::LeaseLost,
                // The lease may still stand; the next turn tells.
                Err(error) => warn!(%error, "lease not renewed"),
            }
        }
    }

    /// A transient fault puts the job back; the last attempt's fault ends it.
    async fn record_fault(&self, claim: &Claim, fault: &Error) -> Option<Change> {
        let wait = if fault.is_permanent() { None } else { backoff::after_attempt(claim.attempt, rand::random()) };
        if let Some(wait) = wait {
            self.record(claim, || self.store.retry_job(claim, wait)).await
        } else {
            let failure = failure(fault);
            self.record(claim, || self.store.finish_failed(claim, &failure)).await
        }
    }

    /// Commits a change, again if need be: after a lost answer it reads, and never assumes. Gives up when the lease
    /// would be over anyway.
    async fn record<F>(&self, claim: &Claim, change: impl Fn() -> F) -> Option<Change>
    where
        F: Future<Output = Result<Change, store::Error>>,
    {
        let give_up = Instant::now() + LEASE;
        let mut unsure = false;
        let mut wait = Duration::from_millis(100);
        while Instant::now() < give_up {
            match within(change()).await {
                Ok(Change::Lost) if unsure => {
                    if within(self.store.is_finished(claim)).await.is_ok_and(|finished| finished) {
                        return Some(Change::Done);
                    }
                    return Some(Change::Lost);
                }
                Ok(change) => return Some(change),
                Err(error) => {
                    unsure = true;
                    warn!(%error, "not recorded yet");
                }
            }
            tokio::select! {
                () = self.life.aborting().cancelled() => return None,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            }
        }
        None
    }
}

/// A statement that takes longer hangs on a connection that nobody answers any more.
async fn within<T>(statement: impl Future<Output = Result<T, store::Error>>) -> Result<T, Error> {
    tokio::time::timeout(STATEMENT, statement).await.map_err(|_| Error::Timeout)?.map_err(Error::from)
}

/// For programs and for people; no detail of a machine, which a producer has no business to know.
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
