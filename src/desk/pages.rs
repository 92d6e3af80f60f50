//! The values that the templates in `templates/desk` show, ready to be written into them.

use askama::Template;

/// What every page has: its head and its navigation.
pub(super) struct PageFrame {
    pub(super) title: String,
    /// `None` on pages for people who are not signed in.
    pub(super) reader: Option<Reader>,
    /// The navigation's current entry: `queue`, `history`, `dashboard`, `account`, or empty.
    pub(super) active: &'static str,
    /// The version of stylesheets and scripts, for their addresses.
    pub(super) assets: &'static str,
}

impl PageFrame {
    /// The frame of a page that needs no session.
    pub(super) fn signed_out(title: &str) -> Self {
        Self { title: title.to_owned(), reader: None, active: "", assets: super::assets::version() }
    }
}

/// The link on an error page: where to go from there.
pub(super) struct OnwardLink {
    pub(super) path: String,
    pub(super) words: &'static str,
}

/// A point in time.
pub(super) struct Moment {
    /// RFC 3339, for the `datetime` attribute.
    pub(super) iso: String,
    /// `25 Nov 2026, 14:05 UTC`
    pub(super) words: String,
}

/// The signed-in reviewer who looks at the page.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) organisation: String,
    /// They review the made-up cases of test keys.
    pub(super) sandbox: bool,
    pub(super) is_lead: bool,
    /// Every change sends it back: the script in the header `X-CSRF-Token`, a form in the field `csrf`.
    pub(super) csrf: String,
}

#[derive(Template)]
#[template(path = "desk/sign_in.html")]
pub(super) struct SignInPage {
    pub(super) frame: PageFrame,
    pub(super) login: String,
    /// Where to go after signing in: a path of the desk.
    pub(super) next: String,
    /// What went wrong.
    pub(super) error: Option<String>,
    /// What happened before, such as the end of a session.
    pub(super) notice: Option<String>,
}

/// An error page: what happened, and what to do.
#[derive(Template)]
#[template(path = "desk/problem.html")]
pub(super) struct ProblemPage {
    pub(super) frame: PageFrame,
    pub(super) heading: &'static str,
    pub(super) detail: String,
    pub(super) onward: OnwardLink,
}

#[derive(Template)]
#[template(path = "desk/queue.html")]
pub(super) struct QueuePage {
    pub(super) frame: PageFrame,
    pub(super) filters: Vec<Filter>,
    /// Whether any filter is set.
    pub(super) is_filtered: bool,
    pub(super) rows: Vec<QueueRow>,
    /// The query string of the next page; `None` on the last page.
    pub(super) next_page: Option<String>,
    /// The query string of the first page; `None` on the first page.
    pub(super) first_page: Option<String>,
    pub(super) counts: Counts,
    pub(super) notice: Option<&'static str>,
}

/// A filter above a list, shown as a `select`.
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) options: Vec<FilterOption>,
}

pub(super) struct FilterOption {
    pub(super) value: String,
    pub(super) words: String,
    pub(super) is_chosen: bool,
}

/// Open cases by what they wait for. Each number is exact up to 10,000, then `10,000+`.
pub(super) struct Counts {
    pub(super) waiting: String,
    pub(super) mine: String,
    pub(super) second: String,
    pub(super) disputed: String,
    /// How long the oldest open case has waited, as in `3 h 12 min`.
    pub(super) oldest: Option<String>,
}

pub(super) struct QueueRow {
    pub(super) id: String,
    pub(super) request_id: String,
    pub(super) kind: &'static str,
    /// `3 h 12 min`.
    pub(super) age: String,
    /// RFC 3339.
    pub(super) opened_at: String,
    /// `68.20`
    pub(super) score: Option<String>,
    /// The risks that need a decision, in words.
    pub(super) warnings: Vec<String>,
    /// `waiting`, `second`, `disputed`, `settling`.
    pub(super) state: &'static str,
    /// The state in words.
    pub(super) state_words: &'static str,
    pub(super) holder: Option<String>,
    /// The reader holds it.
    pub(super) mine: bool,
}

