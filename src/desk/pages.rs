//! What the desk's pages show: plain values, ready to be written into the templates of `templates/desk`.

use askama::Template;

/// What stands on every page.
pub(super) struct Frame {
    pub(super) title: String,
    /// Nobody before signing in.
    pub(super) reader: Option<Reader>,
    /// Which entry of the navigation this page is: `queue`, `history`, `dashboard`, `account`, or none.
    pub(super) active: &'static str,
    /// Of stylesheet and script: changes when they do.
    pub(super) assets: &'static str,
}

impl Frame {
    /// Of a page for whoever comes.
    pub(super) fn of_nobody(title: &str) -> Self {
        Self { title: title.to_owned(), reader: None, active: "", assets: super::assets::version() }
    }
}

/// Who looks at the page.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) organisation: String,
    /// The cases are made up, for test keys.
    pub(super) sandbox: bool,
    pub(super) is_lead: bool,
    /// To be sent back with every change: `X-CSRF-Token`, or the field `csrf`.
    pub(super) csrf: String,
}

#[derive(Template)]
#[template(path = "desk/sign_in.html")]
pub(super) struct SignInPage {
    pub(super) frame: Frame,
    pub(super) login: String,
    /// Where to go afterwards: a path of the desk.
    pub(super) next: String,
    /// What went wrong.
    pub(super) error: Option<String>,
    /// What to know: the session ended, say.
    pub(super) notice: Option<String>,
}

/// A page that says what went wrong, and what to do.
#[derive(Template)]
#[template(path = "desk/problem.html")]
pub(super) struct ProblemPage {
    pub(super) frame: Frame,
    pub(super) heading: String,
    pub(super) detail: String,
    /// Path and words of a link onward.
    pub(super) onward: (String, String),
}

#[derive(Template)]
#[template(path = "desk/queue.html")]
pub(super) struct QueuePage {
    pub(super) frame: Frame,
    pub(super) filters: Vec<Filter>,
    /// Whether any filter is set.
    pub(super) is_filtered: bool,
    pub(super) rows: Vec<QueueRow>,
    /// The query of the next page.
    pub(super) next_page: Option<String>,
    /// The query of the first page, where this is not it.
    pub(super) first_page: Option<String>,
    pub(super) counts: Counts,
    pub(super) notice: Option<String>,
}

/// A choice above a list: a `select` of that name.
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// Value, words, whether it is chosen.
    pub(super) choices: Vec<(String, String, bool)>,
}

/// Cases by what they wait for; counted up to 10,000, "10,000+" beyond.
pub(super) struct Counts {
    pub(super) waiting: String,
    pub(super) mine: String,
    pub(super) second: String,
    pub(super) disputed: String,
    /// Age of the oldest that waits, in words.
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
    /// Short words of each warning that weighs.
    pub(super) warnings: Vec<String>,
    /// `waiting`, `second`, `disputed`, `settling`.
    pub(super) state: &'static str,
    /// The same for people.
    pub(super) state_words: &'static str,
    pub(super) holder: Option<String>,
    pub(super) mine: bool,
}

/// A case on a page of its own.
#[derive(Template)]
#[template(path = "desk/case_page.html")]
pub(super) struct CasePage {
    pub(super) frame: Frame,
    pub(super) case: Case,
}

/// The case alone, for the script that puts it into the page.
#[derive(Template)]
#[template(path = "desk/case.html")]
pub(super) struct CaseFragment {
    pub(super) case: Case,
    pub(super) csrf: String,
    pub(super) is_lead: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "each is asked by a template")]
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
    pub(super) mine: bool,
    /// The reader holds it and may decide.
    pub(super) can_decide: bool,
    /// The reader may take it.
    pub(super) can_take: bool,
    /// Why the reader may neither take nor decide it, in a sentence.
    pub(super) why_not: Option<String>,
    /// It is decided, and the reader may correct that.
    pub(super) can_correct: bool,
    /// Said above the buttons: a second reviewer must agree, this is the second opinion, a dispute.
    pub(super) rule: Option<String>,
    /// The decision that was made and can be undone: `Approved by you, final in 6 s`.
    pub(super) settling: Option<Settling>,
    /// `None`: erased, or never there.
    pub(super) reference: Option<Shown>,
    pub(super) probe: Option<Shown>,
    pub(super) scale: Option<Scale>,
    pub(super) liveness: Option<LivenessView>,
    pub(super) warnings: Vec<WarningView>,
    pub(super) quality: Vec<QualityRow>,
    /// Names and values.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The client's own words.
    pub(super) metadata: Vec<(String, String)>,
    /// What may be chosen: code, words.
    pub(super) approve_reasons: Vec<(&'static str, &'static str)>,
    pub(super) reject_reasons: Vec<(&'static str, &'static str)>,
    /// What was decided so far, the first entry in front.
    pub(super) decisions: Vec<DecisionView>,
    /// Who did what, the latest first.
    pub(super) trail: Vec<TrailRow>,
    /// Whom a lead may give it to: id, name.
    pub(super) colleagues: Vec<(String, String)>,
}

