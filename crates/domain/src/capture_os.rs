//! The system that a selfie was taken on, as the request names it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The system that the selfie was taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CaptureOs {
    Desktop,
    Ios,
    Android,
}
