//! Wire formats of other products over the same jobs. Errors are made once, as [`ApiError`]s, wherever they arise: in a
//! handler, an extractor or a layer. Here each is written in the words of the product whose client called.

mod compare_with_liveness;
mod id_match;
mod likeness_check;

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use serde::Serialize;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use super::ApiContext;
use super::error::ApiError;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new()
        .merge(likeness_check::routes())
        .merge(id_match::routes())
        .merge(compare_with_liveness::routes())
}

/// Writes an error in a product's words. `None` if the product has no word for it: then it stays a problem document.
type Translate = fn(&ApiError) -> Option<(StatusCode, Value)>;

fn translation(path: &str) -> Option<Translate> {
    match path {
        likeness_check::PATH => Some(likeness_check::translate),
        id_match::PATH | id_match::PATH_WITHOUT_SLASH => Some(id_match::translate),
        compare_with_liveness::PATH => Some(compare_with_liveness::translate),
        _ => None,
    }
}

/// Translates errors on the paths of other products. It lies outside every layer that may refuse a request, so that
/// clients get each refusal in the words of their product.
pub(super) async fn translate_errors(request: Request, next: Next) -> Response<Body> {
    let translate = translation(request.uri().path());
    let response = next.run(request).await;
    let error = response.extensions().get::<ApiError>();
    let Some((status, body)) = translate.zip(error).and_then(|(translate, error)| translate(error)) else {
        return response;
    };
    let (parts, _) = response.into_parts();
    let mut answer = (status, Json(body)).into_response();
    for (name, value) in &parts.headers {
        let of_old_body = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING].contains(name);
        if !of_old_body {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

/// A value as JSON. This cannot fail: the keys of our types are strings.
fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::to_bytes;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;
    use crate::api::error::panicked;

    async fn refusal(path: &str) -> (u16, Response<()>, Value) {
        let limited = || async {
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests");
            ([(header::RETRY_AFTER, "7")], error)
        };
        let router = Router::new()
            .route(likeness_check::PATH, post(limited))
            .route(id_match::PATH, post(limited))
            .route(id_match::PATH_WITHOUT_SLASH, post(async || -> StatusCode { panic!("a panic in a test") }))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(translate_errors));
        let request = Request::post(path).body(Body::empty()).unwrap();
        let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = serde_json::from_slice(&to_bytes(body, 1 << 16).await.unwrap()).unwrap();
        (parts.status.as_u16(), Response::from_parts(parts, ()), body)
    }

    #[tokio::test]
    async fn every_refusal_is_in_the_words_of_the_product_whose_path_was_called() {
        let (status, answer, body) = refusal(id_match::PATH).await;
        assert_eq!((status, &answer.headers()[header::RETRY_AFTER]), (429, &"7".parse().unwrap()));
        assert_eq!((body["code"].as_str(), body["success"].as_bool()), (Some("RATE_LIMITED"), Some(false)));
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        let (status, _, body) = refusal(id_match::PATH_WITHOUT_SLASH).await;
        assert_eq!((status, body["code"].as_str()), (500, Some("SERVICE_ERROR")));
        // A product without a word for it leaves the problem document as it is.
        let (status, answer, body) = refusal(likeness_check::PATH).await;
        assert_eq!((status, body["code"].as_str()), (429, Some("rate_limited")));
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
