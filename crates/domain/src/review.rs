//! Reviews of cases: decisions, their reasons, and the rules for them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::Verdict;
use super::tenant::Account;

/// How long a decision can be undone. It is published only afterwards.
pub const UNDO: Duration = Duration::from_secs(8);
/// How long a case stays with its holder without a sign of life.
pub const LEASE: Duration = Duration::from_mins(5);
/// How long a case that a lead assigned waits for its reviewer.
pub const ASSIGNED: Duration = Duration::from_hours(8);
/// The most characters that a note may have.
pub const LONGEST_NOTE: usize = 2000;

/// A person who reviews the cases of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewer {
    pub id: ReviewerId,
    pub account: Account,
    pub login: String,
    pub name: String,
    /// A lead settles disputes, assigns cases and corrects decisions.
    pub is_lead: bool,
}

/// One reviewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReviewerId(pub Uuid);

/// A reviewer's decision on a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case")]
pub enum ReviewDecision {
    Approved,
    Rejected,
}

impl ReviewDecision {
    /// The name in the database and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The verdict that the report then has.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Approved => Verdict::Approved,
            Self::Rejected => Verdict::Rejected,
        }
    }
}

/// The reason of a decision. Reasons are chosen from a list, so that they can be counted.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReviewReason)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    SamePerson,
    Aged,
    AppearanceChanged,
    DifferentPerson,
    NotLive,
    DocumentAltered,
    WrongFace,
    TooPoor,
    Other,
}

impl Reason {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in the database and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The text for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::SamePerson => "The same person",
            Self::Aged => "The same, some years apart",
            Self::AppearanceChanged => "The same; hair, beard, glasses or make-up changed",
            Self::DifferentPerson => "Another person",
            Self::NotLive => "A photo of a print or a screen",
            Self::DocumentAltered => "The document's portrait was altered",
            Self::WrongFace => "No face, or not the one that was meant",
            Self::TooPoor => "Too poor to tell",
            Self::Other => "Another reason: see the note",
        }
    }

    /// Whether this can be a reason for that decision.
    #[must_use]
    pub fn is_for(self, choice: ReviewDecision) -> bool {
        match self {
            Self::SamePerson | Self::Aged | Self::AppearanceChanged => choice == ReviewDecision::Approved,
            Self::DifferentPerson | Self::NotLive | Self::DocumentAltered | Self::WrongFace | Self::TooPoor => {
                choice == ReviewDecision::Rejected
            }
            Self::Other => true,
        }
    }
}

/// What a reviewer entered about a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    pub choice: ReviewDecision,
    pub reasons: Vec<Reason>,
    /// The reviewer's own words. They may hold personal data and never leave the desk.
    pub note: String,
}

/// The review of a case, as shown to everybody who may read the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub choice: ReviewDecision,
    pub reasons: Vec<Reason>,
    /// 1 for the first entry; a correction has a higher one.
    pub revision: i32,
    pub decided_at: DateTime<Utc>,
}

/// Why a reviewer's entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct OpinionFault {
    pub field: &'static str,
    pub what: String,
}

impl Opinion {
    /// Parses the fields of a form. A rejection needs a reason, and the reason `other` needs a note.
    ///
    /// # Errors
    /// The first invalid field.
    pub fn read(choice: &str, reasons: &[String], note: &str) -> Result<Self, OpinionFault> {
        let fault = |field, what: String| OpinionFault { field, what };
        let choice = ReviewDecision::parse(choice)
            .ok_or_else(|| fault("decision", "the decision must be approved or rejected".to_owned()))?;
        let mut read = Vec::new();
        for name in reasons {
            let reason = Reason::parse(name)
                .ok_or_else(|| fault("reason", "one of the reasons is not on the list".to_owned()))?;
            // A form sends every ticked box, including those of the other decision.
            if reason.is_for(choice) && !read.contains(&reason) {
                read.push(reason);
            }
        }
        if choice == ReviewDecision::Rejected && read.is_empty() {
            return Err(fault("reason", "a rejection needs a reason: choose at least one".to_owned()));
        }
        let note = note.trim();
        if note.chars().count() > LONGEST_NOTE {
            return Err(fault("note", format!("the note must have at most {LONGEST_NOTE} characters")));
        }
        if note.contains('\0') {
            return Err(fault("note", "the note holds a character that cannot be stored".to_owned()));
        }
        if read.contains(&Reason::Other) && note.is_empty() {
            return Err(fault("note", "say in the note what the other reason is".to_owned()));
        }
        Ok(Self { choice, reasons: read, note: note.to_owned() })
    }
}

