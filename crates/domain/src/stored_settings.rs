//! An organisation's settings as they are stored, perhaps by a newer version. Reading is tolerant, and what this
//! version does not understand is kept when it writes the settings back.

use serde_json::{Map, Value, json};

use super::tenant::{RECORD_DAYS, Service, TenantSettings};

impl TenantSettings {
    /// Reads stored settings. A setting that this version does not know is ignored and kept. So is a value of a known
    /// setting that it cannot read; that setting then has its strictest meaning, or, if there is none, is
    /// [unreadable](Self::unreadable).
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        let Ok(Value::Object(stored)) = serde_json::from_str(text) else {
            // No version writes this, so nothing is worth keeping. An operator must approve the organisation again.
            let foreign = Map::from_iter([("approved".to_owned(), Value::Null)]);
            return Self { approved: false, foreign, ..Self::default() };
        };
        if let Ok(settings) = serde_json::from_value(Value::Object(stored.clone())) {
            return settings;
        }
        let (mut read, mut foreign) = (Self::default(), Map::new());
        for (name, value) in stored {
            match read.with(&name, &value) {
                Some(with) => read = with,
                None => drop(foreign.insert(name, value)),
            }
        }
        for (name, value) in &foreign {
            let strict = strictest(name, value);
            read = strict.and_then(|value| read.with(name, &value)).unwrap_or(read);
        }
        Self { foreign, ..read }
    }

    /// The form in which they are stored: with what [`Self::from_stored`] kept, and without new settings that have
    /// their defaults. The version before refuses settings that it does not know, and runs beside this one during an
    /// upgrade.
    #[must_use]
    pub fn to_stored(&self) -> Value {
        let (mut fields, defaults) = (self.fields(), Self::default().fields());
        for new in ["jobs_in_flight", "events_days", "records_days"] {
            if fields.get(new) == defaults.get(new) {
                fields.remove(new);
            }
        }
        fields.extend(self.foreign.clone());
        Value::Object(fields)
    }

    /// A setting whose value only a newer version can read, and without which a job would be judged by the wrong rules.
    /// Jobs of the organisation must wait for a process of that version.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        if self.foreign.is_empty() {
            return None;
        }
        let known = Self::default().fields();
        let unreadable =
            |(name, value): &(&String, &Value)| known.contains_key(*name) && strictest(name, value).is_none();
        self.foreign.iter().find(unreadable).map(|(name, _)| name.as_str())
    }

    fn with(&self, name: &str, value: &Value) -> Option<Self> {
        let mut fields = self.fields();
        fields.insert(name.to_owned(), value.clone());
        serde_json::from_value(Value::Object(fields)).ok()
    }
}

/// What a setting with an unreadable value means, when there is a meaning that cannot do harm.
fn strictest(name: &str, value: &Value) -> Option<Value> {
    Some(match name {
        "services" => {
            let known = |name: &&Value| name.as_str().is_some_and(|name| Service::parse(name).is_some());
            value.as_array().map_or_else(|| json!([]), |names| names.iter().filter(known).cloned().collect())
        }
        "liveness" => json!("required"),
        "empty_wallet" => json!("refuse"),
        "four_eyes_fmr" => json!(0.0),
        "events_days" | "records_days" => json!(RECORD_DAYS.end()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::{EmptyWallet, LivenessPolicy};

    #[test]
    fn settings_of_a_newer_version_are_ignored_and_kept() {
        let text = r#"{"approved": false, "palms": {"hands": 2}, "mode": "FAST"}"#;
        let read = TenantSettings::from_stored(text);
        assert_eq!((read.approved, read.unreadable()), (false, None));
        let patch = json!({"approved": true, "mode": null});
        let changed = read.merged(patch.as_object().unwrap()).unwrap().to_stored();
        assert_eq!((&changed["approved"], &changed["mode"]), (&json!(true), &Value::Null));
        assert_eq!(changed["palms"], json!({"hands": 2}));
        assert_eq!(TenantSettings::from_stored(&changed.to_string()).to_stored(), changed);
        assert!(read.merged(json!({"palms": null}).as_object().unwrap()).is_err(), "writing is strict");
    }

    #[test]
    fn a_value_of_a_newer_version_has_the_strictest_meaning_and_is_kept() {
        let text = r#"{"services": ["palm_reading", "face_match"], "liveness": "in_depth", "empty_wallet": "lend",
                       "records_days": "for ever", "requests_per_minute": 7}"#;
        let read = TenantSettings::from_stored(text);
        assert!(read.services.iter().eq([&Service::FaceMatch]));
        assert_eq!((read.liveness, read.empty_wallet), (LivenessPolicy::Required, EmptyWallet::Refuse));
        assert_eq!((read.records_days, read.requests_per_minute, read.unreadable()), (36_500, Some(7), None));
        assert_eq!(read.to_stored()["liveness"], "in_depth");
        let changed = read.merged(json!({"liveness": "off"}).as_object().unwrap()).unwrap();
        assert_eq!((changed.liveness, &changed.to_stored()["liveness"]), (LivenessPolicy::Off, &json!("off")));
        assert_eq!(changed.to_stored()["services"], json!(["palm_reading", "face_match"]));
    }

    #[test]
    fn a_threshold_that_cannot_be_read_is_named_until_it_is_set_again() {
        let read = TenantSettings::from_stored(r#"{"approve": {"fmr": 1e-6}, "mode": "FAST"}"#);
        assert_eq!(read.unreadable(), Some("approve"));
        let other = read.merged(json!({"mode": null}).as_object().unwrap()).unwrap();
        assert_eq!(other.unreadable(), Some("approve"));
        assert_eq!(other.merged(json!({"approve": 0.9}).as_object().unwrap()).unwrap().unreadable(), None);
    }

    #[test]
    fn settings_that_are_no_settings_mean_an_organisation_that_is_not_approved() {
        for text in ["[]", "null", r#"{"approved": 1e400}"#] {
            let read = TenantSettings::from_stored(text);
            assert_eq!((read.approved, read.unreadable()), (false, Some("approved")), "{text}");
            let again = read.merged(json!({"approved": true}).as_object().unwrap()).unwrap();
            assert_eq!((again.approved, again.unreadable()), (true, None));
        }
    }

    #[test]
    fn settings_of_this_version_are_read_as_they_are() {
        assert_eq!(TenantSettings::from_stored("{}"), TenantSettings::default());
        let stored = TenantSettings::default().to_stored();
        assert!(stored["approved"] == true && stored.get("events_days").is_none(), "{stored}");
        assert_eq!(TenantSettings::from_stored(&stored.to_string()), TenantSettings::default());
    }
}
