//! A job as `GET /v1/jobs/{id}` answers it, with the evidence of its verdict.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::docs::requests::Metadata;
use crate::domain::challenge::ChallengeAnswer;
use crate::domain::evidence::{Liveness, Mode, RawScore, Similarity, Threshold};
use crate::domain::frames::FrameSummary;
use crate::domain::ids::{JobId, RequestId};
use crate::domain::job::{Failure, JobParams, JobState, Lane, Verdict};
use crate::domain::notice::{JobLinks, JobReview, ReportStatus};
use crate::domain::outcome::{ImageFinding, ImageReport, Outcome};
use crate::domain::quality::{Quality, QualityLimits};
use crate::domain::tenant::Service;
use crate::domain::time::time;
use crate::domain::warning::Warning;
use crate::store::jobs::JobView;

/// A job as it stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobAnswer {
    #[schema(value_type = String, format = "uuid")]
    id: JobId,
    /// The 12 characters that people quote.
    #[schema(value_type = String, pattern = "^[0-9A-HJKMNP-TV-Z]{12}$", examples("43KKQCNSM6Q2"))]
    request_id: RequestId,
    #[schema(value_type = Service)]
    kind: String,
    #[schema(value_type = Lane)]
    lane: String,
    state: JobState,
    /// Null until the job has succeeded.
    #[schema(required)]
    verdict: Option<Verdict>,
    /// The verdict in the words of the report.
    #[schema(required)]
    status: Option<ReportStatus>,
    #[schema(required)]
    result: Option<JobResult>,
    warnings: Vec<Warning>,
    /// Null unless the job has failed. A failure is a fault of ours, never of an image.
    #[schema(required)]
    failure: Option<Failure>,
    #[schema(value_type = Metadata)]
    metadata: BTreeMap<String, String>,
    /// How often a worker has claimed the job.
    #[schema(minimum = 0)]
    attempt: i32,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(required, format = "date-time")]
    started_at: Option<String>,
    #[schema(required, format = "date-time")]
    finished_at: Option<String>,
    /// When the images and the result were erased.
    #[schema(required, format = "date-time")]
    erased_at: Option<String>,
    links: JobLinks,
    /// What a reviewer decided; absent before. `verdict` and `status` say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    review: Option<JobReview>,
    /// Submitted with a test key; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sandbox: Option<bool>,
}

/// The evidence of a verdict, and the thresholds that were applied. Which thresholds there are depends on the kind.
#[derive(Serialize, ToSchema)]
struct JobResult {
    /// Calibrated, in [0, 1]; of a gallery, the best. Null if no two faces could be compared.
    #[schema(required, value_type = Option<f64>, minimum = 0.0, maximum = 1.0)]
    similarity: Option<Similarity>,
    /// The similarity in percent, with 2 decimals.
    #[schema(required, minimum = 0.0, maximum = 100.0)]
    score: Option<f64>,
    /// The model's score before calibration.
    #[schema(required, value_type = Option<f64>)]
    raw_score: Option<RawScore>,
    search_mode: Mode,
    /// `name@version`.
    #[schema(required)]
    model: Option<String>,
    /// `name@version`.
    #[schema(required)]
    calibration: Option<String>,
    /// Null if liveness was not tested.
    #[schema(required)]
    liveness: Option<Liveness>,
    /// What was found in each image. For a video, in the frame that was compared.
    images: Vec<ImageResult>,
    /// Only in a `face_match` with `target_frames` or `target_video`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    frames: Option<FrameSummary>,
    /// Only in a `face_match` with a challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    challenge: Option<ChallengeAnswer>,
    /// Milliseconds of computing, all images together.
    #[schema(minimum = 0.0)]
    compute_ms: f64,
    /// Only in `likeness_check` and `id_match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<f64>, minimum = 0.0, maximum = 1.0)]
    threshold: Option<Threshold>,
    /// Only in `face_match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0.0, maximum = 100.0)]
    approve_score: Option<f64>,
    /// Only in `face_match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0.0, maximum = 100.0)]
    review_score: Option<f64>,
    /// Only in `compare_with_liveness`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<f64>, minimum = 0.0, maximum = 1.0)]
    compare_min_score: Option<Threshold>,
    /// Only in `face_match` and `compare_with_liveness`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<f64>, minimum = 0.0, maximum = 1.0)]
    liveness_min_score: Option<Threshold>,
    /// Only in `compare_with_liveness`: one score for each image; null if it shows no face.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<Option<f64>>>)]
    gallery_scores: Option<Vec<Option<Similarity>>>,
}

