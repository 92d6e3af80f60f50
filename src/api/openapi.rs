//! The OpenAPI 3.1 document: gathered from the handlers, completed with what holds for all of them.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr};
use utoipa::{OpenApi, PartialSchema as _};

use super::error::Problem;

/// What the document says beyond the handlers. Each handler registers itself: see `routes()` in its file.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "visavis",
        description = "Face comparison as a job queue, on your own machines. Every call submits or reads a job; the same \
                       jobs can be submitted over AMQP: see `/asyncapi.json`. Errors are problem documents (RFC 9457) \
                       with a stable `code`, save where a face speaks another product's format.",
    ),
    security(("api_key" = [])),
    tags(
        (name = "jobs", description = "The native API: every kind of job in one envelope."),
        (name = "face match", description = "The facial similarity report that reviewers read."),
        (name = "likeness check", description = "Two images, one answer, while the caller waits."),
        (name = "ID face match", description = "A selfie against the portrait of an identity source."),
        (name = "compare with liveness", description = "A selfie against a gallery, then its liveness."),
        (name = "liveness", description = "Challenges: what a person is to do in front of the camera."),
        (name = "images", description = "Uploads, and the images of reports behind signed URLs."),
        (name = "signatures", description = "The keys that verify what is signed."),
        (name = "organisation", description = "Who calls, and what it may do."),
        (name = "billing", description = "The wallet and what was debited."),
        (name = "webhooks", description = "Endpoints that events are delivered to, after Standard Webhooks; their ledger."),
        (name = "admin", description = "Organisations and their keys, for whoever runs the service; behind the admin token."),
        (name = "health", description = "For supervisors and load balancers."),
    ),
)]
pub(super) struct Document;

/// Which operations can give an answer.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    All,
    /// Those that want an API key.
    WithKey,
    /// Those that want a body.
    WithBody,
    /// Those that want a body or take fields in the query.
    WithInput,
}

/// An error that many operations can give: its status, its name in the document, what it says, a header that comes with
/// it.
type Shared = (u16, &'static str, &'static str, Whose, Option<(&'static str, &'static str)>);

const SHARED: [Shared; 8] = [
    (
        400,
        "BadRequest",
        "The request is at fault: `field` names where, `detail` says what to do.",
        Whose::WithInput,
        None,
    ),
    (
        401,
        "Unauthorized",
        "No API key, or one that is not valid.",
        Whose::WithKey,
        Some(("WWW-Authenticate", "The scheme to use: Bearer.")),
    ),
    (
        403,
        "Forbidden",
        "The key lacks the scope, or the organisation is not approved or not subscribed to this service.",
        Whose::WithKey,
        None,
    ),
    (413, "BodyTooLarge", "The body is larger than this path takes.", Whose::WithBody, None),
    (415, "UnsupportedMediaType", "The body's Content-Type is not one that this path takes.", Whose::WithBody, None),
    (
        429,
        "TooManyRequests",
        "The organisation's limit is reached: wait as long as Retry-After says.",
        Whose::WithKey,
        Some(("Retry-After", "Seconds to wait.")),
    ),
    (500, "Internal", "An unexpected fault of ours.", Whose::All, None),
    (
        503,
        "Unavailable",
        "A part of the service does not answer: try again.",
        Whose::All,
        Some(("Retry-After", "Seconds to wait.")),
    ),
];

/// Adds to the handlers' own words: the key, the shared errors, and what a status is called where nobody said it.
pub(super) fn finish(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("vv_live_... or vv_test_...").build();
    // Taken from the manifest, which names none.
    document.info.license = None;
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("api_key", SecurityScheme::Http(key));
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("VISAVIS_ADMIN_TOKEN").build();
    components.add_security_scheme("admin_token", SecurityScheme::Http(token));
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    components.responses.extend(SHARED.map(|shared| (shared.1.to_owned(), response(shared).into())));
    document.paths.paths.values_mut().flat_map(operations).for_each(complete);
    document
}

fn response((_, _, description, _, header): Shared) -> Response {
    let mut response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(Ref::from_schema_name("Problem"))));
    if let Some((name, description)) = header {
        let text = ObjectBuilder::new().schema_type(Type::String);
        response =
            response.header(name, HeaderBuilder::new().schema(Some(text)).description(Some(description)).build());
    }
    response.build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, head, patch, .. } = item;
    [get, put, post, delete, head, patch].into_iter().flatten()
}

