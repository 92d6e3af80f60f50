//! Jobs that a test ends itself, with evidence that it chooses: exact scores without a model.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use uuid::Uuid;
use visavis::domain::evidence::{Judgement, Liveness, Mode, RawScore, Similarity};
use visavis::domain::ids::JobId;
use visavis::domain::image::ImageRole;
use visavis::domain::job::Failure;
use visavis::domain::outcome::{Comparison, ImageFinding, ImageReport, Outcome};
use visavis::domain::policy::{self, Evidence};
use visavis::domain::warning::Warning;
use visavis::store::jobs::{Change, Claim, Success};
use visavis::store::sealed::{SealPurpose, SealedRecord};

use super::api::{Answer, answer};
use super::outcomes::success;
use super::{World, obtain};

/// How long a request may take to become a job, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a job ends.
pub enum Ending {
    /// `policy` decides on this evidence.
    Evidence(Evidence),
    /// `policy` decides on this evidence, and the source has a record.
    Identified(Evidence, Value),
    /// The source has no photo.
    Unknown,
    Failure(&'static str),
}

impl From<Evidence> for Ending {
    fn from(evidence: Evidence) -> Self {
        Self::Evidence(evidence)
    }
}

/// The answer to a synchronous call whose job ends in this way, and the job itself.
pub async fn answered(world: &World, request: RequestBuilder, ending: impl Into<Ending>) -> (Answer, Claim) {
    tokio::join!(answer(request), end_next(world, ending.into()))
}

/// Ends the queued job; waits for one if there is none.
pub async fn end_next(world: &World, ending: Ending) -> Claim {
    let claim = claim_next(world).await;
    end(world, &claim, ending).await;
    claim
}

/// Claims the queued job; waits for one if there is none.
pub async fn claim_next(world: &World) -> Claim {
    let id = obtain("a job is queued", PATIENCE, async || {
        let queued = sqlx::query_scalar::<_, Uuid>("SELECT id FROM jobs WHERE state = 'queued' ORDER BY id LIMIT 1");
        queued.fetch_optional(&world.pool).await.expect("the database answers")
    })
    .await;
    let claimed = world.store().claim_job(JobId(id)).await.expect("the database answers");
    claimed.expect("nobody else takes jobs here")
}

pub async fn end(world: &World, claim: &Claim, ending: Ending) {
    let decide = |evidence| policy::decide(claim.params.clone(), evidence);
    let change = match ending {
        Ending::Evidence(evidence) => world.store().finish_succeeded(claim, &success(decide(evidence))).await,
        Ending::Identified(evidence, identity) => {
            let place = SealPurpose::Identity.place(claim.tenant_id, claim.summary.id);
            let sealed = world.intake.media.keyring().seal(&place, identity.to_string().as_bytes());
            let (sealed, key) = sealed.expect("a record can be sealed");
            let record = SealedRecord { master_key_id: key.master_key_id, wrapped_key: key.wrapped, sealed };
            world
                .store()
                .finish_succeeded(claim, &Success { identity: Some(record), ..success(decide(evidence)) })
                .await
        }
        Ending::Unknown => {
            let outcome = Outcome { warnings: vec![Warning::id_not_found()], ..decide(Evidence::default()) };
            world.store().finish_succeeded(claim, &success(outcome)).await
        }
        Ending::Failure(code) => {
            let failure = Failure { code: code.to_owned(), detail: "made up by a test".to_owned() };
            world.store().finish_failed(claim, &failure).await
        }
    };
    assert_eq!(change.expect("the database answers"), Change::Done);
}

/// A comparison of two faces with this similarity.
pub fn compared(similarity: f64) -> Evidence {
    let comparison = Comparison {
        raw: RawScore::new(0.5).unwrap(),
        similarity: Similarity::new(similarity).unwrap(),
        mode: Mode::Accurate,
        model: "model@1".to_owned(),
        calibration: "calibration@1".to_owned(),
    };
    Evidence { comparison: Some(comparison), ..seen(picture(1), picture(1)) }
}

/// A gallery with these similarities; `None` is a picture without a face.
pub fn gallery(scores: &[Option<f64>]) -> Evidence {
    let best = scores.iter().flatten().copied().fold(0.0, f64::max);
    let report = |position, seen| ImageReport { role: ImageRole::Reference, position, seen };
    let mut images: Vec<_> =
        (0..).zip(scores).map(|(i, score)| report(i, picture(u32::from(score.is_some())))).collect();
    images.push(ImageReport { role: ImageRole::Probe, position: 0, seen: picture(1) });
    let gallery_scores =
        scores.iter().map(|score| score.map(|similarity| Similarity::new(similarity).unwrap())).collect();
    Evidence { gallery_scores, images, ..compared(best) }
}

/// Evidence without a comparison, because of what was found in reference and probe.
pub fn seen(reference: ImageFinding, probe: ImageFinding) -> Evidence {
    let report = |role, seen| ImageReport { role, position: 0, seen };
    let images = vec![report(ImageRole::Reference, reference), report(ImageRole::Probe, probe)];
    Evidence { images, compute_ms: 1.0, ..Evidence::default() }
}

pub fn picture(faces: u32) -> ImageFinding {
    ImageFinding::Picture { width: 800, height: 900, faces, face: None, quality: None, provenance: None }
}

pub fn unreadable(code: &str) -> ImageFinding {
    ImageFinding::Unreadable { code: code.to_owned(), reason: "a reason for people".to_owned() }
}

pub fn live(score: f64, judgement: Judgement) -> Liveness {
    Liveness {
        score: Similarity::new(score).unwrap(),
        judgement,
        model: "liveness@1".to_owned(),
        raw_score: None,
        context: None,
        least_context: None,
    }
}
