//! `GET /media/...`: images behind signed URLs. Whoever holds one needs no other credential, until it dies.

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

/// Of every answer, errors among them: nobody keeps it, nobody takes it for anything but an image, it runs nothing, and
/// whom its page links to does not learn the URL. Pages of other origins may show it: a reviewer's do.
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
pub(super) struct File(Vec<u8>);

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    // Whatever else is asked for below is a forgery like any other.
    let elsewhere = ["{organisation}", "{organisation}/{image}", "{organisation}/{image}/{file}/{*rest}"];
    let router = OpenApiRouter::new().routes(routes!(serve));
    elsewhere.iter().fold(router, |router, path| router.route(&format!("{ROOT}{path}"), get(serve)))
}

/// Fresh URLs of a report's two images: the portrait of the source, and the whole target.
pub(super) async fn issue(
    context: &ApiContext,
    account: Account,
    job: &JobView,
) -> Result<(Option<String>, Option<String>), ApiError> {
    let urls = context.images.report_urls(account.tenant_id, job.summary.id, job.outcome.as_ref()).await?;
    Ok((urls.source, urls.target))
}

/// A JPEG, as long as the URL that a report or an upload gave lives: 60 minutes.
#[utoipa::path(get, operation_id = "show_image", path = "/media/{organisation}/{image}/{file}", tag = "images", security(()),
    params(
        ("organisation" = String, Path),
        ("image" = String, Path),
        ("file" = String, Path, description = "`portrait.jpg` or `whole.jpg`"),
        ("expires" = i64, Query, description = "seconds of the Unix epoch"),
        ("key" = String, Query),
        ("signature" = String, Query),
        ("Range" = Option<String>, Header, description = "one range of bytes"),
    ),
    responses(
        (status = 200, body = File, content_type = "image/jpeg"),
        (status = 206, body = File, content_type = "image/jpeg"),
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
    let range = match asked_range(asked, &etag, length) {
        Asked::Whole => None,
        Asked::Part(range) => Some(range),
        Asked::Nothing => {
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
        // Digits make a header.
        response.headers_mut().extend(HeaderValue::try_from(range).map(|range| (header::CONTENT_RANGE, range)));
    }
    response
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(RangeInclusive<u64>),
    /// A part beyond the end.
    Nothing,
}

/// RFC 9110, section 14.2: a range that is malformed, or one of several, may be ignored; so must be one of another
/// version of the file.
fn asked_range(asked: &HeaderMap, etag: &str, length: u64) -> Asked {
    let Some(range) = asked.get(header::RANGE).and_then(|it| it.to_str().ok()) else { return Asked::Whole };
    if asked.get(header::IF_RANGE).is_some_and(|version| version.as_bytes() != etag.as_bytes()) {
        return Asked::Whole;
    }
    let Ok(ranges) = parse_range_header(range) else { return Asked::Whole };
    if ranges.len() != 1 {
        return Asked::Whole;
    }
    match ranges.validate(length) {
        Ok(valid) => valid.into_iter().next().map_or(Asked::Whole, Asked::Part),
        Err(_) => Asked::Nothing,
    }
}

/// Within the file, which is in memory.
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
            headers.extend(version.map(|it| (header::IF_RANGE, HeaderValue::from_static(it))));
            asked_range(&headers, "\"a\"", 100)
        };
        assert_eq!(asked("bytes=0-9", None), Asked::Part(0..=9));
        assert_eq!(asked("bytes=90-", None), Asked::Part(90..=99));
        assert_eq!(asked("bytes=-5", None), Asked::Part(95..=99));
        assert_eq!(asked("bytes=50-1000", None), Asked::Part(50..=99));
        assert_eq!(asked("bytes=-1000", None), Asked::Part(0..=99));
        assert_eq!(asked("bytes=100-", None), Asked::Nothing);
        assert_eq!(asked("bytes=-0", None), Asked::Nothing);
        for ignored in ["bytes=0-1,4-5", "bytes=b-a", "pixels=0-1", "bytes", ""] {
            assert_eq!(asked(ignored, None), Asked::Whole, "{ignored}");
        }
        assert_eq!(asked("bytes=0-9", Some("\"a\"")), Asked::Part(0..=9));
        assert_eq!(asked("bytes=0-9", Some("\"b\"")), Asked::Whole);
        assert_eq!(asked_range(&HeaderMap::new(), "\"a\"", 100), Asked::Whole);
    }
}