/// What the handler says stays.
fn complete(operation: &mut Operation) {
    let open = operation.security.as_ref().is_some_and(|it| it.contains(&SecurityRequirement::default()));
    let has_body = operation.request_body.is_some();
    let has_query = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query));
    for (status, name, _, whose, _) in SHARED {
        let fits = match whose {
            Whose::All => true,
            Whose::WithKey => !open,
            Whose::WithBody => has_body,
            Whose::WithInput => has_body || has_query,
        };
        if fits {
            let reference = || RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.entry(status.to_string()).or_insert_with(reference);
        }
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            never_null(parameter);
        }
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if response.description.is_empty() {
            let status = status.parse().ok().and_then(|it: u16| axum::http::StatusCode::from_u16(it).ok());
            status.and_then(|it| it.canonical_reason()).unwrap_or("Answer").clone_into(&mut response.description);
        }
    }
}

/// A parameter may be left out; no URL or header can say null.
fn never_null(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    let SchemaType::Array(types) = &mut schema.schema_type else { return };
    types.retain(|it| *it != Type::Null);
    if let [only] = types.as_slice() {
        schema.schema_type = SchemaType::Type(only.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    fn document() -> Value {
        json!(super::super::document())
    }

    /// Each operation with its place, as `GET /v1/jobs/{id}`.
    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let item = |(path, item): (&String, &'_ Value)| -> Vec<(String, String)> {
            item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())).collect()
        };
        let places: Vec<_> = document["paths"].as_object().unwrap().iter().flat_map(item).collect();
        let found = |(path, method): (String, String)| {
            (format!("{} {path}", method.to_uppercase()), &document["paths"][&path][&method])
        };
        places.into_iter().map(found).collect()
    }

    /// The thing itself, where `value` only refers to it.
    fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
        pointer.map_or(value, |it| document.pointer(it).unwrap_or_else(|| panic!("{it} is missing")))
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_known_tag_and_a_summary() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let tags: BTreeSet<_> =
            document["tags"].as_array().unwrap().iter().map(|it| &it["name"]).map(Value::to_string).collect();
        let mut ids = BTreeSet::new();
        for (place, operation) in operations(&document) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: its operationId is another's");
            assert!(operation["summary"].as_str().is_some_and(|it| !it.is_empty()), "{place} has no summary");
            let own: Vec<_> = operation["tags"].as_array().unwrap().iter().map(Value::to_string).collect();
            assert!(own.len() == 1 && tags.contains(&own[0]), "{place}: {own:?} is not one of {tags:?}");
        }
        assert!(!ids.is_empty());
    }

    #[test]
    fn every_body_has_a_schema_that_says_something() {
        let document = document();
        for (place, operation) in operations(&document) {
            let mut bodies: Vec<&Value> = operation["responses"].as_object().unwrap().values().collect();
            bodies.extend(operation.get("requestBody"));
            for body in bodies {
                let body = resolved(&document, body);
                for (media_type, content) in body["content"].as_object().into_iter().flatten() {
                    let schema = resolved(&document, &content["schema"]).as_object();
                    let says = |it: &serde_json::Map<String, Value>| {
                        ["properties", "oneOf", "anyOf", "allOf", "items", "enum"]
                            .iter()
                            .any(|word| it.contains_key(*word))
                    };
                    let json = media_type.ends_with("json");
                    assert!(!json || schema.is_some_and(says), "{place}: {media_type} is anything at all: {body}");
                }
            }
        }
    }

    #[test]
    fn every_operation_names_its_errors_and_describes_every_answer() {
        let document = document();
        for (place, operation) in operations(&document) {
            let responses = operation["responses"].as_object().unwrap();
            let public = operation["security"].as_array().is_some_and(|it| it.contains(&json!({})));
            let mut expected = vec!["500", "503"];
            if !public {
                expected.extend(["401", "403", "429"]);
            }
            if operation.get("requestBody").is_some() {
                expected.extend(["400", "413", "415"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{place} lacks {status}");
            }
            for (status, response) in responses {
                let response = resolved(&document, response);
                assert!(response["description"].as_str().is_some_and(|it| !it.is_empty()), "{place}: {status}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(document: &Value, value: &Value) {
            match value {
                Value::Object(fields) => {
                    resolved(document, value);
                    fields.values().for_each(|it| walk(document, it));
                }
                Value::Array(items) => items.iter().for_each(|it| walk(document, it)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }
}
