//! Serves the documents and the page to try the API; all assets of the page are in this binary.

use axum::http::{HeaderValue, header};
use axum::routing::get;
use axum::{Json, Router};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::ApiContext;
use crate::docs::asyncapi;

/// The page may load and call only this server. Its stylesheet embeds its images as data URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/docs`, `/openapi.json` and `/asyncapi.json`.
pub(super) fn routes(document: utoipa::openapi::OpenApi) -> Router<ApiContext> {
    // No validator, because it would send the document to a third party. The API key is not kept when the page closes.
    let config = Config::default()
        .use_base_layout()
        .validator_url("none")
        .persist_authorization(false)
        .try_it_out_enabled(true)
        .display_request_duration(true);
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let page: Router<ApiContext> = SwaggerUi::new("/docs").url("/openapi.json", document).config(config).into();
    let page = headers.into_iter().fold(page, |page, (name, value)| {
        page.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    });
    page.route("/asyncapi.json", get(|| async { Json(asyncapi::document()) }))
}
