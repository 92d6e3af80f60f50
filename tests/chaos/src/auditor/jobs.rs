//! Submissions become jobs, once each, and jobs end as they must.

use super::{Case, Check};
use crate::books::JobRow;
use crate::requests::Expected;
use crate::witness::Submission;

const ATTEMPTS: i32 = 5;

pub fn checks(case: &Case<'_>) -> Vec<Check> {
    vec![taken(case), kept(case), once(case), known(case), ended(case), as_expected(case)]
}

/// Every attempt's worker was killed or failed: the job is not lost, it says so.
pub fn is_given_up(job: &JobRow) -> bool {
    job.state == "failed" && job.attempt >= ATTEMPTS && job.failure_code.as_deref() != Some("sandbox_failure")
}

fn taken(case: &Case<'_>) -> Check {
    let mut check = Check::new("good submissions are accepted, and other bodies under their keys refused");
    for (submission, _) in case.submissions() {
        let label = &submission.label;
        check.hold(submission.refused.is_empty(), || format!("{label}: {}", submission.refused.join(", ")));
        check.hold(submission.conflicts_taken.is_empty(), || {
            format!("{label}: another body got {}", submission.conflicts_taken.join(", "))
        });
        let is_answered = submission.tries == 0 || !submission.accepted.is_empty() || !submission.refused.is_empty();
        check.hold(is_answered, || format!("{label}: sent {} times and never answered", submission.tries));
    }
    check
}

fn kept(case: &Case<'_>) -> Check {
    let mut check = Check::new("what was accepted is there");
    for (submission, jobs) in case.submissions() {
        for id in &submission.accepted {
            let found = jobs.iter().any(|job| job.id == *id);
            check.hold(found, || format!("{}: job {id} was accepted and is lost", submission.label));
        }
    }
    check
}

fn once(case: &Case<'_>) -> Check {
    let mut check = Check::new("a submission makes one job");
    for (submission, jobs) in case.submissions() {
        let most = if submission.key.is_some() { 1 } else { submission.tries as usize };
        let is_one = jobs.len() <= most && (submission.key.is_none() || submission.accepted.len() <= 1);
        check.hold(is_one, || {
            let ids: Vec<_> = jobs.iter().map(|job| job.id.to_string()).collect();
            format!("{}: jobs {}, accepted {:?}", submission.label, ids.join(" "), submission.accepted)
        });
    }
    check
}

fn known(case: &Case<'_>) -> Check {
    let mut check = Check::new("no job comes from nowhere");
    check.counted = case.books.jobs.len();
    check.violations = case.strangers.iter().map(|job| format!("job {} of no submission", job.id)).collect();
    check
}

fn ended(case: &Case<'_>) -> Check {
    let mut check = Check::new("every job has ended, and nobody holds a lease");
    for job in &case.books.jobs {
        let is_over = matches!(job.state.as_str(), "succeeded" | "failed" | "cancelled") && !job.is_leased;
        check.hold(is_over, || format!("job {} is {} after {} attempts", job.id, job.state, job.attempt));
    }
    check
}

fn as_expected(case: &Case<'_>) -> Check {
    let mut check = Check::new("every job has the verdict that its request asks for");
    for (submission, jobs) in case.submissions() {
        for job in jobs {
            check.hold(ends_well(submission, job), || {
                let told = job.verdict.as_deref().or(job.failure_code.as_deref()).unwrap_or("no verdict");
                format!("job {} ({:?}): {} {told}", job.id, submission.content, job.state)
            });
        }
    }
    check
}

fn ends_well(submission: &Submission, job: &JobRow) -> bool {
    match (job.state.as_str(), submission.content.expected()) {
        ("succeeded", Expected::Verdict(verdict)) => job.verdict.as_deref() == Some(verdict),
        ("failed", Expected::Failure(code)) => job.failure_code.as_deref() == Some(code) || is_given_up(job),
        ("failed", _) => is_given_up(job),
        ("cancelled", _) => submission.erasure_asked,
        _ => false,
    }
}