/// The type of an entry in a case's history of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// One of two opinions that must agree. It decides nothing by itself.
    Opinion,
    Decision,
    /// A correction of an earlier decision.
    Correction,
}

impl Stage {
    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// The state of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CaseState {
    Waiting,
    /// It waits for a second opinion.
    Second,
    /// Two opinions differ. A lead decides.
    Disputed,
    /// Decided, but the decision can still be undone.
    Settling,
    Decided,
    /// Nobody decided while its images still existed.
    Lapsed,
    Erased,
}

impl CaseState {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The text for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Second => "Second opinion",
            Self::Disputed => "Disputed",
            Self::Settling => "Being decided",
            Self::Decided => "Decided",
            Self::Lapsed => "Lapsed: nobody decided in time",
            Self::Erased => "Erased",
        }
    }

    /// Whether a reviewer may take it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Second | Self::Disputed)
    }

    /// The effect of an opinion on a case in this state: the type of its entry, and the next state. `first` is the
    /// first of two opinions, when this one is the second.
    #[must_use]
    pub fn after(self, choice: ReviewDecision, first: Option<ReviewDecision>, needs_two: bool) -> (Stage, Self) {
        match self {
            Self::Waiting if needs_two => (Stage::Opinion, Self::Second),
            Self::Second if first.is_some_and(|earlier| earlier != choice) => (Stage::Opinion, Self::Disputed),
            _ => (Stage::Decision, Self::Decided),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(choice: &str, reasons: &[&str], note: &str) -> Result<Opinion, &'static str> {
        let reasons: Vec<_> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Opinion::read(choice, &reasons, note).map_err(|fault| fault.field)
    }

    #[test]
    fn a_rejection_needs_a_reason_and_another_reason_a_note() {
        let approved = read("approved", &[], "  seen twice ").unwrap();
        assert_eq!((approved.choice, approved.note.as_str()), (ReviewDecision::Approved, "seen twice"));
        assert_eq!(read("rejected", &[], ""), Err("reason"));
        assert_eq!(read("rejected", &["other"], " "), Err("note"));
        assert!(read("rejected", &["other"], "wears a mask").is_ok());
        let twice = read("rejected", &["not_live", "not_live"], "").unwrap();
        assert_eq!(twice.reasons, [Reason::NotLive]);
    }

    #[test]
    fn an_unknown_decision_reason_or_an_unfit_note_is_refused_by_its_field() {
        assert_eq!(read("in_review", &[], ""), Err("decision"));
        assert_eq!(read("approved", &["not_live", "aged"], "").unwrap().reasons, [Reason::Aged]);
        assert_eq!(read("rejected", &["same_person"], ""), Err("reason"));
        assert_eq!(read("approved", &["<script>"], ""), Err("reason"));
        assert_eq!(read("approved", &[], &"ä".repeat(LONGEST_NOTE + 1)), Err("note"));
        assert!(read("approved", &[], &"ä".repeat(LONGEST_NOTE)).is_ok());
        assert_eq!(read("approved", &[], "a\0b"), Err("note"));
    }

    #[test]
    fn two_who_agree_decide_and_two_who_differ_leave_it_to_a_lead() {
        use CaseState::{Decided, Disputed, Second, Waiting};
        use ReviewDecision::{Approved, Rejected};
        for (state, choice, first, needs_two, expected) in [
            (Waiting, Approved, None, false, (Stage::Decision, Decided)),
            (Waiting, Approved, None, true, (Stage::Opinion, Second)),
            (Second, Approved, Some(Approved), true, (Stage::Decision, Decided)),
            (Second, Rejected, Some(Approved), true, (Stage::Opinion, Disputed)),
            // The rule was dropped meanwhile. The first opinion still counts.
            (Second, Rejected, Some(Approved), false, (Stage::Opinion, Disputed)),
            (Disputed, Rejected, Some(Approved), true, (Stage::Decision, Decided)),
        ] {
            assert_eq!(state.after(choice, first, needs_two), expected, "{state:?} {choice:?} {first:?} {needs_two}");
        }
    }

    #[test]
    fn every_name_is_found_again() {
        assert!(Reason::ALL.iter().all(|reason| Reason::parse(reason.name()) == Some(*reason)));
        assert!(CaseState::ALL.iter().all(|state| CaseState::parse(state.name()) == Some(*state)));
        for stage in [Stage::Opinion, Stage::Decision, Stage::Correction] {
            assert_eq!(Stage::parse(stage.name()), Some(stage));
        }
    }
}
