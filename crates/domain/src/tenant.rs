//! Organisations: their rights and their settings.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use super::capture_os::CaptureOs;
use super::evidence::{Mode, Threshold};
use super::ids::TenantId;
use super::suggestion::nearest;

/// The owner of jobs and images. An organisation has two accounts, one of live keys and one of test keys. Neither can
/// see the other's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Account {
    pub tenant_id: TenantId,
    pub sandbox: bool,
}

impl Account {
    /// The account of live keys and AMQP producers.
    #[must_use]
    pub fn live(tenant_id: TenantId) -> Self {
        Self { tenant_id, sandbox: false }
    }
}

/// A right of an API key.
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
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Submit jobs and upload images.
    Submit,
    /// Read jobs, reports and images.
    Read,
    /// Erase jobs.
    Erase,
    /// Read the wallet and its statement.
    Billing,
    /// Manage webhook endpoints and their deliveries.
    Webhooks,
}

impl Scope {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in the database and on the command line.
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

/// Requests of an organisation in a minute, unless its settings say otherwise. Two cores answer fewer.
pub const REQUESTS_PER_MINUTE: u32 = 12_000;

/// Requests of an organisation at once in a process, unless its settings say otherwise. Those that wait for a result
/// count, so this is also how many people may wait at the same time.
pub const CONCURRENT_REQUESTS: u32 = 256;

/// Jobs of an organisation that wait or run, unless its settings say otherwise: twice a large batch. With 1 MB each
/// their images take 20 GB.
pub const JOBS_IN_FLIGHT: u32 = 20_000;

/// Hours that an organisation's images may be kept.
pub const RETENTION_HOURS: RangeInclusive<i64> = 1..=720;

/// Days that an organisation's events and records may be kept.
pub const RECORD_DAYS: RangeInclusive<u32> = 1..=36_500;

/// Whether an organisation may have this name: 1 to 63 lower-case letters, digits and hyphens, and no hyphen at its
/// start.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-')
}

/// Whether a key may have this label: at most 100 characters, without U+0000, which Postgres cannot store.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.chars().count() <= 100 && !text.contains('\0')
}

/// A service that an organisation can subscribe to. Each is one kind of job.
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
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Service {
    LikenessCheck,
    IdMatch,
    FaceMatch,
    CompareWithLiveness,
}

impl Service {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name of its kind of job, in requests and in the database.
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

/// Whether liveness is tested in a report's probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LivenessPolicy {
    Off,
    /// Liveness is tested where a model is installed. Otherwise the report has an `information` warning.
    #[default]
    IfAvailable,
    /// A report without a liveness test is never approved.
    Required,
}

/// What happens to a billed job when the wallet has too little money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyWallet {
    /// It is accepted, and the balance goes below zero.
    #[default]
    Overdraw,
    /// It is refused when it is submitted.
    Refuse,
}

