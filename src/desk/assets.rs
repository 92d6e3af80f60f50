//! Stylesheets, scripts and the icon, all part of the binary. Their address contains a version, so browsers may keep
//! them for a year: a changed file has another address.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::Desk;

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type, content.
const FILES: [(&str, &str, &str); 6] = [
    ("desk.css", STYLE, include_str!("desk.css")),
    ("case.css", STYLE, include_str!("case.css")),
    ("desk.js", SCRIPT, include_str!("desk.js")),
    ("case.js", SCRIPT, include_str!("case.js")),
    ("viewer.js", SCRIPT, include_str!("viewer.js")),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

pub(super) fn routes() -> Router<Desk> {
    Router::new().route("/desk/assets/{file}", get(serve))
}

/// A hash over all files: it changes whenever a file does.
pub(super) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let all: String = FILES.iter().map(|(_, _, content)| *content).collect();
        hex::encode(&digest(&SHA256, all.as_bytes()).as_ref()[..6])
    });
    &VERSION
}

#[derive(Deserialize)]
struct AssetQuery {
    v: Option<String>,
}

async fn serve(Path(file): Path<String>, Query(query): Query<AssetQuery>) -> Response {
    // During an upgrade a page of one version may ask a process of another. Browsers must not keep that answer.
    let is_current = query.v.as_deref() == Some(version());
    let cache_control = if is_current { "public, max-age=31536000, immutable" } else { "no-cache" };
    match FILES.iter().find(|(name, ..)| *name == file) {
        Some((_, kind, content)) => {
            let headers = [
                (header::CACHE_CONTROL, cache_control),
                (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
                (header::CONTENT_TYPE, kind),
            ];
            (headers, *content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
