//! The request for a liveness challenge: how many actions to draw, and out of which.

use super::fields::{Fields, read};
use super::{RequestFault, fault};
use crate::action::Action;
use crate::challenge::{DEFAULT_LENGTH, LENGTHS, is_sufficient};

/// A challenge to be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedChallenge {
    pub length: usize,
    /// The actions to draw from: sufficient for a challenge, each once.
    pub actions: Vec<Action>,
}

/// Reads `{"length": 4, "actions": [...]}`; both may be absent, and so may the body.
///
/// # Errors
/// The first fault found.
pub fn parse_challenge(body: &[u8]) -> Result<WantedChallenge, RequestFault> {
    let mut wanted = WantedChallenge { length: DEFAULT_LENGTH, actions: Action::USUAL.to_vec() };
    if body.trim_ascii().is_empty() {
        return Ok(wanted);
    }
    let mut fields = Fields::of(body)?;
    fields.refuse_unknown(&["length", "actions"])?;
    if let Some(value) = fields.take("length")? {
        wanted.length = read(value).filter(|length| LENGTHS.contains(length)).ok_or_else(|| {
            let message = format!("length must be a whole number from {} to {}", LENGTHS.start(), LENGTHS.end());
            fault("invalid_length", Some("length"), message)
        })?;
    }
    if let Some(value) = fields.take("actions")? {
        let actions: Option<Vec<Action>> = read(value);
        let is_set =
            |actions: &Vec<Action>| actions.iter().enumerate().all(|(at, action)| !actions[..at].contains(action));
        wanted.actions = actions.filter(|actions| is_sufficient(actions) && is_set(actions)).ok_or_else(|| {
            let names = Action::ALL.iter().map(|action| action.name()).collect::<Vec<_>>().join(", ");
            let message = format!(
                "actions must be some of {names}, each at most once; both turns and one of close_eyes and \
                 open_mouth are required"
            );
            fault("invalid_actions", Some("actions"), message)
        })?;
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(body: &Value) -> Result<WantedChallenge, RequestFault> {
        parse_challenge(body.to_string().as_bytes())
    }

    #[test]
    fn without_fields_the_usual_actions_are_drawn() {
        let usual = WantedChallenge { length: 4, actions: Action::USUAL.to_vec() };
        assert_eq!(parse_challenge(b" "), Ok(usual.clone()));
        assert_eq!(parse(&json!({ "length": null })), Ok(usual));
        let wanted = parse(&json!({ "length": 6, "actions": ["turn_right", "close_eyes", "turn_left"] })).unwrap();
        assert_eq!((wanted.length, wanted.actions[1]), (6, Action::CloseEyes));
    }

    #[test]
    fn each_fault_names_its_field() {
        for (body, code, field) in [
            (json!({ "length": 2 }), "invalid_length", "length"),
            (json!({ "length": "4" }), "invalid_length", "length"),
            (json!({ "actions": ["turn_left", "open_mouth"] }), "invalid_actions", "actions"),
            (
                json!({ "actions": ["turn_left", "turn_right", "turn_right", "open_mouth"] }),
                "invalid_actions",
                "actions",
            ),
            (json!({ "actions": ["turn_left", "turn_right", "smile", "open_mouth"] }), "invalid_actions", "actions"),
            (json!({ "action": [] }), "unknown_field", "action"),
        ] {
            let fault = parse(&body).unwrap_err();
            assert_eq!((fault.code, fault.field.as_deref()), (code, Some(field)), "{body}");
        }
        assert_eq!(parse(&json!([])).unwrap_err().code, "malformed_json");
    }
}