/// Settings of an organisation, as stored. A missing field means the default; for thresholds that is the deployment's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantSettings {
    /// An organisation that is not approved may not submit jobs.
    pub approved: bool,
    pub services: BTreeSet<Service>,
    /// Of `likeness_check`.
    pub similarity_threshold: Option<Threshold>,
    /// Of `id_match`.
    pub id_match_threshold: Option<Threshold>,
    /// Of `face_match`, in [0, 1].
    pub approve: Option<Threshold>,
    /// Of `face_match`, in [0, 1].
    pub review: Option<Threshold>,
    pub mode: Option<Mode>,
    pub liveness: LivenessPolicy,
    /// The least liveness score that passes, in [0.5, 1].
    pub liveness_threshold: Option<Threshold>,
    /// Replaces it for selfies taken on that system. Only requests of `compare_with_liveness` name the system.
    pub liveness_threshold_by_os: BTreeMap<CaptureOs, Threshold>,
    /// The most requests of the organisation in a minute. Default: [`REQUESTS_PER_MINUTE`].
    pub requests_per_minute: Option<u32>,
    /// The most requests at once, over all its keys, in one process. Default: [`CONCURRENT_REQUESTS`].
    pub concurrent_requests: Option<u32>,
    /// The most jobs that wait or run, over all its keys. Default: [`JOBS_IN_FLIGHT`].
    pub jobs_in_flight: Option<u32>,
    pub empty_wallet: EmptyWallet,
    /// The price of a confirmed `id_match`, in minor units of the wallet's currency.
    pub id_match_price: i64,
    /// Two reviewers must agree on cases whose score stands for a false match rate at or above this one, in [0, 1].
    /// With 0 these are all cases; without a value none.
    pub four_eyes_fmr: Option<f64>,
    /// Days for which events are kept: how far back a stream can resume. In [`RECORD_DAYS`].
    pub events_days: u32,
    /// Days for which a job's result, metadata and other records are kept after its end. At least `events_days`, in
    /// [`RECORD_DAYS`].
    pub records_days: u32,
    /// What was stored beside these fields, or in their place, and this version cannot read: see
    /// [`Self::from_stored`].
    #[serde(skip)]
    pub foreign: Map<String, Value>,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            approved: true,
            services: Service::ALL.iter().copied().collect(),
            similarity_threshold: None,
            id_match_threshold: None,
            approve: None,
            review: None,
            mode: None,
            liveness: LivenessPolicy::default(),
            liveness_threshold: None,
            liveness_threshold_by_os: BTreeMap::new(),
            requests_per_minute: None,
            concurrent_requests: None,
            jobs_in_flight: None,
            empty_wallet: EmptyWallet::default(),
            id_match_price: 0,
            four_eyes_fmr: None,
            events_days: 30,
            records_days: 400,
            foreign: Map::new(),
        }
    }
}

impl TenantSettings {
    /// These settings with some fields replaced. Null resets a field to its default.
    ///
    /// # Errors
    /// The first field that is unknown or has an invalid value.
    pub fn merged(&self, patch: &Map<String, Value>) -> Result<Self, SettingsFault> {
        let fault = |field: &str, what: String| SettingsFault { field: field.to_owned(), what };
        let (mut root, defaults) = (self.fields(), Self::default().fields());
        let mut merged = self.clone();
        for (field, value) in patch {
            if !root.contains_key(field) {
                let known: Vec<&str> = root.keys().map(String::as_str).collect();
                let hint = match nearest(field, &known) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("there are: {}", known.join(", ")),
                };
                return Err(fault(field, format!("is not a setting; {hint}")));
            }
            let value = if value.is_null() { defaults.get(field).cloned().unwrap_or_default() } else { value.clone() };
            root.insert(field.clone(), value);
            // Each field is parsed by itself, so that the one at fault can be named.
            merged = serde_json::from_value(Value::Object(root.clone()))
                .map_err(|error| fault(field, format!("has an invalid value: {error}")))?;
        }
        merged.foreign.clone_from(&self.foreign);
        merged.foreign.retain(|name, _| !patch.contains_key(name));
        if let (Some(review), Some(approve)) = (merged.review, merged.approve)
            && review > approve
        {
            return Err(fault("review", "must not be above approve".to_owned()));
        }
        let by_os = merged.liveness_threshold_by_os.values().map(|least| ("liveness_threshold_by_os", *least));
        let overall = merged.liveness_threshold.map(|least| ("liveness_threshold", least));
        if let Some((field, _)) = overall.into_iter().chain(by_os).find(|(_, least)| *least < Threshold::LIVE) {
            return Err(fault(field, "must be at least 0.5: what is uncertain or an attack lies below it".to_owned()));
        }
        let limits = [
            ("requests_per_minute", merged.requests_per_minute),
            ("concurrent_requests", merged.concurrent_requests),
            ("jobs_in_flight", merged.jobs_in_flight),
        ];
        if let Some((field, _)) = limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
            return Err(fault(field, "must be at least 1, or null for the default".to_owned()));
        }
        if merged.id_match_price < 0 {
            return Err(fault("id_match_price", "must not be negative".to_owned()));
        }
        if merged.four_eyes_fmr.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err(fault("four_eyes_fmr", "must lie in 0 to 1, or be null for no second opinion".to_owned()));
        }
        for (field, days) in [("events_days", merged.events_days), ("records_days", merged.records_days)] {
            if !RECORD_DAYS.contains(&days) {
                return Err(fault(field, "must lie in 1 to 36500, or be null for the default".to_owned()));
            }
        }
        if merged.records_days < merged.events_days {
            let what = format!("must not be below events_days, which is {}", merged.events_days);
            return Err(fault("records_days", what));
        }
        Ok(merged)
    }
}