/// A case on its own page.
#[derive(Template)]
#[template(path = "desk/case_page.html")]
pub(super) struct CasePage {
    pub(super) frame: PageFrame,
    pub(super) case: Case,
}

/// The case alone, for the script, which puts it into the page.
#[derive(Template)]
#[template(path = "desk/case.html")]
pub(super) struct CaseFragment {
    pub(super) case: Case,
    pub(super) csrf: String,
    pub(super) is_lead: bool,
}

/// A case as one reviewer sees it.
#[expect(clippy::struct_excessive_bools, reason = "a template asks each of them")]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) request_id: String,
    pub(super) kind: &'static str,
    /// `waiting`, `second`, `disputed`, `settling`, `decided`, `lapsed`, `erased`.
    pub(super) state: &'static str,
    pub(super) state_words: &'static str,
    pub(super) age: String,
    pub(super) opened_at: String,
    pub(super) holder: Option<String>,
    /// The reader holds it.
    pub(super) mine: bool,
    /// The reader holds it and may decide.
    pub(super) can_decide: bool,
    /// The reader may take it.
    pub(super) can_take: bool,
    /// Why the reader may neither take nor decide it, in a sentence.
    pub(super) why_not: Option<String>,
    /// It is decided, and the reader may correct the decision.
    pub(super) can_correct: bool,
    /// A sentence above the buttons: two must agree, this is the second opinion, or there is a dispute.
    pub(super) rule: Option<String>,
    /// A decision that can still be undone.
    pub(super) pending: Option<PendingDecision>,
    /// `None` if it was erased or never existed.
    pub(super) reference: Option<PictureView>,
    pub(super) probe: Option<PictureView>,
    pub(super) scale: Option<ScoreScale>,
    pub(super) liveness: Option<LivenessView>,
    pub(super) warnings: Vec<WarningView>,
    pub(super) quality: Vec<QualityRow>,
    /// Names and values.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The request's metadata: names and values that the client chose.
    pub(super) metadata: Vec<(String, String)>,
    /// Code and words of each reason.
    pub(super) approve_reasons: Vec<(&'static str, &'static str)>,
    pub(super) reject_reasons: Vec<(&'static str, &'static str)>,
    /// Decisions so far, oldest first.
    pub(super) decisions: Vec<DecisionView>,
    /// Who did what, newest first.
    pub(super) audit_log: Vec<AuditRow>,
    /// Id and name of each reviewer to whom a lead may assign it.
    pub(super) colleagues: Vec<(String, String)>,
}

pub(super) struct PendingDecision {
    /// `approved` or `rejected`.
    pub(super) decision: &'static str,
    pub(super) by: String,
    pub(super) mine: bool,
    pub(super) milliseconds_left: i64,
}

/// One side of the comparison.
pub(super) struct PictureView {
    /// `Document portrait`, `Selfie` or `Best frame`.
    pub(super) label: &'static str,
    /// Path and query of a signed URL: the portrait of the document, or the whole selfie.
    pub(super) url: String,
    /// A signed URL of the face alone; `None` if no face was found.
    pub(super) crop_url: Option<String>,
    /// The clockwise turn in degrees that makes the eyes level.
    pub(super) level_deg: f64,
    /// `1280 × 720 pixels, 1 face`
    pub(super) caption: String,
}

/// The score on a scale from 0 to 100.
pub(super) struct ScoreScale {
    /// In [0, 100].
    pub(super) score: f64,
    /// `68.20`
    pub(super) score_text: String,
    /// Where the score lies: `reject`, `review` or `approve`.
    pub(super) zone: &'static str,
    /// In [0, 100]. Scores below it are rejected.
    pub(super) review: f64,
    /// In [0, 100]. Scores from it up are approved.
    pub(super) approve: f64,
    /// The score's false match rate, in a sentence.
    pub(super) meaning: String,
    /// The false match rate of the upper threshold, in a sentence.
    pub(super) approve_meaning: String,
    pub(super) mode: &'static str,
    pub(super) model: String,
}

