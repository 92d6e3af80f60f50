//! `POST /v1/liveness/challenges`: actions that a person must perform in front of the camera.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::DateTime;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::auth::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use crate::domain::action::Action;
use crate::domain::request::parse_challenge;
use crate::domain::tenant::Scope;
use crate::domain::time::time;
use crate::intake;

/// Bytes.
const MAX_BODY: usize = 4 << 10;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(issue)).layer(DefaultBodyLimit::max(MAX_BODY))
}

/// What to ask the person for. Both fields may be absent.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API's document alone")]
struct ChallengeWish {
    /// Number of actions. More actions are less likely to be on an existing video by chance, and take longer.
    #[schema(minimum = 3, maximum = 6, default = 4)]
    length: Option<u32>,
    /// Actions to draw from. They must include both turns, and `close_eyes` or `open_mouth`. Default: all but
    /// `close_eyes`.
    #[schema(min_items = 3, max_items = 6)]
    actions: Option<Vec<Action>>,
}

/// A challenge for one person and one attempt.
#[derive(Serialize, ToSchema)]
struct IssuedChallenge {
    /// Send it as `challenge` of a `face_match`, with frames or a video. It is a JWS; the keys to verify it are at
    /// `/.well-known/jwks.json`.
    challenge: String,
    /// The actions, one after the other. The person looks straight into the camera before, between and after them.
    actions: Vec<ChallengeStep>,
    /// The answer must be submitted by this time. RFC 3339, UTC.
    #[schema(format = "date-time")]
    expires_at: String,
    /// Issued to a test key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
}

#[derive(Serialize, ToSchema)]
struct ChallengeStep {
    action: Action,
    /// In English, to show to the person.
    instruction: &'static str,
}

/// Issues a signed liveness challenge: random actions, valid for one answer within two minutes.
#[utoipa::path(post, path = "/v1/liveness/challenges", operation_id = "issue_liveness_challenge", tag = "liveness",
    request_body(content = Option<ChallengeWish>, content_type = "application/json"),
    responses(
        (status = 201, body = IssuedChallenge)))]
async fn issue(
    State(context): State<ApiContext>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.may(Scope::Submit)?;
    let wanted = parse_challenge(&body).map_err(intake::Error::Refused)?;
    let (token, challenge) = context.intake.issue_challenge(caller.account, &wanted).await?;
    let step = |action: &Action| ChallengeStep { action: *action, instruction: action.instruction() };
    let issued = IssuedChallenge {
        challenge: token,
        actions: challenge.actions.iter().map(step).collect(),
        expires_at: time(DateTime::from_timestamp_secs(challenge.expires).unwrap_or_default()),
        sandbox: caller.account.sandbox,
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(issued)).into_response())
}
