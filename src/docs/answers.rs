//! Schemas of what is answered and told. The JSON itself is made in `api` and `domain::notice`.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::requests::Metadata;
use crate::domain::challenge::ChallengeAnswer;
use crate::domain::evidence::{Judgement, Mode};
use crate::domain::frames::FrameSummary;
use crate::domain::job::{Failure, JobState, Lane, Verdict};
use crate::domain::quality::Quality;
use crate::domain::review::{Reason, ReviewDecision};
use crate::domain::tenant::Service;
use crate::domain::warning::Warning;
use crate::domain::webhook::EventType;

/// A verdict as the report spells it.
#[derive(ToSchema)]
pub enum ReportStatus {
    /// A successful match.
    Approved,
    /// Somebody must look at it.
    #[schema(rename = "In Review")]
    InReview,
    /// A significant discrepancy.
    Rejected,
    /// No verdict yet, or none could be reached: the warnings say why.
    #[schema(rename = "Not Finished")]
    NotFinished,
}

/// Where to read more.
#[derive(ToSchema)]
pub struct Links {
    #[schema(rename = "self", examples("/v1/jobs/01a20177-fb1d-70ef-bfb0-d6924cc85f44"))]
    pub this: String,
    /// Of a `face_match`, in answers over HTTP.
    #[schema(nullable = false)]
    pub report: Option<String>,
}

/// The job is stored and will run.
#[derive(ToSchema)]
pub struct Accepted {
    #[schema(format = "uuid")]
    pub id: String,
    /// The 12 characters that people quote.
    #[schema(pattern = "^[0-9A-HJKMNP-TV-Z]{12}$", examples("43KKQCNSM6Q2"))]
    pub request_id: String,
    pub kind: Service,
    pub state: JobState,
    pub status: ReportStatus,
    /// It had been submitted before, under this idempotency key: nothing new was stored.
    pub duplicate: bool,
    pub metadata: Metadata,
    pub links: Links,
    /// Submitted with a test key; absent otherwise.
    #[schema(nullable = false)]
    pub sandbox: Option<bool>,
}

