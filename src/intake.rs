//! The one way in: reads a request, stores its images, and inserts the job with its doorbell in one commit.
//!
//! HTTP and AMQP both come here. Nothing else inserts jobs.

pub mod amqp;
mod challenges;
pub mod dead_letters;
mod in_flight;

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::ids::{ImageId, JobId, RequestId, TenantId};
use crate::domain::image::FileFormat;
use crate::domain::job::{ImageContent, JobState, Lane, Submission, SubmittedImage};
use crate::domain::notice::{self, JobSummary};
use crate::domain::pepper::{HashPurpose, Pepper};
use crate::domain::request::{self, Defaults, Form, MIN_SIDE, RequestFault};
use crate::domain::tenant::{Account, EmptyWallet, Service, TenantSettings};
use crate::domain::work_queue::WorkQueue;
use crate::keys::{self, WrappedKey};
use crate::media::{self, Media};
use crate::store::dead_letters::NewDeadLetter;
use crate::store::images::ImageRow;
use crate::store::jobs::{Change, NewJob};
use crate::store::outbox::NewDoorbell;
use crate::store::replies::{ReplyAddress, ReplyType};
use crate::store::sealed::{SealPurpose, SealedRecord};
use crate::store::{self, Store, Tx};
use crate::vision::decode;
use challenges::Answered;
pub use in_flight::JobsInFlight;

/// What intake needs.
#[derive(Clone)]
pub struct Intake {
    pub store: Store,
    pub media: Media,
    pub pepper: Pepper,
    pub defaults: Defaults,
    pub jobs_in_flight: JobsInFlight,
}

/// Who submits, and where the answers go.
#[derive(Debug, Clone, Copy)]
pub struct SubmissionContext<'a> {
    pub account: Account,
    /// The organisation's settings.
    pub settings: &'a TenantSettings,
    /// The form of the request.
    pub form: Form,
    pub idempotency_key: Option<&'a str>,
    pub reply: Option<&'a ReplyAddress>,
    /// The lane of a request that names none.
    pub lane: Lane,
}

/// A submission that is stored: now, or by an earlier call.
#[derive(Debug, Clone)]
pub struct AcceptedJob {
    pub summary: JobSummary,
    pub state: JobState,
    /// The same key and body came before. Nothing new was stored.
    pub duplicate: bool,
}

/// A request that was read and found good.
struct GoodRequest {
    submission: Submission,
    /// Keyed hash of the request as it was sent.
    hash: Vec<u8>,
    challenge: Option<Answered>,
}

/// Why nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is at fault. Sending it again does not help.
    #[error("refused: {0}")]
    Refused(RequestFault),
    /// The organisation may not submit this: it is not approved, or has no subscription.
    #[error("refused: {0}")]
    Forbidden(RequestFault),
    /// The wallet does not cover the job, and the organisation may not overdraw.
    #[error("refused: {0}")]
    InsufficientFunds(RequestFault),
    /// The organisation has as many jobs in flight as it may. Sending the request again later helps.
    #[error("refused: {0}")]
    TooManyJobs(RequestFault),
    /// Another request came under the same idempotency key.
    #[error("refused: {0}")]
    Conflict(RequestFault),
    /// The database failed. Sending the request again may help.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Images could not be stored or read. Sending the request again may help.
    #[error(transparent)]
    Media(#[from] media::Error),
    /// This process is stopping. Sending the request again will help.
    #[error("the request was not read to its end")]
    Stopped,
}

impl From<keys::Error> for Error {
    fn from(error: keys::Error) -> Self {
        Self::Media(error.into())
    }
}

impl Error {
    /// Whether the database is at fault. It is the same for all requests, so that no request may be given up for it.
    fn is_of_database(&self) -> bool {
        matches!(self, Self::Store(error) if !error.is_of_item())
    }

    /// Whether the cause lies in what the request refers to, so that waiting does not help.
    fn is_of_request(&self) -> bool {
        match self {
            Self::Store(error) => error.is_of_item(),
            Self::Media(media::Error::Keys(keys::Error::Altered | keys::Error::UnknownMasterKey(_))) => true,
            Self::Media(error) => error.is_not_found(),
            _ => false,
        }
    }