/// What was found in one image.
#[derive(Serialize, ToSchema)]
struct ImageResult {
    /// The image's name in the request.
    #[schema(examples("target_image", "gallery[3]"))]
    image: String,
    /// Width in pixels of the upright image; null if it could not be read.
    #[schema(required)]
    width: Option<u32>,
    /// Height in pixels.
    #[schema(required)]
    height: Option<u32>,
    /// Number of faces found.
    faces: u32,
    /// How well the compared face was captured; null if there is none.
    #[schema(required)]
    quality: Option<Quality>,
    /// All measures in one number, which ranks images of one person; null if there is no face.
    #[schema(required, minimum = 0.0, maximum = 1.0)]
    composite_quality: Option<f64>,
    /// Why the image could not be read, as a stable code; absent if it could.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fault: Option<String>,
}

impl From<JobView> for JobAnswer {
    fn from(job: JobView) -> Self {
        let links = JobLinks::with_report(&job.summary);
        let outcome = job.outcome.as_ref();
        Self {
            result: outcome.map(JobResult::from),
            warnings: outcome.map(|outcome| outcome.warnings.clone()).unwrap_or_default(),
            id: job.summary.id,
            request_id: job.summary.request_id,
            kind: job.summary.kind,
            lane: job.lane,
            state: job.state,
            verdict: job.verdict,
            status: job.verdict.map(ReportStatus::from),
            failure: job.failure,
            metadata: job.summary.metadata,
            attempt: job.attempt,
            created_at: time(job.created_at),
            started_at: job.started_at.map(time),
            finished_at: job.finished_at.map(time),
            erased_at: job.erased_at.map(time),
            links,
            review: job.review.as_ref().map(JobReview::from),
            sandbox: job.summary.sandbox.then_some(true),
        }
    }
}

impl From<&Outcome> for JobResult {
    fn from(outcome: &Outcome) -> Self {
        let comparison = outcome.comparison.as_ref();
        let mut result = Self {
            similarity: comparison.map(|comparison| comparison.similarity),
            score: comparison.map(|comparison| comparison.similarity.percent()),
            raw_score: comparison.map(|comparison| comparison.raw),
            search_mode: outcome.params.mode(),
            model: comparison.map(|comparison| comparison.model.clone()),
            calibration: comparison.map(|comparison| comparison.calibration.clone()),
            liveness: outcome.liveness.clone(),
            images: outcome.images.iter().map(|image| ImageResult::of(outcome, image)).collect(),
            frames: outcome.frames.clone(),
            challenge: outcome.challenge.clone(),
            compute_ms: outcome.compute_ms,
            threshold: None,
            approve_score: None,
            review_score: None,
            compare_min_score: None,
            liveness_min_score: None,
            gallery_scores: None,
        };
        match outcome.params {
            JobParams::LikenessCheck { threshold, .. } | JobParams::IdMatch { threshold, .. } => {
                result.threshold = Some(threshold);
            }
            JobParams::FaceMatch { approve, review, liveness_min, .. } => {
                result.approve_score = Some(percent(approve));
                result.review_score = Some(percent(review));
                result.liveness_min_score = Some(liveness_min);
            }
            JobParams::CompareWithLiveness { compare_min, liveness_min, .. } => {
                result.compare_min_score = Some(compare_min);
                result.liveness_min_score = Some(liveness_min);
                result.gallery_scores = Some(outcome.gallery_scores.clone());
            }
        }
        result
    }
}

impl ImageResult {
    fn of(outcome: &Outcome, image: &ImageReport) -> Self {
        let name = outcome.params.image_name(image.role, image.position);
        match &image.seen {
            ImageFinding::Unreadable { code, .. } => Self {
                image: name,
                width: None,
                height: None,
                faces: 0,
                quality: None,
                composite_quality: None,
                fault: Some(code.clone()),
            },
            ImageFinding::Picture { width, height, faces, quality, .. } => Self {
                image: name,
                width: Some(*width),
                height: Some(*height),
                faces: *faces,
                quality: *quality,
                composite_quality: quality.map(|quality| quality.composite(&QualityLimits::default())),
                fault: None,
            },
        }
    }
}

/// A threshold on the report's scale of 0 to 100, without binary noise.
pub(super) fn percent(threshold: Threshold) -> f64 {
    (threshold.get() * 1e6).round() / 1e4
}
