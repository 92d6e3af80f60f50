//! One case: what is shown of it, to whom, and what they may do.

use askama::Template as _;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::Html;
use serde_json::{Value, json};

use super::Desk;
use super::error::DeskError;
use super::measures;
use super::pages::{Case, CaseFragment, CasePage, DecisionView, Settling, Shown, TrailRow};
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

/// Entries of a case's trail that are shown.
const TRAIL: i64 = 100;
/// Decisions of a case that are shown.
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

/// Fresh URLs of a case's pictures.
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

/// The case as a part of a page.
pub(super) async fn fragment(desk: &Desk, session: &Session, id: JobId) -> Result<Html<String>, DeskError> {
    let case = read(desk, session.reviewer(), id).await?;
    let is_lead = session.reviewer().is_lead;
    Ok(Html(CaseFragment { case, csrf: session.csrf(), is_lead }.render()?))
}

/// An id out of a path; what is none names no case.
pub(super) fn case_id(text: &str) -> Result<JobId, DeskError> {
    text.parse().map(JobId).map_err(|_| DeskError::NoSuchCase)
}

/// Why a reviewer cannot do that with the case.
pub(super) async fn moved_on(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<DeskError, DeskError> {
    let case = desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let is_party = entries(desk, reviewer, id).await?.iter().any(|it| it.by.0 == reviewer.id);
    let why = why_not(&case, reviewer, is_party).unwrap_or_else(|| {
        format!("Your hold on it ran out: take it again. If that fails, you hold {MOST_HELD} cases: decide or hand back one.")
    });
    Ok(DeskError::Conflict(why))
}

/// Whether two reviewers must agree on the job. Reads it in any case: what cannot be read cannot be decided on.
pub(super) async fn is_for_two(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<bool, DeskError> {
    let rule = four_eyes(desk, reviewer).await?;
    let job = desk.0.store.find_job(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    Ok(needs_two_reviewers(rule, desk.0.rates.as_ref(), scored(job.outcome.as_ref())))
}

/// The revision of the last entry, and whether the reviewer may correct it.
pub(super) async fn last_word(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<(i32, bool), DeskError> {
    let case = desk.0.store.find_case(reviewer.account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let last = entries(desk, reviewer, id).await?.pop().ok_or(DeskError::NoSuchCase)?;
    let for_two = is_for_two(desk, reviewer, id).await?;
    Ok((last.revision, may_correct(&case, for_two, &last, reviewer)))
}

fn may_correct(case: &CaseView, for_two: bool, last: &DecisionRow, reviewer: &Reviewer) -> bool {
    let is_own = last.by.0 == reviewer.id && case.first_by.is_none() && !for_two;
    case.state == CaseState::Decided && last.revision < MOST_REVISIONS && (reviewer.is_lead || is_own)
}

/// The case's entries that the reviewer may see, in their order.
async fn entries(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<Vec<DecisionRow>, DeskError> {
    let filter = DecisionFilter { job: Some(id), ..DecisionFilter::default() };
    let mut entries = desk.0.store.list_decisions(reviewer, &filter, None, DECISIONS).await?;
    // Ids are of the clocks of several machines.
    entries.sort_by_key(|it| it.revision);
    Ok(entries)
}

/// The organisation's rule.
async fn four_eyes(desk: &Desk, reviewer: &Reviewer) -> Result<Option<f64>, DeskError> {
    let tenant = desk.0.store.show_tenant(reviewer.account.tenant_id).await?;
    Ok(tenant.and_then(|it| it.settings.four_eyes_fmr))
}

fn scored(outcome: Option<&Outcome>) -> Option<(Mode, Similarity)> {
    outcome?.comparison.as_ref().map(|it| (it.mode, it.similarity))
}

async fn read(desk: &Desk, reviewer: &Reviewer, id: JobId) -> Result<Case, DeskError> {
    let (store, account) = (&desk.0.store, reviewer.account);
    let view = store.find_case(account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let job = store.find_job(account, id).await?.ok_or(DeskError::NoSuchCase)?;
    let paths = desk.0.images.case_paths(account.tenant_id, id, job.outcome.as_ref()).await?;
    let decisions = entries(desk, reviewer, id).await?;
    let trail = store.list_audit_log(account, id, TRAIL).await?;
    let rule = four_eyes(desk, reviewer).await?;
    let for_two = needs_two_reviewers(rule, desk.0.rates.as_ref(), scored(job.outcome.as_ref()));
    let colleagues =
        if reviewer.is_lead && view.state.is_open() { store.list_colleagues(account).await? } else { Vec::new() };

    let is_mine = view.holder.as_ref().is_some_and(|(holder, _)| *holder == reviewer.id);
    let is_blind = is_blind(&view, for_two, reviewer);
    let is_party = decisions.iter().any(|it| it.by.0 == reviewer.id);
    let outcome = job.outcome.as_ref();
    Ok(Case {
        id: id.to_string(),
        request_id: job.summary.request_id.to_string(),
        kind: words::kind(&job.summary.kind),
        state: view.state.name(),
        state_words: view.state.words(),
        age: words::age(view.opened_at, view.now),
        opened_at: words::moment(view.opened_at).0,
        holder: view.holder.as_ref().map(|(_, name)| name.clone()),
        mine: is_mine,
        can_decide: is_mine && view.state.is_open(),
        can_take: !is_mine && why_not(&view, reviewer, is_party).is_none(),
        why_not: if is_mine { None } else { why_not(&view, reviewer, is_party) },
        can_correct: decisions.last().is_some_and(|last| may_correct(&view, for_two, last, reviewer)),
        rule: rule_words(&view, for_two),
        settling: view.settling.as_ref().filter(|_| !is_blind).map(|it| Settling {
            decision: it.opinion.choice.name(),
            by: it.by.1.clone(),
            mine: it.by.0 == reviewer.id,
            milliseconds_left: it.milliseconds_left,
        }),
        reference: shown(&job, &paths, ImageRole::Reference),
        probe: shown(&job, &paths, ImageRole::Probe),
        scale: outcome.and_then(|it| measures::scale(it, desk.0.rates.as_ref())),
        liveness: outcome.and_then(measures::liveness),
        warnings: outcome.map(|it| it.warnings.iter().map(measures::warning).collect()).unwrap_or_default(),
        quality: outcome.map(measures::quality).unwrap_or_default(),
        facts: measures::facts(&job),
        metadata: job.summary.metadata.into_iter().collect(),
        approve_reasons: reasons(ReviewDecision::Approved),
        reject_reasons: reasons(ReviewDecision::Rejected),
        decisions: decisions.into_iter().map(decision).collect(),
        trail: trail.into_iter().map(|it| entry(it, is_blind)).collect(),
        colleagues: colleagues.into_iter().map(|it| (it.id.0.to_string(), it.name)).collect(),
    })
}

/// Whether the reviewer must not know yet what somebody else thinks: there is a first opinion, and no second.
fn is_blind(case: &CaseView, for_two: bool, reviewer: &Reviewer) -> bool {
    match (case.state, &case.settling) {
        // What was undone is in the trail.
        (CaseState::Waiting, _) => for_two,
        (CaseState::Second, _) => case.first_by != Some(reviewer.id),
        (CaseState::Settling, Some(it)) if it.by.0 == reviewer.id => false,
        (CaseState::Settling, Some(it)) if it.came_from == CaseState::Second => case.first_by != Some(reviewer.id),
        (CaseState::Settling, Some(it)) => it.needs_two,
        _ => false,
    }
}

/// Why the reviewer may not take the case; `None` where they may.
fn why_not(case: &CaseView, reviewer: &Reviewer, is_party: bool) -> Option<String> {
    match case.state {
        CaseState::Settling => {
            let who = case.settling.as_ref().map_or("Somebody", |it| it.by.1.as_str());
            Some(format!("{who} has decided on it."))
        }
        CaseState::Decided => {
            let verdict = case.verdict.map_or("decided", ReviewDecision::name);
            Some(format!("It is {verdict} already."))
        }
        CaseState::Lapsed => Some("Nobody decided in time: its pictures are erased.".to_owned()),
        CaseState::Erased => Some("It was erased on request.".to_owned()),
        _ if case.lapses_at <= case.now => {
            Some("Its pictures are erased: there is nothing left to decide on.".to_owned())
        }
        _ if case.holder.as_ref().is_some_and(|(holder, _)| *holder != reviewer.id) => {
            case.holder.as_ref().map(|(_, name)| format!("{name} has it."))
        }
        CaseState::Second if case.first_by == Some(reviewer.id) => {
            Some("You gave the first opinion: somebody else must give the second.".to_owned())
        }
        CaseState::Disputed if !reviewer.is_lead => Some("Two opinions differ: a lead decides.".to_owned()),
        CaseState::Disputed if is_party => Some("You gave one of the two opinions: another lead decides.".to_owned()),
        _ => None,
    }
}

fn rule_words(case: &CaseView, for_two: bool) -> Option<String> {
    match case.state {
        CaseState::Waiting if for_two => Some("Two reviewers must agree on this case: yours is the first opinion."),
        CaseState::Second => Some("This is the second opinion. The first is not shown, so that yours is your own."),
        CaseState::Disputed => Some("Two opinions differ. What you decide stands."),
        _ => None,
    }
    .map(str::to_owned)
}

fn reasons(choice: ReviewDecision) -> Vec<(&'static str, &'static str)> {
    Reason::ALL.iter().filter(|it| it.is_for(choice)).map(|it| (it.name(), it.words())).collect()
}

fn shown(job: &JobView, paths: &CasePaths, role: ImageRole) -> Option<Shown> {
    let outcome = job.outcome.as_ref()?;
    let (url, crop_url) = match role {
        ImageRole::Reference => (paths.reference.clone()?, paths.reference.clone()),
        ImageRole::Probe => (paths.probe.clone()?, paths.probe_face.clone()),
    };
    let report = match role {
        ImageRole::Reference => outcome.images.iter().find(|it| it.role == role),
        ImageRole::Probe => outcome.probe(),
    };
    let (caption, level_deg) = match report.map(|it| &it.seen) {
        Some(ImageFinding::Picture { width, height, faces, quality, .. }) => {
            let plural = if *faces == 1 { "" } else { "s" };
            (format!("{width} × {height} pixels, {faces} face{plural}"), quality.map_or(0.0, |it| -it.roll_deg))
        }
        _ => (String::new(), 0.0),
    };
    let label = match (role, outcome.frames.is_some()) {
        (ImageRole::Reference, _) => "Document portrait",
        (ImageRole::Probe, true) => "Best frame",
        (ImageRole::Probe, false) => "Selfie",
    };
    Some(Shown { label: label.to_owned(), url, crop_url, level_deg, caption })
}

fn decision(it: DecisionRow) -> DecisionView {
    let seen = if it.seen.is_empty() {
        "no picture".to_owned()
    } else {
        it.seen.iter().map(|it| words::picture(it)).collect::<Vec<_>>().join(", ")
    };
    DecisionView {
        revision: it.revision,
        decision: it.choice.name(),
        stage: it.stage.name(),
        by: it.by.1,
        at: words::moment(it.at),
        reasons: it.reasons.into_iter().map(Reason::words).collect(),
        note: it.note,
        seen,
    }
}

fn entry(it: AuditEntry, is_blind: bool) -> TrailRow {
    let what = match it.action {
        Some(AuditAction::Taken) => "took the case".to_owned(),
        Some(AuditAction::Opened) => "opened it".to_owned(),
        Some(AuditAction::Viewed) => format!("was sent the {}", words::picture(&it.detail)),
        Some(AuditAction::HandedBack) => "handed it back".to_owned(),
        Some(AuditAction::Assigned) => format!("gave it to {}", it.detail),
        Some(AuditAction::Decided) if is_blind => "gave an opinion".to_owned(),
        Some(AuditAction::Decided) => format!("decided: {}", it.detail),
        Some(AuditAction::Undone) => "took that back".to_owned(),
        Some(AuditAction::Corrected) => format!("corrected it: {}", it.detail),
        _ => it.detail,
    };
    TrailRow { at: words::moment(it.at), who: it.who, what }
}