    /// The fault in words for operators, without anything from the request.
    fn reason(&self) -> String {
        match self {
            Self::Store(error) => error.reason(),
            Self::Media(media::Error::Keys(error)) => error.to_string(),
            Self::Media(error) if error.is_not_found() => "an upload that it names is not in the blob store".to_owned(),
            Self::Media(_) => "the blob store fails for it, and not for others".to_owned(),
            _ => "it was not processed".to_owned(),
        }
    }
}

impl Intake {
    /// Takes a request in. If this returns `Ok`, the job is committed and will run.
    ///
    /// # Errors
    /// When the request is at fault, or a machine is.
    pub async fn submit(&self, origin: SubmissionContext<'_>, body: Bytes) -> Result<AcceptedJob, Error> {
        if let Some(key) = origin.idempotency_key {
            check_key(key)?;
        }
        let (mut submission, hash) = self.read(&origin, body).await?;
        check_permission(origin.settings, submission.params.service())?;
        if origin.settings.unreadable().is_some() {
            return Err(store::Error::Unreadable { what: "setting of the organisation" }.into());
        }
        if let Some(earlier) = self.find_earlier(&origin, &hash).await? {
            return self.answer_duplicate(&origin, earlier).await;
        }
        self.jobs_in_flight.add(&self.store, origin.account.tenant_id, origin.settings).await?;
        let challenge = self.read_challenge(origin.account, &mut submission)?;
        let request = GoodRequest { submission, hash, challenge };

        let mut images = Vec::with_capacity(request.submission.images.len());
        let inserted = match self.store_images(origin.account, &request.submission, &mut images).await {
            Ok(()) => self.insert(&origin, &request, &images).await,
            Err(error) => Err(error),
        };
        let (tx, summary) = match inserted {
            Ok(Some(inserted)) => inserted,
            Ok(None) => {
                // Another call inserted the same key after we looked and before our insert.
                self.delete_images(origin.account.tenant_id, &images).await;
                return match self.find_earlier(&origin, &request.hash).await? {
                    Some(earlier) => self.answer_duplicate(&origin, earlier).await,
                    None => Err(store::Error::Unreadable { what: "job that vanished" }.into()),
                };
            }
            Err(error) => {
                self.delete_images(origin.account.tenant_id, &images).await;
                // If two calls come at once under one key, the first may have used the last of the money, or the
                // challenge.
                if matches!(error, Error::InsufficientFunds(_) | Error::Refused(_))
                    && let Some(earlier) = self.find_earlier(&origin, &request.hash).await?
                {
                    return self.answer_duplicate(&origin, earlier).await;
                }
                return Err(error);
            }
        };
        // The commit may have taken place even if its answer is lost. Then the images stay.
        tx.commit().await?;
        Ok(AcceptedJob { summary, state: JobState::Queued, duplicate: false })
    }

    /// Parses and hashes on a thread for blocking work, so that leases and heartbeats are not delayed.
    async fn read(&self, origin: &SubmissionContext<'_>, body: Bytes) -> Result<(Submission, Vec<u8>), Error> {
        let (defaults, pepper) = (self.defaults.of(origin.settings), self.pepper.clone());
        let (form, lane) = (origin.form, origin.lane);
        let read = move || {
            let submission = request::parse(form, &body, lane, &defaults)?;
            if form == Form::IdMatch {
                check_sizes(&submission)?;
            }
            Ok((submission, pepper.digest(HashPurpose::Request, &[form.name().as_bytes(), &body])))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|_| Error::Stopped)?.map_err(Error::Refused)
    }

