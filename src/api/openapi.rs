//! The OpenAPI 3.1 document. It is gathered from the handlers and completed with what holds for all of them.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr};
use utoipa::{OpenApi, PartialSchema as _};

use super::error::Problem;
use crate::docs::events;

/// What the document says besides the handlers. Each handler is registered by `routes()` in its file.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "visavis",
        description = "Face comparison as a job queue on your own machines. Calls submit and read jobs; the same jobs can \
                       be submitted over AMQP: see `/asyncapi.json`. Errors are problem documents (RFC 9457) with a \
                       stable `code`, except on paths that follow the format of another product.",
    ),
    security(("api_key" = [])),
    tags(
        (name = "jobs", description = "The native API: every kind of job in one envelope."),
        (name = "face match", description = "The facial similarity report that reviewers read."),
        (name = "likeness check", description = "Compares two images while the caller waits."),
        (name = "ID face match", description = "Compares a selfie with the portrait of an identity source."),
        (name = "compare with liveness", description = "Compares a selfie with a gallery, then tests its liveness."),
        (name = "liveness", description = "Challenges: actions that a person must perform in front of the camera."),
        (name = "images", description = "Uploads, and the images of reports behind signed URLs."),
        (name = "signatures", description = "The keys that verify our signatures."),
        (name = "organisation", description = "Which organisation calls, and what it may do."),
        (name = "billing", description = "The wallet and its movements."),
        (name = "webhooks", description = "Endpoints to which events are delivered (Standard Webhooks), and their deliveries."),
        (name = "admin", description = "Organisations and their API keys, for operators with the admin token."),
        (name = "health", description = "For supervisors and load balancers."),
    ),
)]
pub(super) struct DocumentBase;

/// Which operations can give an error.
#[derive(Clone, Copy, PartialEq)]
enum GivenBy {
    All,
    /// Those that need an API key.
    WithKey,
    /// Those that take a body.
    WithBody,
    /// Those that take a body or fields in the query.
    WithInput,
}

/// An error that many operations can give.
struct SharedError {
    status: u16,
    /// Its name among the document's responses.
    name: &'static str,
    description: &'static str,
    given_by: GivenBy,
    /// A header that comes with it, and what the header says.
    header: Option<(&'static str, &'static str)>,
}

const RETRY_AFTER: Option<(&str, &str)> = Some(("Retry-After", "Seconds to wait."));

const SHARED_ERRORS: [SharedError; 9] = [
    SharedError {
        status: 400,
        name: "BadRequest",
        description: "The request is at fault: `field` says where, `detail` says what to do.",
        given_by: GivenBy::WithInput,
        header: None,
    },
    SharedError {
        status: 401,
        name: "Unauthorized",
        description: "There is no API key, or it is not valid.",
        given_by: GivenBy::WithKey,
        header: Some(("WWW-Authenticate", "The scheme to use: Bearer.")),
    },
    SharedError {
        status: 403,
        name: "Forbidden",
        description: "The key lacks the scope, or the organisation is not approved or has not subscribed to this service.",
        given_by: GivenBy::WithKey,
        header: None,
    },
    SharedError {
        status: 408,
        name: "SlowBody",
        description: "The body came too slowly, or ended early.",
        given_by: GivenBy::WithBody,
        header: None,
    },
    SharedError {
        status: 413,
        name: "BodyTooLarge",
        description: "The body is larger than this path takes.",
        given_by: GivenBy::WithBody,
        header: None,
    },
    SharedError {
        status: 415,
        name: "UnsupportedMediaType",
        description: "This path does not take the Content-Type of the body.",
        given_by: GivenBy::WithBody,
        header: None,
    },
    SharedError {
        status: 429,
        name: "TooManyRequests",
        description: "The organisation has reached a limit: wait as long as Retry-After says.",
        given_by: GivenBy::WithKey,
        header: RETRY_AFTER,
    },
    SharedError {
        status: 500,
        name: "Internal",
        description: "An unexpected fault of ours.",
        given_by: GivenBy::All,
        header: None,
    },
    SharedError {
        status: 503,
        name: "Unavailable",
        description: "A part of the service does not answer: try again.",
        given_by: GivenBy::All,
        header: RETRY_AFTER,
    },
];

