//! Events in one format for webhooks, streams and the results exchange: `{type, timestamp, data}`. They hold no
//! biometric data.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use super::time::time;

/// The types of events that an endpoint can subscribe to.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
pub enum EventType {
    /// The job has its verdict.
    #[serde(rename = "job.completed")]
    #[strum(serialize = "job.completed")]
    JobCompleted,
    /// The job ended without a verdict.
    #[serde(rename = "job.failed")]
    #[strum(serialize = "job.failed")]
    JobFailed,
    /// A reviewer decided on the job.
    #[serde(rename = "review.decided")]
    #[strum(serialize = "review.decided")]
    ReviewDecided,
    /// A job's images, result and metadata were erased.
    #[serde(rename = "image.erased")]
    #[strum(serialize = "image.erased")]
    ImageErased,
    /// Another endpoint of the account was disabled.
    #[serde(rename = "endpoint.disabled")]
    #[strum(serialize = "endpoint.disabled")]
    EndpointDisabled,
}

impl EventType {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in the database and in the event itself.
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

/// The type of the test event that an owner can request for an endpoint, whatever it subscribed to. No other endpoint
/// gets it.
pub const TEST: &str = "endpoint.test";

/// Why an endpoint is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Disabled {
    ByRequest,
    /// It answered with status 410.
    Gone,
    /// Deliveries failed for too long.
    Failing,
}

impl Disabled {
    /// The name in the database and in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The event as it is sent. Its bytes are the same at each attempt, unless data are erased meanwhile.
#[must_use]
pub fn envelope(kind: &str, at: DateTime<Utc>, data: &Value) -> String {
    json!({ "type": kind, "timestamp": time(at), "data": data }).to_string()
}

/// The routing key in the results exchange: `<organisation>.<kind>.<status>`, in snake case. Names of organisations
/// contain no dot.
#[must_use]
pub fn routing_key(organisation: &str, event: &str, data: &Value) -> String {
    let word = |field: &str| data[field].as_str();
    let (kind, status) = match event {
        "endpoint.disabled" => ("endpoint", "disabled"),
        "image.erased" => (word("kind").unwrap_or("job"), "erased"),
        _ => (word("kind").unwrap_or("job"), word("verdict").or(word("state")).unwrap_or("unknown")),
    };
    format!("{organisation}.{kind}.{status}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routing_key_has_organisation_kind_and_status() {
        for (event, data, expected) in [
            (
                "job.completed",
                json!({"kind": "face_match", "state": "succeeded", "verdict": "in_review"}),
                "face_match.in_review",
            ),
            ("review.decided", json!({"kind": "face_match", "verdict": "approved"}), "face_match.approved"),
            ("job.failed", json!({"kind": "id_match", "state": "failed"}), "id_match.failed"),
            ("job.failed", json!({"kind": "id_match", "state": "cancelled"}), "id_match.cancelled"),
            (
                "image.erased",
                json!({"kind": "id_match", "state": "succeeded", "verdict": "approved"}),
                "id_match.erased",
            ),
            ("endpoint.disabled", json!({"endpoint_id": "x"}), "endpoint.disabled"),
        ] {
            assert_eq!(routing_key("acme-bank", event, &data), format!("acme-bank.{expected}"));
        }
    }

    #[test]
    fn every_type_is_found_by_its_name_and_has_it_in_json() {
        for &kind in EventType::ALL {
            assert_eq!(EventType::parse(kind.name()), Some(kind));
            assert_eq!(json!(kind), kind.name());
        }
        assert_eq!(EventType::parse(TEST), None);
    }

    #[test]
    fn an_envelope_is_type_time_and_data() {
        let at = DateTime::from_timestamp_millis(1_614_265_330_123).unwrap();
        let text = envelope("job.completed", at, &json!({"id": 1}));
        assert_eq!(text, r#"{"type":"job.completed","timestamp":"2021-02-25T15:02:10.123Z","data":{"id":1}}"#);
    }
}