    /// Records a submission that makes no job and answers it, in one commit.
    async fn refuse(&self, id: Uuid, letter: NewDeadLetter, fault: &RequestFault) -> Result<(), Error> {
        let mut tx = self.store.begin().await?;
        tx.insert_dead_letter(id, &letter).await?;
        if let Some(reply) = &letter.reply {
            tx.insert_reply(ReplyType::Rejected, None, reply, &notice::rejected(fault)).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn find_earlier(&self, origin: &SubmissionContext<'_>, hash: &[u8]) -> Result<Option<AcceptedJob>, Error> {
        let Some(key) = origin.idempotency_key else { return Ok(None) };
        let Some(earlier) = self.store.find_job_by_key(origin.account, key).await? else { return Ok(None) };
        if earlier.request_hash != hash {
            return Err(Error::Conflict(RequestFault {
                code: "idempotency_conflict",
                field: None,
                message: "another request was submitted under this idempotency key: use a new one".to_owned(),
            }));
        }
        Ok(Some(AcceptedJob { summary: earlier.summary, state: earlier.state, duplicate: true }))
    }

    /// Sends the replies again to a producer that lost them, perhaps at another address.
    async fn answer_duplicate(
        &self,
        origin: &SubmissionContext<'_>,
        earlier: AcceptedJob,
    ) -> Result<AcceptedJob, Error> {
        if let Some(reply) = origin.reply {
            self.store.answer_again(origin.account.tenant_id, &earlier.summary, reply).await?;
        }
        Ok(earlier)
    }

    /// Adds each image that was stored to `images`, so that the caller knows them if a later one fails.
    async fn store_images(
        &self,
        account: Account,
        submission: &Submission,
        images: &mut Vec<ImageRow>,
    ) -> Result<(), Error> {
        // A worker holds all files of a job in memory.
        let max = self.defaults.max_image_bytes + self.defaults.max_video_bytes;
        let mut left = max;
        for image in &submission.images {
            let (format, bytes) = self.content(account, image).await?;
            let rest = left.checked_sub(bytes.len());
            left = rest
                .ok_or_else(|| too_large(&image.field, &format!("all files of a job together at most {max} bytes")))?;
            let id = ImageId::new();
            let key = self.media.put_image(account.tenant_id, id, &bytes).await?;
            images.push(ImageRow {
                id,
                role: image.role,
                position: image.position,
                format,
                bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
                master_key_id: key.master_key_id,
                wrapped_key: key.wrapped,
            });
        }
        Ok(())
    }

    /// The bytes of an image. An upload is copied, so that each job's images are erased with the job.
    async fn content(&self, account: Account, image: &SubmittedImage) -> Result<(FileFormat, Bytes), Error> {
        let (id, video) = match &image.content {
            ImageContent::Inline { format, bytes } => return Ok((*format, bytes.clone())),
            ImageContent::Upload { id, video } => (*id, *video),
        };
        let unknown = || {
            Error::Refused(RequestFault {
                code: "unknown_image",
                field: Some(image.field.clone()),
                message: format!(
                    "{} names no image that you uploaded, or its time is over: upload it again",
                    image.field
                ),
            })
        };
        let upload = self.store.find_upload(account, id).await?.ok_or_else(unknown)?.upload;
        if upload.format.is_video() != video {
            let (code, wanted) =
                if video { ("unsupported_video_format", "a video") } else { ("unsupported_image_format", "an image") };
            let message = format!("{} must name an upload that is {wanted}", image.field);
            return Err(Error::Refused(RequestFault { code, field: Some(image.field.clone()), message }));
        }
        let max = if video { self.defaults.max_video_bytes } else { self.defaults.max_image_bytes };
        if usize::try_from(upload.bytes).unwrap_or(usize::MAX) > max {
            return Err(too_large(&image.field, &format!("at most {max} bytes")));
        }
        let key = WrappedKey { master_key_id: upload.master_key_id, wrapped: upload.wrapped_key };
        match self.media.get_image(account.tenant_id, id, &key).await {
            Ok(bytes) => Ok((upload.format, bytes)),
            // The upload was erased between our two looks.
            Err(_) if self.store.find_upload(account, id).await?.is_none() => Err(unknown()),
            Err(error) => Err(error.into()),
        }
    }

    /// Inserts everything, but does not commit. `None` if there is a job under the key.
    async fn insert(
        &self,
        origin: &SubmissionContext<'_>,
        request: &GoodRequest,
        images: &[ImageRow],
    ) -> Result<Option<(Tx, JobSummary)>, Error> {
        let submission = &request.submission;
        let summary = JobSummary {
            id: JobId::new(),
            request_id: RequestId::from_bits(rand::random()),
            kind: submission.params.kind().to_owned(),
            sandbox: origin.account.sandbox,
            metadata: submission.metadata.clone(),
        };
        let job = NewJob {
            id: summary.id,
            account: origin.account,
            request_id: &summary.request_id,
            idempotency_key: origin.idempotency_key,
            request_hash: &request.hash,
            params: &submission.params,
            lane: submission.lane,
            metadata: &submission.metadata,
            reply: origin.reply,
            price: price(origin, submission.params.service()),
        };
        let mut tx = self.store.begin().await?;
        check_funds(&mut tx, origin, job.price).await?;
        if tx.insert_job(&job).await? == Change::Lost {
            return Ok(None);
        }
        if let Some(challenge) = &request.challenge {
            challenge.spend(&mut tx, summary.id).await?;
        }
        let tenant_id = origin.account.tenant_id;
        for image in images {
            tx.insert_image(tenant_id, summary.id, image).await?;
        }
        if let Some(number) = &submission.id_number {
            let place = SealPurpose::IdNumber.place(tenant_id, summary.id);
            let (sealed, key) = self.media.keyring().seal(&place, number.reveal().as_bytes())?;
            let record = SealedRecord { master_key_id: key.master_key_id, wrapped_key: key.wrapped, sealed };
            tx.insert_sealed(tenant_id, summary.id, SealPurpose::IdNumber, &record).await?;
        }
        let doorbell = NewDoorbell {
            tenant_id,
            job_id: summary.id,
            epoch: 0,
            queue: WorkQueue::of(submission.lane, summary.sandbox).name(),
            wait: Duration::ZERO,
        };
        tx.insert_doorbell(&doorbell).await?;
        if let Some(reply) = origin.reply {
            let notice = notice::accepted(&summary, JobState::Queued, false);
            tx.insert_reply(ReplyType::Accepted, Some((tenant_id, summary.id)), reply, &notice).await?;
        }
        Ok(Some((tx, summary)))
    }

    async fn delete_images(&self, tenant: TenantId, images: &[ImageRow]) {
        for image in images {
            if let Err(error) = self.media.delete_image(tenant, image.id).await {
                tracing::warn!(image = %image.id, %error, "a blob without a key was left behind");
            }
        }
    }
}

fn too_large(field: &str, limit: &str) -> Error {
    let message = format!("{field} is too large: {limit}");
    Error::Refused(RequestFault { code: "image_too_large", field: Some(field.to_owned()), message })
}

/// HTTP and AMQP submissions both go through this check.
fn check_permission(settings: &TenantSettings, service: Service) -> Result<(), Error> {
    let forbidden =
        |code, message: &str| Err(Error::Forbidden(RequestFault { code, field: None, message: message.to_owned() }));
    if !settings.approved {
        return forbidden("organisation_not_approved", "the organisation has not been approved yet: ask your operator");
    }
    if !settings.services.contains(&service) {
        return forbidden(
            "subscription_required",
            "the organisation has no subscription to this service: ask your operator",
        );
    }
    Ok(())
}

/// Refuses an image that is too small for a face of the least size.
fn check_sizes(submission: &Submission) -> Result<(), RequestFault> {
    for image in &submission.images {
        let ImageContent::Inline { bytes, .. } = &image.content else { continue };
        let field = &image.field;
        let fault = |code, message| RequestFault { code, field: Some(field.clone()), message };
        let (width, height) =
            decode::size(bytes).map_err(|why| fault("invalid_image", format!("{field} cannot be read: {why}")))?;
        if width.min(height) < MIN_SIDE {
            let message = format!("{field} must be at least {MIN_SIDE} x {MIN_SIDE} pixels: take it from closer");
            return Err(fault("image_too_small", message));
        }
    }
    Ok(())
}

/// What a job costs if it is confirmed. It is fixed here, whatever the organisation's price is when the job ends.
fn price(origin: &SubmissionContext<'_>, service: Service) -> Option<i64> {
    let is_billed = service == Service::IdMatch && !origin.account.sandbox;
    is_billed.then(|| origin.settings.id_match_price.max(0))
}

/// An organisation that may not overdraw must be able to pay for this job and for those under way.
async fn check_funds(tx: &mut Tx, origin: &SubmissionContext<'_>, price: Option<i64>) -> Result<(), Error> {
    let Some(price) = price.filter(|price| *price > 0) else { return Ok(()) };
    if origin.settings.empty_wallet == EmptyWallet::Overdraw {
        return Ok(());
    }
    if tx.can_pay(origin.account.tenant_id, price).await? {
        return Ok(());
    }
    Err(Error::InsufficientFunds(RequestFault {
        code: "insufficient_funds",
        field: None,
        message: "the wallet does not cover this job and those on their way: have it topped up, or try again when they are over"
            .to_owned(),
    }))
}

fn check_key(key: &str) -> Result<(), Error> {
    let length = key.chars().count();
    if (1..=255).contains(&length) && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::Refused(RequestFault {
        code: "invalid_idempotency_key",
        field: None,
        message: "the idempotency key must have 1 to 255 characters, none of them a control character".to_owned(),
    }))
}
