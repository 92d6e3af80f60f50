//! `GET /`: a page that leads to documentation, desk and health. Clients that ask for JSON get the same links as JSON.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::ApiContext;

static PAGE: LazyLock<String> =
    LazyLock::new(|| include_str!("home.html").replace("{version}", env!("CARGO_PKG_VERSION")));

/// The page loads nothing. Its own style is allowed by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = PAGE.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
    let hash = digest(&SHA256, style.map_or("", |(style, _)| style).as_bytes());
    let hash = BASE64_STANDARD.encode(hash);
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// What this server is, and where to go on.
#[derive(Serialize)]
struct HomeAnswer {
    name: &'static str,
    version: &'static str,
    links: HomeLinks,
}

#[derive(Serialize)]
struct HomeLinks {
    docs: &'static str,
    openapi: &'static str,
    asyncapi: &'static str,
    desk: &'static str,
    health: &'static str,
}

pub(super) fn routes() -> Router<ApiContext> {
    Router::new().route("/", get(home))
}

async fn home(headers: HeaderMap) -> Response {
    let vary = (header::VARY, HeaderValue::from_static("accept"));
    if prefers_json(&headers) {
        let links = HomeLinks {
            docs: "/docs/",
            openapi: "/openapi.json",
            asyncapi: "/asyncapi.json",
            desk: "/desk",
            health: "/readyz",
        };
        let answer = HomeAnswer { name: "visavis", version: env!("CARGO_PKG_VERSION"), links };
        return ([vary], Json(answer)).into_response();
    }
    let mut response = ([vary], Html(PAGE.as_str())).into_response();
    let policy = HeaderValue::from_str(&POLICY).ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy));
    response.headers_mut().extend(policy);
    response
}

/// Whether `Accept` names JSON before HTML. Without a preference the page is shown.
fn prefers_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|list| list.split(',')).map(|range| range.split(';').next().unwrap_or_default());
    let first = types.find(|range| ["text/html", "application/json"].contains(&range.trim()));
    first.is_some_and(|range| range.trim() == "application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            ("application/json, text/plain, */*", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("text/html, application/json", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(prefers_json(&headers), json, "{accept}");
        }
        assert!(!prefers_json(&HeaderMap::new()));
    }

    #[test]
    fn the_page_has_its_version_and_a_policy_for_its_style() {
        let version = format!("This is version {}.", env!("CARGO_PKG_VERSION"));
        assert!(PAGE.contains(&version) && PAGE.matches("<style>").count() == 1, "{}", *PAGE);
        assert!(POLICY.contains("style-src 'sha256-"), "{}", *POLICY);
    }
}