impl TenantSettings {
    /// All fields by their names.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

/// A setting with an invalid name or value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {what}")]
pub struct SettingsFault {
    pub field: String,
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(settings: &TenantSettings, patch: &Value) -> Result<TenantSettings, SettingsFault> {
        settings.merged(patch.as_object().unwrap())
    }

    #[test]
    fn a_patch_changes_what_it_names_and_null_goes_back_to_the_default() {
        let settings = merged(&TenantSettings::default(), &json!({"approved": false, "approve": 0.9, "mode": "FAST"}));
        let settings = settings.unwrap();
        assert!(!settings.approved && settings.mode == Some(Mode::Fast));
        let live = json!({"liveness_threshold": 0.5, "liveness_threshold_by_os": {"IOS": 0.7}});
        let settings = merged(&settings, &live).unwrap();
        assert_eq!(settings.fields()["liveness_threshold_by_os"], json!({"IOS": 0.7}));
        let back = json!({"approved": null, "mode": null, "liveness_threshold_by_os": null, "requests_per_minute": 60});
        let back = merged(&settings, &back).unwrap();
        assert!(back.liveness_threshold_by_os.is_empty() && back.liveness_threshold == Some(Threshold::LIVE));
        assert!(back.approved && back.mode.is_none() && back.requests_per_minute == Some(60));
        assert_eq!(back.approve, Some(Threshold::new(0.9).unwrap()));
    }

    #[test]
    fn a_bad_setting_is_refused_and_named() {
        for (patch, field) in [
            (json!({"aproved": true}), "aproved"),
            (json!({"approved": "yes"}), "approved"),
            (json!({"approve": 75}), "approve"),
            (json!({"approve": 0.7, "review": 0.8}), "review"),
            (json!({"services": ["palm_reading"]}), "services"),
            (json!({"requests_per_minute": 0}), "requests_per_minute"),
            (json!({"concurrent_requests": 0}), "concurrent_requests"),
            (json!({"jobs_in_flight": 0}), "jobs_in_flight"),
            (json!({"requests_per_minute": -1}), "requests_per_minute"),
            (json!({"id_match_price": -1}), "id_match_price"),
            (json!({"four_eyes_fmr": 1.5}), "four_eyes_fmr"),
            (json!({"events_days": 0}), "events_days"),
            (json!({"records_days": 36_501}), "records_days"),
            (json!({"records_days": 29}), "records_days"),
            (json!({"events_days": 401}), "records_days"),
            (json!({"four_eyes_fmr": "always"}), "four_eyes_fmr"),
            (json!({"liveness": "sometimes"}), "liveness"),
            (json!({"liveness_threshold": 0.49}), "liveness_threshold"),
            (json!({"liveness_threshold": 1.01}), "liveness_threshold"),
            (json!({"liveness_threshold_by_os": {"IOS": 0.7, "ANDROID": 0.3}}), "liveness_threshold_by_os"),
            (json!({"liveness_threshold_by_os": {"AMIGA": 0.7}}), "liveness_threshold_by_os"),
            (json!({"liveness_threshold_by_os": 0.7}), "liveness_threshold_by_os"),
        ] {
            let fault = merged(&TenantSettings::default(), &patch).err().unwrap_or_else(|| panic!("{patch} was taken"));
            assert_eq!(fault.field, field, "{fault}");
        }
    }

    #[test]
    fn missing_settings_mean_defaults_and_unknown_ones_are_refused() {
        let read = |text: &str| serde_json::from_str::<TenantSettings>(text);
        assert_eq!(read("{}").unwrap(), TenantSettings::default());
        assert!(!read(r#"{"approved": false}"#).unwrap().approved);
        assert!(read(r#"{"aproved": false}"#).is_err());
        assert!(read(r#"{"approve": 1.5}"#).is_err());
    }
}