pub(super) struct LivenessView {
    /// `0.43`
    pub(super) score: String,
    /// In [0, 100].
    pub(super) percent: f64,
    /// `live`, `uncertain`, `spoof`.
    pub(super) judgement: &'static str,
    /// The judgement in a sentence.
    pub(super) words: String,
    /// Whether the frames show the requested actions, in a sentence.
    pub(super) challenge: Option<String>,
}

pub(super) struct WarningView {
    /// `error`, `warning` or `information`.
    pub(super) weight: &'static str,
    pub(super) risk: String,
    pub(super) title: String,
    pub(super) words: String,
    /// Measurements in words: names and values.
    pub(super) measured: Vec<(String, String)>,
}

/// One quality measure of both faces.
pub(super) struct QualityRow {
    pub(super) name: &'static str,
    pub(super) reference: Option<String>,
    pub(super) probe: Option<String>,
    /// The reference is beyond the limit.
    pub(super) reference_bad: bool,
    pub(super) probe_bad: bool,
    /// `at least 0.16`
    pub(super) limit: String,
}

pub(super) struct DecisionView {
    pub(super) revision: i32,
    /// `approved` or `rejected`.
    pub(super) decision: &'static str,
    /// `opinion`, `decision` or `correction`.
    pub(super) stage: &'static str,
    pub(super) by: String,
    pub(super) at: Moment,
    pub(super) reasons: Vec<&'static str>,
    pub(super) note: String,
    /// The pictures that the reviewer had received before.
    pub(super) viewed: String,
}

/// An entry of the audit log.
pub(super) struct AuditRow {
    pub(super) at: Moment,
    pub(super) who: String,
    pub(super) what: String,
}

#[derive(Template)]
#[template(path = "desk/history.html")]
pub(super) struct HistoryPage {
    pub(super) frame: PageFrame,
    pub(super) filters: Vec<Filter>,
    pub(super) is_filtered: bool,
    pub(super) rows: Vec<HistoryRow>,
    pub(super) next_page: Option<String>,
    pub(super) first_page: Option<String>,
}

pub(super) struct HistoryRow {
    pub(super) job_id: String,
    pub(super) request_id: String,
    pub(super) revision: i32,
    /// `approved` or `rejected`.
    pub(super) decision: &'static str,
    pub(super) stage: &'static str,
    pub(super) by: String,
    pub(super) at: Moment,
    pub(super) reasons: Vec<&'static str>,
}

#[derive(Template)]
#[template(path = "desk/dashboard.html")]
pub(super) struct DashboardPage {
    pub(super) frame: PageFrame,
    pub(super) figures: Vec<Figure>,
    /// The last 14 days, oldest first; empty if nothing happened.
    pub(super) days: Vec<DayBar>,
    /// Cases of the last 30 days by score, in steps of 5 points. Steps without cases are left out.
    pub(super) scores: Vec<ScoreBar>,
    pub(super) people: Vec<PersonRow>,
    /// When the figures were counted.
    pub(super) as_of: String,
}

/// A number at the top of the dashboard.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) meaning: String,
}

/// Results of one day.
pub(super) struct DayBar {
    /// `25 Nov`
    pub(super) label: String,
    pub(super) approved: i64,
    pub(super) in_review: i64,
    pub(super) rejected: i64,
    pub(super) not_finished: i64,
}

/// Reviewed cases whose score lies in one step.
pub(super) struct ScoreBar {
    /// The lower end of the step, in [0, 95].
    pub(super) from: i64,
    pub(super) approved: i64,
    pub(super) rejected: i64,
    pub(super) waiting: i64,
}

pub(super) struct PersonRow {
    pub(super) name: String,
    pub(super) decisions: i64,
    /// `62 %`
    pub(super) approved: String,
    /// Median time from taking a case to deciding it.
    pub(super) median: String,
    /// Agreement on cases that another reviewer judged, too: `96 % of 25`.
    pub(super) agreement: String,
}

#[derive(Template)]
#[template(path = "desk/account.html")]
pub(super) struct AccountPage {
    pub(super) frame: PageFrame,
    pub(super) login: String,
    pub(super) error: Option<String>,
    pub(super) notice: Option<String>,
}