/// An event, as webhooks, streams and the results exchange carry it.
#[derive(ToSchema)]
pub struct Event {
    #[schema(inline)]
    pub r#type: EventType,
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// Of `job.completed` and `job.failed`, what the replies `completed` and `failed` say; of `review.decided` the same as of
    /// `completed` with the reviewer's verdict and, in `review`, what was decided; of the others ids, state and verdict.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}

/// The submission was refused and nothing was stored.
#[derive(ToSchema)]
pub struct Rejected {
    /// Stable, for programs.
    #[schema(examples("missing_field"))]
    pub code: String,
    /// The field at fault, as a path.
    #[schema(required, examples("request.photo"))]
    pub field: Option<String>,
    /// For people: what is wrong, and what to do.
    pub message: String,
}

/// The job has its verdict.
#[derive(ToSchema)]
pub struct Completed {
    #[schema(format = "uuid")]
    pub id: String,
    /// The 12 characters that people quote.
    #[schema(pattern = "^[0-9A-HJKMNP-TV-Z]{12}$", examples("43KKQCNSM6Q2"))]
    pub request_id: String,
    pub kind: Service,
    pub state: JobState,
    pub verdict: Verdict,
    pub status: ReportStatus,
    /// Similarity in percent; none where no two faces could be compared.
    #[schema(required, minimum = 0.0, maximum = 100.0)]
    pub score: Option<f64>,
    pub warnings: Vec<Warning>,
    pub metadata: Metadata,
    pub links: Links,
    /// Submitted with a test key; absent otherwise.
    #[schema(nullable = false)]
    pub sandbox: Option<bool>,
}

/// The job ended without a verdict, by a fault of ours.
#[derive(ToSchema)]
pub struct Failed {
    #[schema(format = "uuid")]
    pub id: String,
    /// The 12 characters that people quote.
    #[schema(pattern = "^[0-9A-HJKMNP-TV-Z]{12}$", examples("43KKQCNSM6Q2"))]
    pub request_id: String,
    pub kind: Service,
    pub state: JobState,
    pub failure: Failure,
    pub metadata: Metadata,
    pub links: Links,
    /// Submitted with a test key; absent otherwise.
    #[schema(nullable = false)]
    pub sandbox: Option<bool>,
}

/// A job as it stands.
#[derive(ToSchema)]
pub struct Job {
    #[schema(format = "uuid")]
    pub id: String,
    /// The 12 characters that people quote.
    #[schema(pattern = "^[0-9A-HJKMNP-TV-Z]{12}$", examples("43KKQCNSM6Q2"))]
    pub request_id: String,
    pub kind: Service,
    pub lane: Lane,
    pub state: JobState,
    /// Once it has succeeded.
    #[schema(required)]
    pub verdict: Option<Verdict>,
    /// The verdict as the report spells it.
    #[schema(required)]
    pub status: Option<ReportStatus>,
    #[schema(required)]
    pub result: Option<JobResult>,
    pub warnings: Vec<Warning>,
    /// Once it has failed: a fault of ours, never the picture's.
    #[schema(required)]
    pub failure: Option<Failure>,
    pub metadata: Metadata,
    /// How often a worker took it up.
    #[schema(minimum = 0)]
    pub attempt: u32,
    #[schema(format = "date-time")]
    pub created_at: String,
    #[schema(required, format = "date-time")]
    pub started_at: Option<String>,
    #[schema(required, format = "date-time")]
    pub finished_at: Option<String>,
    /// When its images were erased.
    #[schema(required, format = "date-time")]
    pub erased_at: Option<String>,
    pub links: Links,
    /// What a reviewer decided; absent before. `verdict` and `status` say the same.
    #[schema(nullable = false)]
    pub review: Option<JobReview>,
    /// Submitted with a test key; absent otherwise.
    #[schema(nullable = false)]
    pub sandbox: Option<bool>,
}

/// What a reviewer decided.
#[derive(ToSchema)]
pub struct JobReview {
    #[schema(inline)]
    pub decision: ReviewDecision,
    /// Chosen from the desk's list; the reviewer's note is not told.
    pub reasons: Vec<Reason>,
    /// Of two reviews of a job the later one has the higher revision; the first need not be 1.
    #[schema(minimum = 1)]
    pub revision: u32,
    #[schema(format = "date-time")]
    pub decided_at: String,
}

/// The evidence of a verdict, and the thresholds that were applied: which ones depends on the kind.
#[derive(ToSchema)]
pub struct JobResult {
    /// Calibrated, in [0, 1]; none where no two faces could be compared. Of a gallery, the best.
    #[schema(required, minimum = 0.0, maximum = 1.0)]
    pub similarity: Option<f64>,
    /// The same in percent, with 2 decimals.
    #[schema(required, minimum = 0.0, maximum = 100.0)]
    pub score: Option<f64>,
    /// What the model said, before calibration.
    #[schema(required)]
    pub raw_score: Option<f64>,
    pub search_mode: Mode,
    /// `name@version`.
    #[schema(required)]
    pub model: Option<String>,
    /// `name@version`.
    #[schema(required)]
    pub calibration: Option<String>,
    /// None where it was not tested.
    #[schema(required)]
    pub liveness: Option<LivenessResult>,
    /// What was seen in each image that was looked at; of a video, in the frame that was compared.
    pub images: Vec<ImageResult>,
    /// Of a `face_match` with `target_frames` or `target_video`; absent otherwise.
    #[schema(nullable = false)]
    pub frames: Option<FrameSummary>,
    /// Of a `face_match` with a challenge; absent otherwise.
    #[schema(nullable = false)]
    pub challenge: Option<ChallengeAnswer>,
    /// Milliseconds of computing, all images together.
    #[schema(minimum = 0.0)]
    pub compute_ms: f64,
    /// Of `likeness_check` and `id_match`.
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    pub threshold: Option<f64>,
    /// Of `face_match`.
    #[schema(nullable = false, minimum = 0.0, maximum = 100.0)]
    pub approve_score: Option<f64>,
    /// Of `face_match`.
    #[schema(nullable = false, minimum = 0.0, maximum = 100.0)]
    pub review_score: Option<f64>,
    /// Of `compare_with_liveness`.
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    pub compare_min_score: Option<f64>,
    /// Of `face_match` and `compare_with_liveness`.
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    pub liveness_min_score: Option<f64>,
    /// Of `compare_with_liveness`: one entry an image, none where it shows no face.
    #[schema(nullable = false)]
    pub gallery_scores: Option<Vec<Option<f64>>>,
}

/// What was seen in one image.
#[derive(ToSchema)]
pub struct ImageResult {
    /// By its name in the request.
    #[schema(examples("target_image", "gallery[3]"))]
    pub image: String,
    /// Pixels across, once upright; none where it could not be read.
    #[schema(required)]
    pub width: Option<u32>,
    /// Pixels down.
    #[schema(required)]
    pub height: Option<u32>,
    /// Faces found.
    pub faces: u32,
    /// How well the compared face was captured; none where there is none.
    #[schema(required)]
    pub quality: Option<Quality>,
    /// All of it in one number, which ranks pictures of one person; none where there is no face.
    #[schema(required, minimum = 0.0, maximum = 1.0)]
    pub composite_quality: Option<f64>,
    /// Why it could not be read, as a stable code; absent when it could.
    #[schema(nullable = false)]
    pub fault: Option<String>,
}

/// Whether a living person was in front of the camera, as a model judged.
#[derive(ToSchema)]
pub struct LivenessResult {
    /// 0.5 is the model's operating point; what is uncertain or an attack lies below it.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub score: f64,
    pub judgement: Judgement,
    /// `name@version` of each network.
    pub model: String,
    /// The score before the context was looked at.
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    pub raw_score: Option<f64>,
    /// Sides of the largest crop that the picture allows, in sides of the face.
    #[schema(nullable = false)]
    pub context: Option<f64>,
    /// The context that the model needs: in a picture with less nothing is judged.
    #[schema(nullable = false)]
    pub least_context: Option<f64>,
}

/// The facial similarity report of a `face_match` job.
#[derive(ToSchema)]
pub struct Report {
    #[schema(format = "uuid")]
    pub id: String,
    /// The 12 characters that people quote.
    #[schema(pattern = "^[0-9A-HJKMNP-TV-Z]{12}$", examples("43KKQCNSM6Q2"))]
    pub request_id: String,
    pub face_match: FaceMatchReport,
}

/// What a reviewer reads. Keep its status and its score; the URLs die after 60 minutes.
#[derive(ToSchema)]
pub struct FaceMatchReport {
    pub status: ReportStatus,
    /// Normalised similarity of the live image and the document's portrait, 2 decimals; none where there is no verdict.
    #[schema(required, minimum = 0.0, maximum = 100.0)]
    pub score: Option<f64>,
    /// Temporary URL of the portrait, a JPG of at most 1920 x 1080.
    #[schema(required, format = "uri-reference")]
    pub source_image: Option<String>,
    /// Temporary URL of the live image, a JPG of at least 720p where the original is.
    #[schema(required, format = "uri-reference")]
    pub target_image: Option<String>,
    pub warnings: Vec<Warning>,
}

/// Whether this process can do its work.
#[derive(ToSchema)]
pub struct Readiness {
    pub ready: bool,
    /// What it needs, by name.
    pub parts: BTreeMap<String, PartState>,
    /// Where networks compute, such as `cpu` or `cuda`, in a process that compares.
    pub provider: Option<String>,
}

/// Whether a part stands.
#[derive(ToSchema)]
pub enum PartState {
    #[schema(rename = "ok")]
    Ok,
    #[schema(rename = "not ready")]
    NotReady,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::domain::ids::{JobId, RequestId};
    use crate::domain::notice::{self, JobSummary};
    use crate::domain::outcome::Outcome;
    use crate::domain::policy::{self, Evidence};
    use crate::domain::request::RequestFault;

