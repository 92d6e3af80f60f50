//! How answers write instants.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn time(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
