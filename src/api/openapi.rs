//! The OpenAPI 3.1 document, gathered from the handlers, and the page to try it in.

use axum::Router;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::SwaggerUi;

use super::ApiContext;

/// What the document says beyond the handlers. Each handler registers itself: see `routes()` in its file.
#[derive(OpenApi)]
#[openapi(
    info(title = "visavis", description = "Face comparison as a job queue, on your own machines."),
    modifiers(&ApiKey),
    security(("api_key" = [])),
)]
pub(super) struct Document;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("vv_live_... or vv_test_...");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::Http(scheme.build()));
    }
}

/// `/openapi.json` and `/docs`, whose assets are in this binary.
pub(super) fn pages(document: utoipa::openapi::OpenApi) -> Router<ApiContext> {
    SwaggerUi::new("/docs").url("/openapi.json", document).into()
}
