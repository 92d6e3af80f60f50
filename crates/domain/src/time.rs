//! How answers, events and receipts write instants.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn time(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