pub(super) struct Settling {
    /// `approved` or `rejected`.
    pub(super) decision: &'static str,
    pub(super) by: String,
    pub(super) mine: bool,
    pub(super) milliseconds_left: i64,
}

/// One side of the comparison.
pub(super) struct Shown {
    /// `Document portrait`, `Selfie`, `Best frame of the video`.
    pub(super) label: String,
    /// Path of a signed URL; of the document its portrait, of the selfie all.
    pub(super) url: String,
    /// The face alone; none where none was found.
    pub(super) crop_url: Option<String>,
    /// By how much to turn the crop so that the eyes are level, degrees clockwise.
    pub(super) level_deg: f64,
    /// `1280 x 720 pixels, 1 face`
    pub(super) caption: String,
}

/// The score on a scale from 0 to 100.
pub(super) struct Scale {
    /// In [0, 100].
    pub(super) score: f64,
    /// `68.20`
    pub(super) score_text: String,
    /// In [0, 100]; below it a case is rejected.
    pub(super) review: f64,
    /// In [0, 100]; from it on a case is approved.
    pub(super) approve: f64,
    /// What the score stands for, in a sentence: `About 3 in 1,000 pairs of different people score so high.`
    pub(super) meaning: String,
    /// The same of the upper threshold.
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
    /// In a sentence.
    pub(super) words: String,
    /// What the frames show of a challenge, in a sentence.
    pub(super) challenge: Option<String>,
}

pub(super) struct WarningView {
    /// `error`, `warning` or `information`.
    pub(super) weight: &'static str,
    pub(super) risk: String,
    pub(super) title: String,
    pub(super) words: String,
    /// What was measured, in plain words: name and value.
    pub(super) measured: Vec<(String, String)>,
}

/// One measure of both faces.
pub(super) struct QualityRow {
    pub(super) name: &'static str,
    pub(super) reference: Option<String>,
    pub(super) probe: Option<String>,
    /// Beyond the limit.
    pub(super) reference_bad: bool,
    pub(super) probe_bad: bool,
    /// `at least 0.16`
    pub(super) limit: String,
}

pub(super) struct DecisionView {
    pub(super) revision: i32,
    /// `approved` or `rejected`.
    pub(super) decision: &'static str,
    /// `first opinion`, `decision`, `correction`.
    pub(super) stage: &'static str,
    pub(super) by: String,
    /// RFC 3339, and for people.
    pub(super) at: (String, String),
    pub(super) reasons: Vec<&'static str>,
    pub(super) note: String,
    /// Which pictures had been shown to the reviewer.
    pub(super) seen: String,
}

pub(super) struct TrailRow {
    /// RFC 3339, and for people.
    pub(super) at: (String, String),
    pub(super) who: String,
    pub(super) what: String,
}

#[derive(Template)]
#[template(path = "desk/history.html")]
pub(super) struct HistoryPage {
    pub(super) frame: Frame,
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
    pub(super) at: (String, String),
    pub(super) reasons: Vec<&'static str>,
}

#[derive(Template)]
#[template(path = "desk/dashboard.html")]
pub(super) struct DashboardPage {
    pub(super) frame: Frame,
    /// Name, value, what it means.
    pub(super) figures: Vec<(&'static str, String, String)>,
    /// The last 14 days, the oldest first.
    pub(super) days: Vec<DayBar>,
    /// Cases of 30 days by score, in steps of 5 points where there are any.
    pub(super) scores: Vec<ScoreBar>,
    pub(super) people: Vec<PersonRow>,
    /// When this was counted, for people.
    pub(super) as_of: String,
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

/// Reviewed cases whose score lies in a step.
pub(super) struct ScoreBar {
    /// In [0, 95]: the lower end of the step of 5 points.
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
    /// Median from taking a case to deciding it.
    pub(super) median: String,
    /// Of the cases that somebody else judged, too: `96 % of 25`.
    pub(super) agreement: String,
}

#[derive(Template)]
#[template(path = "desk/account.html")]
pub(super) struct AccountPage {
    pub(super) frame: Frame,
    pub(super) login: String,
    pub(super) error: Option<String>,
    pub(super) notice: Option<String>,
}
