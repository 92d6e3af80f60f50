//! `GET /media/...`: images behind signed URLs. A URL needs no other credential and works until it expires.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_range_header::parse_range_header;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiContext;
use super::error::{ApiError, Problem};
use crate::domain::image::Variant;
use crate::domain::tenant::Account;
use crate::images::{Grant, ROOT, Rendition};
use crate::store::jobs::JobView;

/// Headers of every answer, errors included: it is not cached, not sniffed, cannot run scripts, and does not leak its
/// URL as a referrer. Pages of other origins may show it, because reviewers' pages do.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "private, no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
];

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "for the API's document alone")]
pub(super) struct BinaryFile(Vec<u8>);

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    // Any other path below the root gets the same answer as a forged URL.
    let elsewhere = ["{organisation}", "{organisation}/{image}", "{organisation}/{image}/{file}/{*rest}"];
    let router = OpenApiRouter::new().routes(routes!(serve));
    elsewhere.iter().fold(router, |router, path| router.route(&format!("{ROOT}{path}"), get(serve)))
}

/// Fresh URLs of the two images of a report: the portrait from the document, and the whole live image.
pub(super) async fn issue(
    context: &ApiContext,
    account: Account,
    job: &JobView,
) -> Result<(Option<String>, Option<String>), ApiError> {
    let urls = context.images.report_urls(account.tenant_id, job.summary.id, job.outcome.as_ref()).await?;
    Ok((urls.source, urls.target))
}

/// Serves a JPEG behind a URL from a report or an upload, for 60 minutes after the URL was issued.
#[utoipa::path(get, operation_id = "show_image", path = "/media/{organisation}/{image}/{file}", tag = "images", security(()),
    params(
        ("organisation" = String, Path),
        ("image" = String, Path),
        ("file" = String, Path, description = "`portrait.jpg` or `whole.jpg`"),
        ("expires" = i64, Query, description = "seconds since the Unix epoch"),
        ("key" = String, Query),
        ("signature" = String, Query),
        ("Range" = Option<String>, Header, description = "one range of bytes"),
    ),
    responses(
        (status = 200, body = BinaryFile, content_type = "image/jpeg"),
        (status = 206, body = BinaryFile, content_type = "image/jpeg"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "the upload cannot be decoded"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "forged or altered"),
        (status = 410, body = Problem, content_type = "application/problem+json", description = "expired, or the image was erased"),
        (status = 416, description = "no such range"),
    ))]
async fn serve(
    State(context): State<ApiContext>,
    method: Method,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mut response = match read(&context, uri.path(), query.as_deref().unwrap_or_default()).await {
        Ok((grant, rendition)) => match answer(grant.variant, &rendition, &headers) {
            response if method == Method::GET && response.status().is_success() => {
                let recorded = context.desk.record_view(&headers, grant.image_id, grant.variant).await;
                recorded.map_or_else(|error| ApiError::from(error).into_response(), |()| response)
            }
            response => response,
        },
        Err(error) => error.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn read(context: &ApiContext, path: &str, query: &str) -> Result<(Grant, Rendition), ApiError> {
    let grant = context.images.verify(path, query)?;
    Ok((grant, context.images.read(grant).await?))
}

fn answer(variant: Variant, rendition: &Rendition, asked: &HeaderMap) -> Response {
    let length = rendition.bytes.len() as u64;
    let etag = format!("\"{}\"", rendition.id);
    let range = match requested_range(asked, &etag, length) {
        RequestedRange::Whole => None,
        RequestedRange::Part(range) => Some(range),
        RequestedRange::Unsatisfiable => {
            let headers = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    let bytes = match &range {
        None => rendition.bytes.clone(),
        Some(range) => rendition.bytes.slice(index(*range.start())..=index(*range.end())),
    };
    let name = format!("inline; filename=\"{}.jpg\"", variant.name());
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CONTENT_DISPOSITION, name.as_str()),
        (header::ACCEPT_RANGES, "bytes"),
        (header::ETAG, etag.as_str()),
    ];
    let mut response = (headers, Body::from(bytes)).into_response();
    if let Some(range) = range {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {}-{}/{length}", range.start(), range.end());
        // This cannot fail: the text has only digits and ASCII words.
        response.headers_mut().extend(HeaderValue::try_from(range).map(|range| (header::CONTENT_RANGE, range)));
    }
    response
}

/// Which bytes of a file a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum RequestedRange {
    Whole,
    Part(RangeInclusive<u64>),
    /// It begins beyond the end.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` (RFC 9110, section 14.2). Malformed and multiple ranges may be ignored; a range of
/// another version of the file must be.
fn requested_range(asked: &HeaderMap, etag: &str, length: u64) -> RequestedRange {
    let Some(range) = asked.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return RequestedRange::Whole;
    };
    if asked.get(header::IF_RANGE).is_some_and(|version| version.as_bytes() != etag.as_bytes()) {
        return RequestedRange::Whole;
    }
    let Ok(ranges) = parse_range_header(range) else { return RequestedRange::Whole };
    if ranges.len() != 1 {
        return RequestedRange::Whole;
    }
    match ranges.validate(length) {
        Ok(valid) => valid.into_iter().next().map_or(RequestedRange::Whole, RequestedRange::Part),
        Err(_) => RequestedRange::Unsatisfiable,
    }
}

/// An offset as an index. It lies within the file, which is in memory.
fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_do_not_clash() {
        let _ = routes();
    }

    #[test]
    fn one_satisfiable_range_is_a_part_and_what_cannot_be_read_is_ignored() {
        let asked = |range: &'static str, version: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(range));
            headers.extend(version.map(|etag| (header::IF_RANGE, HeaderValue::from_static(etag))));
            requested_range(&headers, "\"a\"", 100)
        };
        assert_eq!(asked("bytes=0-9", None), RequestedRange::Part(0..=9));
        assert_eq!(asked("bytes=90-", None), RequestedRange::Part(90..=99));
        assert_eq!(asked("bytes=-5", None), RequestedRange::Part(95..=99));
        assert_eq!(asked("bytes=50-1000", None), RequestedRange::Part(50..=99));
        assert_eq!(asked("bytes=-1000", None), RequestedRange::Part(0..=99));
        assert_eq!(asked("bytes=100-", None), RequestedRange::Unsatisfiable);
        assert_eq!(asked("bytes=-0", None), RequestedRange::Unsatisfiable);
        for ignored in ["bytes=0-1,4-5", "bytes=b-a", "pixels=0-1", "bytes", ""] {
            assert_eq!(asked(ignored, None), RequestedRange::Whole, "{ignored}");
        }
        assert_eq!(asked("bytes=0-9", Some("\"a\"")), RequestedRange::Part(0..=9));
        assert_eq!(asked("bytes=0-9", Some("\"b\"")), RequestedRange::Whole);
        assert_eq!(requested_range(&HeaderMap::new(), "\"a\"", 100), RequestedRange::Whole);
    }
}
