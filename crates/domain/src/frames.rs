//! The summary of several frames: which one was compared, and whether all show one person in one take.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::action::Action;
use super::motion::Parallax;
use super::warning::{LogType, Risk, Warning};

/// What was found in several frames of one person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct FrameSummary {
    /// The position of the compared frame among the probe's images. None when no frame shows a usable face.
    #[schema(required)]
    pub best: Option<u16>,
    /// Seconds from the start of the video to the compared frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0.0)]
    pub best_at: Option<f64>,
    /// Frames that were analysed.
    pub looked_at: u16,
    /// Frames that could not be read.
    pub unreadable: u16,
    /// Frames that were read and show no face.
    pub without_face: u16,
    /// Frames that show another person's face.
    pub other_person: u16,
    /// The lowest similarity of any frame's face to the compared one, in [0, 1], however badly that face is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0.0, maximum = 1.0)]
    pub least_similarity: Option<f64>,
    /// How often a frame shows other surroundings than the frame before it.
    pub cuts: u16,
    /// The actions that the person makes, in the order in which they begin.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// The depth that the face shows by its motion. Absent when fewer than two frames show a face.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parallax: Option<Parallax>,
}

impl FrameSummary {
    /// Whether the frames show one person in one take.
    #[must_use]
    pub fn are_consistent(&self) -> bool {
        self.without_face == 0 && self.other_person == 0 && self.cuts == 0
    }

    /// The warning about inconsistent frames. `image` is their name in the request. Another person is an error; a face
    /// that left the picture for a moment is not.
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
            "The frames do not show one person in one uncut take. Record them again without a pause, the face in \
             view throughout.",
        )
    }
}