    fn summary() -> JobSummary {
        JobSummary {
            id: JobId::new(),
            request_id: RequestId::from_bits(7),
            kind: "likeness_check".to_owned(),
            sandbox: true,
            metadata: BTreeMap::new(),
        }
    }

    fn outcome() -> Outcome {
        let params = serde_json::json!({ "kind": "likeness_check", "threshold": 0.75, "mode": "FAST" });
        policy::decide(serde_json::from_value(params).unwrap(), Evidence::default())
    }

    /// The names of an object's fields; of a schema, those of its properties.
    fn names(object: &Value) -> BTreeSet<String> {
        object.as_object().unwrap().keys().cloned().collect()
    }

    fn properties<T: ToSchema>() -> BTreeSet<String> {
        names(&serde_json::to_value(T::schema()).unwrap()["properties"])
    }

    #[test]
    fn the_schema_of_each_notice_has_exactly_its_fields() {
        let fault = RequestFault { code: "missing_field", field: None, message: "photo is required".to_owned() };
        let failure = Failure { code: "gone".to_owned(), detail: "it went".to_owned() };
        assert_eq!(properties::<Accepted>(), names(&notice::accepted(&summary(), JobState::Queued, false)));
        assert_eq!(properties::<Rejected>(), names(&notice::rejected(&fault)));
        assert_eq!(properties::<Completed>(), names(&notice::completed(&summary(), &outcome())));
        assert_eq!(properties::<Failed>(), names(&notice::failed(&summary(), &failure)));
    }
}
