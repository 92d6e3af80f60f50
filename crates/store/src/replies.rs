//! Replies to AMQP producers: where they go, and what they say.

use strum::IntoStaticStr;

/// Where an AMQP producer wants its replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyAddress {
    pub reply_to: String,
    pub correlation_id: Option<String>,
}

impl ReplyAddress {
    pub(super) fn of(reply_to: Option<String>, correlation_id: Option<String>) -> Option<Self> {
        reply_to.map(|reply_to| Self { reply_to, correlation_id })
    }
}

/// What a reply says: the message's `type` property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReplyType {
    /// The job is stored and will run.
    Accepted,
    /// The submission was refused, and nothing was stored.
    Rejected,
    /// The job has its verdict.
    Completed,
    /// The job ended without a verdict.
    Failed,
}

impl ReplyType {
    /// As producers see it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The kind in the outbox. A job has at most one reply of each kind.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Accepted => "reply_accepted",
            Self::Rejected => "reply_rejected",
            Self::Completed | Self::Failed => "reply_final",
        }
    }
}
