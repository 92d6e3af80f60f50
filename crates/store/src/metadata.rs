//! What every notice repeats of a job, as rows hold it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use visavis_domain::ids::{JobId, RequestId};
use visavis_domain::notice::JobSummary;

/// What a submitter attached to its job. A value that is no text, which only a newer version could store, is left out.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
pub(super) struct StoredMetadata(BTreeMap<String, String>);

impl From<Value> for StoredMetadata {
    fn from(stored: Value) -> Self {
        let Value::Object(stored) = stored else { return Self(BTreeMap::new()) };
        let texts = stored.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            _ => None,
        });
        Self(texts.collect())
    }
}

pub(super) fn summary(
    id: Uuid,
    request_id: String,
    kind: String,
    sandbox: bool,
    metadata: Json<StoredMetadata>,
) -> JobSummary {
    JobSummary { id: JobId(id), request_id: RequestId::from_stored(request_id), kind, sandbox, metadata: metadata.0.0 }
}
