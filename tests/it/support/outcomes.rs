//! Outcomes of a claimed job, for tests that only need it to end.

use visavis::domain::image::ImageRole;
use visavis::domain::job::{Failure, Verdict};
use visavis::domain::outcome::{ImageFinding, ImageReport, Outcome};
use visavis::store::jobs::{Claim, Success};

pub fn outcome(claim: &Claim) -> Outcome {
    Outcome {
        verdict: Verdict::NotFinished,
        params: claim.params.clone(),
        comparison: None,
        gallery_scores: Vec::new(),
        liveness: None,
        images: Vec::new(),
        frames: None,
        challenge: None,
        warnings: Vec::new(),
        compute_ms: 1.0,
        sandbox: false,
    }
}

/// A success that stores nothing but its outcome.
pub fn success(outcome: Outcome) -> Success {
    Success { outcome, identity: None, frame: None, probe_hash: None }
}

/// As [`outcome`], with a face in this box in both images.
pub fn with_faces(claim: &Claim, face: [f64; 4]) -> Outcome {
    let report = |role| {
        let seen = ImageFinding::Picture {
            width: 256,
            height: 256,
            faces: 1,
            face: Some(face),
            quality: None,
            provenance: None,
        };
        ImageReport { role, position: 0, seen }
    };
    let images = vec![report(ImageRole::Reference), report(ImageRole::Probe)];
    Outcome { verdict: Verdict::Approved, images, ..outcome(claim) }
}

pub fn failure() -> Failure {
    Failure { code: "test".to_owned(), detail: String::new() }
}