/// Completes the document: the security schemes, the shared errors, the webhooks, and a description of every answer.
pub(super) fn finish(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("vv_live_... or vv_test_...").build();
    document.info.license = None;
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("api_key", SecurityScheme::Http(key));
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("VISAVIS_ADMIN_TOKEN").build();
    components.add_security_scheme("admin_token", SecurityScheme::Http(token));
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    components.schemas.extend(events::webhook_schemas());
    components.responses.extend(SHARED_ERRORS.iter().map(|error| (error.name.to_owned(), response(error).into())));
    document.webhooks = Some(events::webhooks());
    document.paths.paths.values_mut().flat_map(operations).for_each(complete);
    document
}

fn response(error: &SharedError) -> Response {
    let mut response = ResponseBuilder::new()
        .description(error.description)
        .content("application/problem+json", Content::new(Some(Ref::from_schema_name("Problem"))));
    if let Some((name, description)) = error.header {
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

/// Completes one operation. What its handler says is never replaced.
fn complete(operation: &mut Operation) {
    let open = operation.security.as_ref().is_some_and(|schemes| schemes.contains(&SecurityRequirement::default()));
    let has_body = operation.request_body.is_some();
    let has_query = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query));
    for error in &SHARED_ERRORS {
        let can_occur = match error.given_by {
            GivenBy::All => true,
            GivenBy::WithKey => !open,
            GivenBy::WithBody => has_body,
            GivenBy::WithInput => has_body || has_query,
        };
        if can_occur {
            let reference = || RefOr::Ref(Ref::from_response_name(error.name));
            operation.responses.responses.entry(error.status.to_string()).or_insert_with(reference);
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
            let status = status.parse().ok().and_then(|status: u16| axum::http::StatusCode::from_u16(status).ok());
            status
                .and_then(|status| status.canonical_reason())
                .unwrap_or("Answer")
                .clone_into(&mut response.description);
        }
    }
}

/// A parameter may be absent, but no URL or header can say null.
fn never_null(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    let SchemaType::Array(types) = &mut schema.schema_type else { return };
    types.retain(|kind| *kind != Type::Null);
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
        let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        pointer.map_or(value, |pointer| document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing")))
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_known_tag_and_a_summary() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let tags: BTreeSet<_> =
            document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).map(Value::to_string).collect();
        let mut ids = BTreeSet::new();
        for (place, operation) in operations(&document) {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: its operationId is another's");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{place} has no summary");
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
                    let says = |schema: &serde_json::Map<String, Value>| {
                        ["properties", "oneOf", "anyOf", "allOf", "items", "enum"]
                            .iter()
                            .any(|word| schema.contains_key(*word))
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
            let public = operation["security"].as_array().is_some_and(|schemes| schemes.contains(&json!({})));
            let mut expected = vec!["500", "503"];
            if !public {
                expected.extend(["401", "403", "429"]);
            }
            if operation.get("requestBody").is_some() {
                expected.extend(["400", "408", "413", "415"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{place} lacks {status}");
            }
            for (status, response) in responses {
                let response = resolved(&document, response);
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{place}: {status}");
            }
        }
    }

    /// Generated clients name their types after schemas.
    #[test]
    fn no_schema_has_a_name_that_clients_already_use() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for taken in ["File", "Error", "Object", "Response", "Request"] {
            assert!(!schemas.contains_key(taken), "{taken}");
        }
        let listed = &document["components"]["schemas"]["JobList"]["properties"]["jobs"]["items"]["$ref"];
        assert_eq!(listed, "#/components/schemas/Job");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(document: &Value, value: &Value) {
            match value {
                Value::Object(fields) => {
                    resolved(document, value);
                    fields.values().for_each(|field| walk(document, field));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
    }
}
