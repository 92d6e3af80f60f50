//! What reviewers decide, and by which rules.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;
use uuid::Uuid;

use super::job::Verdict;
use super::tenant::Account;

/// So long a decision can be undone; nobody is told of it before.
pub const UNDO: Duration = Duration::from_secs(8);
/// So long a case stays with its holder without a sign of life.
pub const LEASE: Duration = Duration::from_mins(5);
/// So long a case that a lead gave away waits for its reviewer.
pub const ASSIGNED: Duration = Duration::from_hours(8);
/// Characters of a note, at most.
pub const LONGEST_NOTE: usize = 2000;

/// Somebody who reviews the cases of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewer {
    pub id: ReviewerId,
    pub account: Account,
    pub login: String,
    pub name: String,
    /// Settles disputes, gives cases to others, corrects decisions.
    pub is_lead: bool,
}

/// One reviewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReviewerId(pub Uuid);

/// What a reviewer makes of a case.
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

    /// What the report says then.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Approved => Verdict::Approved,
            Self::Rejected => Verdict::Rejected,
        }
    }
}

/// Why; chosen from a list, so that it can be counted.
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

    /// For people.
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

    /// Whether it can be a reason for that choice.
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

/// What a reviewer said of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    pub choice: ReviewDecision,
    pub reasons: Vec<Reason>,
    /// The reviewer's own words: personal data, perhaps. It leaves the desk by no channel.
    pub note: String,
}

/// What a case came to, as everybody may know it who may read the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    pub choice: ReviewDecision,
    pub reasons: Vec<Reason>,
    /// 1 for the first entry; a correction has a higher one.
    pub revision: i32,
    pub decided_at: DateTime<Utc>,
}

impl Review {
    /// As jobs and events show it.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({
            "decision": self.choice,
            "reasons": self.reasons,
            "revision": self.revision,
            "decided_at": self.decided_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        })
    }
}

/// What is wrong with what a reviewer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct OpinionFault {
    pub field: &'static str,
    pub what: String,
}

impl Opinion {
    /// Reads a form's fields. A rejection needs a reason, and so does whoever was asked for one by `other`.
    ///
    /// # Errors
    /// At the first field that cannot be.
    pub fn read(choice: &str, reasons: &[String], note: &str) -> Result<Self, OpinionFault> {
        let fault = |field, what: String| OpinionFault { field, what };
        let choice = ReviewDecision::parse(choice)
            .ok_or_else(|| fault("decision", "the decision must be approved or rejected".to_owned()))?;
        let mut read = Vec::new();
        for name in reasons {
            let reason = Reason::parse(name)
                .ok_or_else(|| fault("reason", "one of the reasons is not on the list".to_owned()))?;
            // A form sends every box that is ticked, those of the other decision, too.
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

/// What an entry among the decisions is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// One of two that must agree: it decides nothing by itself.
    Opinion,
    Decision,
    /// Of an earlier decision.
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

/// Where a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CaseState {
    Waiting,
    /// For a second opinion.
    Second,
    /// Two opinions differ: a lead decides.
    Disputed,
    /// Decided, and it can still be undone.
    Settling,
    Decided,
    /// Nobody decided while its images were there.
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

    /// For people.
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

    /// Whether somebody may take it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Second | Self::Disputed)
    }

    /// What an opinion does to a case in this state: what kind of entry it is, and where the case goes. `first` is the
    /// opinion that it is the second to.
    #[must_use]
    pub fn after(self, choice: ReviewDecision, first: Option<ReviewDecision>, needs_two: bool) -> (Stage, Self) {
        match self {
            Self::Waiting if needs_two => (Stage::Opinion, Self::Second),
            Self::Second if first.is_some_and(|it| it != choice) => (Stage::Opinion, Self::Disputed),
            _ => (Stage::Decision, Self::Decided),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(choice: &str, reasons: &[&str], note: &str) -> Result<Opinion, &'static str> {
        let reasons: Vec<_> = reasons.iter().map(|it| (*it).to_owned()).collect();
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
    fn what_is_no_decision_no_reason_or_no_note_is_refused_by_its_name() {
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
            // The rule was dropped meanwhile: the first opinion stands all the same.
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
