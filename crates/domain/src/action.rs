//! The actions that a liveness challenge asks for.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};
use utoipa::ToSchema;

/// What a person in front of the camera is asked to do. Each action begins and ends with a look straight into the
/// camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// Turn the head to the person's own left, by about 30 degrees.
    TurnLeft,
    /// Turn the head to the person's own right, by about 30 degrees.
    TurnRight,
    /// Raise the chin, by about 20 degrees.
    LookUp,
    /// Lower the chin, by about 20 degrees.
    LookDown,
    /// Close both eyes for about a second.
    CloseEyes,
    /// Open the mouth wide.
    OpenMouth,
}

impl Action {
    pub const ALL: &[Self] = Self::VARIANTS;
    /// The actions to draw from unless the caller names others. Closing the eyes is left out, because in narrow eyes
    /// closed lids look like open ones.
    pub const USUAL: &[Self] = &[Self::TurnLeft, Self::TurnRight, Self::LookUp, Self::LookDown, Self::OpenMouth];

    /// The name in requests and results.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The instruction to show to the person.
    #[must_use]
    pub fn instruction(self) -> &'static str {
        match self {
            Self::TurnLeft => "Turn your head to the left, then look straight again.",
            Self::TurnRight => "Turn your head to the right, then look straight again.",
            Self::LookUp => "Raise your chin, then look straight again.",
            Self::LookDown => "Lower your chin, then look straight again.",
            Self::CloseEyes => "Close your eyes for a second, then open them.",
            Self::OpenMouth => "Open your mouth wide, then close it.",
        }
    }
}
