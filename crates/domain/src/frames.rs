//! Several frames in place of one image: which one was compared, and whether they belong together.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::action::Action;
use super::motion::Parallax;
use super::warning::{LogType, Risk, Warning};

/// Several frames of one person: which one was compared, and whether they belong together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct FrameSummary {
    /// Where the one that was compared stands among the probe's images; none where no frame shows a usable face.
    #[schema(required)]
    pub best: Option<u16>,
    /// Seconds from a video's beginning to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0.0)]
    pub best_at: Option<f64>,
    /// Frames that were looked at.
    pub looked_at: u16,
    /// Those that could not be read.
    pub unreadable: u16,
    /// Those that were read and show no face.
    pub without_face: u16,
    /// Those whose face is another person's.
    pub other_person: u16,
    /// Of all faces to the compared one, however badly some are seen, in [0, 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    pub least_similarity: Option<f64>,
    /// How often one frame shows other surroundings than the one before it.
    pub cuts: u16,
    /// What the person does, in the order in which it begins.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// The depth that the face shows by its motion; absent with fewer than two faces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parallax: Option<Parallax>,
}

impl FrameSummary {
    /// Whether they show one person in one take.
    #[must_use]
    pub fn are_consistent(&self) -> bool {
        self.without_face == 0 && self.other_person == 0 && self.cuts == 0
    }

    /// What is told of frames that do not; `image` is their name in the request. Another person among them weighs more
    /// than a face that left the picture for a moment.
    #[must_use]
    pub fn warning(&self, image: &str) -> Warning {
        let Self { looked_at, without_face, other_person, cuts, .. } = self;
        let data = format!(
            "image={image} frames={looked_at} without_face={without_face} other_person={other_person} cuts={cuts}"
        );
        Warning::new(
            Risk::FramesInconsistent,
            if *other_person > 0 { LogType::Error } else { LogType::Warning },
            Some(data),
            "Frames do not belong together",
            "The frames do not show one person in one uncut take. Record them again without a pause, the face in view throughout.",
        )
    }
}
