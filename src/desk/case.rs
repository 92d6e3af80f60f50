//! One case: its page, and what the reviewer who looks at it may see and do.

use askama::Template as _;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Html;
use serde_json::{Value, json};

use super::Desk;
use super::error::DeskError;
use super::measures;
use super::pages::{AuditRow, Case, CaseFragment, CasePage, DecisionView, PendingDecision, PictureView};
use super::session::Session;
use super::words;
use crate::domain::evidence::{Mode, Similarity};
use crate::domain::ids::JobId;
use crate::domain::image::ImageRole;
use crate::domain::outcome::{ImageFinding, Outcome};
use crate::domain::policy::needs_two_reviewers;
use crate::domain::review::{CaseState, Reason, ReviewDecision, Reviewer};
use crate::images::CasePaths;
use crate::store::audit_log::{AuditAction, AuditEntry};
use crate::store::cases::CaseView;
use crate::store::decisions::{DecisionFilter, DecisionRow, MOST_REVISIONS};
use crate::store::holding::MOST_HELD;
use crate::store::jobs::JobView;

/// Entries of the audit log on a case's page.
const AUDIT_ROWS: i64 = 100;
/// Decisions on a case's page.
const DECISIONS: i64 = 50;

pub(super) async fn show(
    State(desk): State<Desk>,
    session: Session,
    Path(id): Path<String>,
) -> Result<Html<String>, DeskError> {
    let id = case_id(&id)?;
    let case = read(&desk, session.reviewer(), id).await?;
    desk.0.store.record_opened(session.reviewer(), id).await?;
    let title = format!("Case {}", case.request_id);
    Ok(Html(CasePage { frame: session.frame(&title, "queue"), case }.render()?))
}

