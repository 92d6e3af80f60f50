//! What a claimed job may come to, where a test only needs that it did.

use visavis::domain::job::{Failure, Verdict};
use visavis::domain::outcome::Outcome;
use visavis::store::jobs::Claim;

pub fn outcome(claim: &Claim) -> Outcome {
    Outcome {
        verdict: Verdict::NotFinished,
        params: claim.params.clone(),
        comparison: None,
        gallery_scores: Vec::new(),
        liveness: None,
        images: Vec::new(),
        warnings: Vec::new(),
        compute_ms: 1.0,
        sandbox: false,
    }
}

pub fn failure() -> Failure {
    Failure { code: "test".to_owned(), detail: String::new() }
}
