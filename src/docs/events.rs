//! Schemas of events, and the `webhooks` section of the OpenAPI document. `domain::webhook::envelope` puts the notices
//! of `domain::notice` into events.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, Paths, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{Discriminator, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, KnownFormat, ObjectBuilder, Ref, RefOr, Required, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::requests::add;
use crate::domain::notice::{CompletedNotice, DecidedNotice, DisabledNotice, ErasedNotice, FailedNotice, TestNotice};
use crate::domain::webhook::{EventType, TEST};

/// How the documents describe one type of event.
struct EventDoc {
    /// The value of `type`.
    name: &'static str,
    /// The name of the event's schema.
    schema: &'static str,
    /// The name of the schema of its `data`.
    data: &'static str,
    summary: &'static str,
}

fn described(event: EventType) -> EventDoc {
    let (schema, data, summary) = match event {
        EventType::JobCompleted => ("JobCompletedEvent", "Completed", "The job has its verdict."),
        EventType::JobFailed => (
            "JobFailedEvent",
            "Failed",
            "The job ended without a verdict: it failed, or it was erased before it ended.",
        ),
        EventType::ReviewDecided => {
            ("ReviewDecidedEvent", "Decided", "A reviewer decided on the job, or corrected an earlier decision.")
        }
        EventType::ImageErased => ("ImageErasedEvent", "Erased", "Images, result and metadata of the job were erased."),
        EventType::EndpointDisabled => {
            ("EndpointDisabledEvent", "EndpointDisabled", "Another endpoint of the account gets no more deliveries.")
        }
    };
    EventDoc { name: event.name(), schema, data, summary }
}

/// The event that only webhooks get.
const TEST_EVENT: EventDoc = EventDoc {
    name: TEST,
    schema: "EndpointTestEvent",
    data: "EndpointTest",
    summary: "The owner of the endpoint asked for a test.",
};

/// An event, as webhooks, streams and the results exchange carry it; `type` says which one.
pub struct Event;

impl PartialSchema for Event {
    fn schema() -> RefOr<Schema> {
        let events: Vec<_> = EventType::ALL.iter().copied().map(described).collect();
        let mapping = events.iter().map(|event| (event.name, format!("#/components/schemas/{}", event.schema)));
        events
            .iter()
            .fold(OneOfBuilder::new(), |one_of, event| one_of.item(Ref::from_schema_name(event.schema)))
            .discriminator(Some(Discriminator::with_mapping("type", mapping)))
            .description(Some("An event, as webhooks, streams and the results exchange carry it."))
            .into()
    }
}

impl ToSchema for Event {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<CompletedNotice>(schemas);
        add::<FailedNotice>(schemas);
        add::<DecidedNotice>(schemas);
        add::<ErasedNotice>(schemas);
        add::<DisabledNotice>(schemas);
        schemas.extend(EventType::ALL.iter().copied().map(described).map(|event| envelope(&event)));
    }
}

/// The schema of one type of event, with its name.
fn envelope(event: &EventDoc) -> (String, RefOr<Schema>) {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let schema = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("type", text().enum_values(Some([event.name])))
        .property("timestamp", text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
        .property("data", Ref::from_schema_name(event.data))
        .required("type")
        .required("timestamp")
        .required("data")
        .description(Some(event.summary));
    (event.schema.to_owned(), schema.into())
}

/// The `webhooks` section of the OpenAPI document: what endpoints receive, one entry for each type of event.
#[must_use]
pub fn webhooks() -> Paths {
    let events = EventType::ALL.iter().copied().map(described).chain([TEST_EVENT]);
    events.fold(PathsBuilder::new(), |paths, event| paths.path(event.name, delivery(&event))).build()
}

/// The schemas that [`webhooks`] refers to, with their names.
#[must_use]
pub fn webhook_schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = Vec::new();
    add::<Event>(&mut schemas);
    add::<TestNotice>(&mut schemas);
    schemas.push(envelope(&TEST_EVENT));
    schemas
}

fn delivery(event: &EventDoc) -> PathItem {
    let header = |name: &str, description: &str| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
    };
    let body = RequestBodyBuilder::new()
        .content("application/json", Content::new(Some(Ref::from_schema_name(event.schema))))
        .required(Some(Required::True));
    let answer = |description: &str| ResponseBuilder::new().description(description);
    let seconds = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some("Seconds, or a date: the next attempt comes no earlier."));
    let operation = OperationBuilder::new()
        .operation_id(Some(format!("on_{}", event.name.replace('.', "_"))))
        .tag("webhooks")
        .summary(Some(event.summary))
        .parameter(header("webhook-id", "The id of the event. An event that is delivered twice has the same id."))
        .parameter(header("webhook-timestamp", "When this attempt was made, in seconds since the Unix epoch."))
        .parameter(header(
            "webhook-signature",
            "Signatures after Standard Webhooks: `v1` (HMAC-SHA256), `v1a` (Ed25519).",
        ))
        .request_body(Some(body.build()))
        .response("2XX", answer("The endpoint has the event."))
        .response("410", answer("The endpoint is gone: it gets no more deliveries until it is enabled again."))
        .response(
            "default",
            answer("Any other answer counts as a failure: the event is sent again.")
                .header("Retry-After", seconds.build()),
        )
        .security(SecurityRequirement::default());
    PathItem::new(HttpMethod::Post, operation)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::webhook;

    fn names(object: &Value) -> BTreeSet<&str> {
        object.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_schema_of_an_event_has_exactly_its_fields() {
        let sent = webhook::envelope("job.completed", DateTime::UNIX_EPOCH, &json!({}));
        let sent: Value = serde_json::from_str(&sent).unwrap();
        for event in EventType::ALL.iter().copied().map(described).chain([TEST_EVENT]) {
            let schema = json!(envelope(&event).1);
            assert_eq!(names(&schema["properties"]), names(&sent), "{}", event.name);
        }
    }

    #[test]
    fn every_type_of_event_is_a_webhook_with_a_schema() {
        let section = json!(webhooks());
        let schemas: BTreeSet<_> = webhook_schemas().into_iter().map(|(name, _)| name).collect();
        let expected: BTreeSet<_> = EventType::ALL.iter().copied().map(EventType::name).chain([TEST]).collect();
        assert_eq!(names(&section), expected);
        for (name, item) in section.as_object().unwrap() {
            let schema = &item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let schema = schema.as_str().unwrap().rsplit('/').next().unwrap();
            assert!(schemas.contains(schema), "{name}: {schema}");
        }
    }
}