/// Fresh signed URLs of a case's pictures.
pub(super) async fn images(
    State(desk): State<Desk>,
    session: Session,
    Path(id): Path<String>,
) -> Result<Json<Value>, DeskError> {
    let (id, account) = (case_id(&id)?, session.reviewer().account);
    desk.0.store.find_case(account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let job = desk.0.store.find_job(account, id).await?.ok_or(DeskError::NoSuchCase)?;
    desk.0.store.record_opened(session.reviewer(), id).await?;
    let paths = desk.0.images.case_paths(account.tenant_id, id, job.outcome.as_ref()).await?;
    Ok(Json(json!({
        "reference": paths.reference,
        "reference_crop": paths.reference,
        "probe": paths.probe,
        "probe_crop": paths.probe_face,
    })))
}

/// The case as a part of a page, for the script.
pub(super) async fn fragment(desk: &Desk, session: &Session, id: JobId) -> Result<Html<String>, DeskError> {
    let case = read(desk, session.reviewer(), id).await?;
    let is_lead = session.reviewer().is_lead;
    Ok(Html(CaseFragment { case, csrf: session.csrf(), is_lead }.render()?))
}

/// Reads an id from a path. A malformed id is the id of no case.
pub(super) fn case_id(text: &str) -> Result<JobId, DeskError> {
    text.parse().map(JobId).map_err(|_| DeskError::NoSuchCase)
}

/// Why the reviewer's change was refused: the case's state or holder changed meanwhile.
pub(super) async fn conflict(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<DeskError, DeskError> {
    let case = desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let gave_opinion = entries(desk, reviewer, id).await?.iter().any(|entry| entry.by.0 == reviewer.id);
    let why = why_not(&case, reviewer, gave_opinion).unwrap_or_else(|| {
        format!(
            "You no longer hold this case: take it again. If that fails, you hold {MOST_HELD} cases already: decide \
             one or hand one back first."
        )
    });
    Ok(DeskError::Conflict(why))
}

/// Whether two reviewers must agree on the job. It always reads the job: nobody may decide one that cannot be read.
pub(super) async fn is_for_two(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<bool, DeskError> {
    let rule = four_eyes(desk, reviewer).await?;
    let job = desk.0.store.find_job(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    Ok(needs_two_reviewers(rule, desk.0.rates.as_ref(), scored(job.outcome.as_ref())))
}

/// The revision of the last entry, and whether the reviewer may correct it.
pub(super) async fn last_revision(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<(i32, bool), DeskError> {
    let case = desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let last = entries(desk, reviewer, id).await?.pop().ok_or(DeskError::NoSuchCase)?;
    let for_two = is_for_two(desk, reviewer, id).await?;
    Ok((last.revision, may_correct(&case, for_two, &last, reviewer)))
}

fn may_correct(case: &CaseView, for_two: bool, last: &DecisionRow, reviewer: &Reviewer) -> bool {
    let is_own = last.by.0 == reviewer.id && case.first_by.is_none() && !for_two;
    case.state == CaseState::Decided && last.revision < MOST_REVISIONS && (reviewer.is_lead || is_own)
}

/// The case's decisions that the reviewer may see, oldest first.
async fn entries(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<Vec<DecisionRow>, DeskError> {
    let filter = DecisionFilter { job: Some(id), ..DecisionFilter::default() };
    let mut entries = desk.0.store.list_decisions(reviewer, &filter, None, DECISIONS).await?;
    // Ids come from the clocks of several machines, so they do not give the order.
    entries.sort_by_key(|entry| entry.revision);
    Ok(entries)
}

/// The false match rate from which two reviewers must agree; `None` if one is always enough.
async fn four_eyes(desk: &Desk, reviewer: &Reviewer) -> Result<Option<f64>, DeskError> {
    let tenant = desk.0.store.show_tenant(reviewer.account.tenant_id).await?;
    Ok(tenant.and_then(|tenant| tenant.settings.four_eyes_fmr))
}

fn scored(outcome: Option<&Outcome>) -> Option<(Mode, Similarity)> {
    outcome?.comparison.as_ref().map(|comparison| (comparison.mode, comparison.similarity))
}

async fn read(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<Case, DeskError> {
    let (store, account) = (&desk.0.store, reviewer.account);
    let view = store.find_case(account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let job = store.find_job(account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let paths = desk.0.images.case_paths(account.tenant_id, id, job.outcome.as_ref()).await?;
    let decisions = entries(desk, reviewer, id).await?;
    let audit_log = store.list_audit_log(account, id, AUDIT_ROWS).await?;
    let rule = four_eyes(desk, reviewer).await?;
    let for_two = needs_two_reviewers(rule, desk.0.rates.as_ref(), scored(job.outcome.as_ref()));
    let colleagues =
        if reviewer.is_lead && view.state.is_open() { store.list_colleagues(account).await? } else { Vec::new() };

    let is_mine = view.holder.as_ref().is_some_and(|(holder, _)| *holder == reviewer.id);
    let is_blind = is_blind(&view, for_two, reviewer);
    let gave_opinion = decisions.iter().any(|entry| entry.by.0 == reviewer.id);
    let outcome = job.outcome.as_ref();
    Ok(Case {
        id: id.to_string(),
        request_id: job.summary.request_id.to_string(),
        kind: words::kind(&job.summary.kind),
        state: view.state.name(),
        state_words: view.state.words(),
        age: words::age(view.opened_at, view.now),
        opened_at: words::moment(view.opened_at).iso,
        holder: view.holder.as_ref().map(|(_, name)| name.clone()),
        mine: is_mine,
        can_decide: is_mine && view.state.is_open(),
        can_take: !is_mine && why_not(&view, reviewer, gave_opinion).is_none(),
        why_not: if is_mine { None } else { why_not(&view, reviewer, gave_opinion) },
        can_correct: decisions.last().is_some_and(|last| may_correct(&view, for_two, last, reviewer)),
        rule: rule_words(&view, for_two),
        pending: view.settling.as_ref().filter(|_| !is_blind).map(|pending| PendingDecision {
            decision: pending.opinion.choice.name(),
            by: pending.by.1.clone(),
            mine: pending.by.0 == reviewer.id,
            milliseconds_left: pending.milliseconds_left,
        }),
        reference: picture(&job, &paths, ImageRole::Reference),
        probe: picture(&job, &paths, ImageRole::Probe),
        scale: outcome.and_then(|outcome| measures::scale(outcome, desk.0.rates.as_ref())),
        liveness: outcome.and_then(measures::liveness),
        warnings: outcome.map(|outcome| outcome.warnings.iter().map(measures::warning).collect()).unwrap_or_default(),
        quality: outcome.map(measures::quality).unwrap_or_default(),
        facts: measures::facts(&job),
        metadata: job.summary.metadata.into_iter().collect(),
        approve_reasons: reasons(ReviewDecision::Approved),
        reject_reasons: reasons(ReviewDecision::Rejected),
        decisions: decisions.into_iter().map(decision).collect(),
        audit_log: audit_log.into_iter().map(|entry| audit_row(entry, is_blind)).collect(),
        colleagues: colleagues.into_iter().map(|reviewer| (reviewer.id.0.to_string(), reviewer.name)).collect(),
    })
}

/// Whether other reviewers' opinions must stay hidden from this reviewer: a second opinion is still to come, and it
/// must be independent.
fn is_blind(case: &CaseView, for_two: bool, reviewer: &Reviewer) -> bool {
    match (case.state, &case.settling) {
        // The audit log still shows an opinion that was undone.
        (CaseState::Waiting, _) => for_two,
        (CaseState::Second, _) => case.first_by != Some(reviewer.id),
        (CaseState::Settling, Some(pending)) if pending.by.0 == reviewer.id => false,
        (CaseState::Settling, Some(pending)) if pending.came_from == CaseState::Second => {
            case.first_by != Some(reviewer.id)
        }
        (CaseState::Settling, Some(pending)) => pending.needs_two,
        _ => false,
    }
}

/// Why the reviewer may not take the case, in a sentence; `None` if they may.
fn why_not(case: &CaseView, reviewer: &Reviewer, gave_opinion: bool) -> Option<String> {
    match case.state {
        CaseState::Settling => {
            let who = case.settling.as_ref().map_or("Somebody", |pending| pending.by.1.as_str());
            Some(format!("{who} has just decided this case."))
        }
        CaseState::Decided => {
            let verdict = case.verdict.map_or("decided", ReviewDecision::name);
            Some(format!("This case is already {verdict}."))
        }
        CaseState::Lapsed => Some("Nobody decided this case in time. Its pictures are erased.".to_owned()),
        CaseState::Erased => Some("This case was erased on request.".to_owned()),
        _ if case.lapses_at <= case.now => {
            Some("The pictures of this case are erased, so it can no longer be decided.".to_owned())
        }
        _ if case.holder.as_ref().is_some_and(|(holder, _)| *holder != reviewer.id) => {
            case.holder.as_ref().map(|(_, name)| format!("{name} has this case."))
        }
        CaseState::Second if case.first_by == Some(reviewer.id) => {
            Some("You gave the first opinion. Another reviewer must give the second.".to_owned())
        }
        CaseState::Disputed if !reviewer.is_lead => Some("Two opinions differ. A lead decides this case.".to_owned()),
        CaseState::Disputed if gave_opinion => {
            Some("You gave one of the two opinions. Another lead decides this case.".to_owned())
        }
        _ => None,
    }
}

/// What the reviewer must know about the four-eyes rule before they decide.
fn rule_words(case: &CaseView, for_two: bool) -> Option<String> {
    match case.state {
        CaseState::Waiting if for_two => Some("Two reviewers must agree on this case. Yours is the first opinion."),
        CaseState::Second => Some("This is the second opinion. The first is hidden, so that yours is independent."),
        CaseState::Disputed => Some("Two opinions differ. Your decision counts."),
        _ => None,
    }
    .map(str::to_owned)
}

fn reasons(choice: ReviewDecision) -> Vec<(&'static str, &'static str)> {
    Reason::ALL.iter().filter(|reason| reason.is_for(choice)).map(|reason| (reason.name(), reason.words())).collect()
}

/// One side of the comparison; `None` if there is no picture any more.
fn picture(job: &JobView, paths: &CasePaths, role: ImageRole) -> Option<PictureView> {
    let outcome = job.outcome.as_ref()?;
    let (url, crop_url) = match role {
        ImageRole::Reference => (paths.reference.clone()?, paths.reference.clone()),
        ImageRole::Probe => (paths.probe.clone()?, paths.probe_face.clone()),
    };
    let report = match role {
        ImageRole::Reference => outcome.images.iter().find(|report| report.role == role),
        ImageRole::Probe => outcome.probe(),
    };
    let (caption, level_deg) = match report.map(|report| &report.seen) {
        Some(ImageFinding::Picture { width, height, faces, quality, .. }) => {
            let plural = if *faces == 1 { "" } else { "s" };
            let level_deg = quality.map_or(0.0, |quality| -quality.roll_deg);
            (format!("{width} × {height} pixels, {faces} face{plural}"), level_deg)
        }
        _ => (String::new(), 0.0),
    };
    let label = match (role, outcome.frames.is_some()) {
        (ImageRole::Reference, _) => "Document portrait",
        (ImageRole::Probe, true) => "Best frame",
        (ImageRole::Probe, false) => "Selfie",
    };
    Some(PictureView { label, url, crop_url, level_deg, caption })
}

fn decision(row: DecisionRow) -> DecisionView {
    let viewed = match row.seen.as_slice() {
        [] => "no picture".to_owned(),
        pictures => pictures.iter().map(|picture| words::picture(picture)).collect::<Vec<_>>().join(", "),
    };
    DecisionView {
        revision: row.revision,
        decision: row.choice.name(),
        stage: row.stage.name(),
        by: row.by.1,
        at: words::moment(row.at),
        reasons: row.reasons.into_iter().map(Reason::words).collect(),
        note: row.note,
        viewed,
    }
}

fn audit_row(entry: AuditEntry, is_blind: bool) -> AuditRow {
    let what = match entry.action {
        Some(AuditAction::Taken) => "took the case".to_owned(),
        Some(AuditAction::Opened) => "opened the case".to_owned(),
        Some(AuditAction::Viewed) => format!("viewed the {}", words::picture(&entry.detail)),
        Some(AuditAction::HandedBack) => "handed the case back".to_owned(),
        Some(AuditAction::Assigned) => format!("assigned the case to {}", entry.detail),
        Some(AuditAction::Decided) if is_blind => "gave an opinion".to_owned(),
        Some(AuditAction::Decided) => format!("decided: {}", entry.detail),
        Some(AuditAction::Undone) => "undid the decision".to_owned(),
        Some(AuditAction::Corrected) => format!("corrected the decision: {}", entry.detail),
        _ => entry.detail,
    };
    AuditRow { at: words::moment(entry.at), who: entry.who, what }
}
