//! The AsyncAPI 3.0 document: how producers submit jobs and get results over AMQP.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use super::events::Event;
use super::requests::{self, JobRequest, add};
use crate::domain::notice::{AcceptedNotice, CompletedNotice, FailedNotice, RejectedNotice};
use crate::domain::tenant::Service;
use crate::queue::topology;

/// The largest message that common brokers take, ours included.
const LARGEST_MESSAGE: &str = "16 MiB";

/// The replies: the `type` property, the schema, and what the reply says.
const REPLIES: [(&str, &str, &str); 4] = [
    (
        "accepted",
        "Accepted",
        "The job is stored and will run. It comes first, and again when the submission is repeated.",
    ),
    (
        "rejected",
        "Rejected",
        "The submission was refused and nothing was stored. Correct it before you send it again. \
         After `not_processed` you may send it again as it is.",
    ),
    ("completed", "Completed", "The job has its verdict. It comes last, after `accepted`."),
    ("failed", "Failed", "The job ended without a verdict. It comes last, after `accepted`."),
];

/// The document.
#[must_use]
pub fn document() -> Value {
    let replies = || REPLIES.map(|(kind, ..)| (kind, json!({ "$ref": format!("#/components/messages/{kind}") })));
    let reply_refs = REPLIES.map(|(kind, ..)| json!({ "$ref": format!("#/channels/replies/messages/{kind}") }));
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "visavis over AMQP",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Submit jobs to an exchange and get the answers in a queue of your own. \
                            The same jobs can be submitted and read over HTTP: see /openapi.json.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}:{port}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "The deployment's RabbitMQ. Use `amqps` if its operator set it up.",
                "variables": {
                    "host": { "default": "localhost" },
                    "port": { "default": "5672" },
                },
                "security": [{ "$ref": "#/components/securitySchemes/producer" }],
            },
        },
        "channels": {
            "submissions": {
                "address": topology::SUBMISSIONS,
                "title": "Submissions",
                "description": "Where producers publish submissions. The routing key does not matter.",
                "servers": [{ "$ref": "#/servers/broker" }],
                "messages": { "submission": { "$ref": "#/components/messages/submission" } },
                "bindings": { "amqp": {
                    "is": "routingKey",
                    "exchange": { "name": topology::SUBMISSIONS, "type": "fanout", "durable": true, "autoDelete": false },
                    "bindingVersion": "0.3.0",
                } },
            },
            "replies": {
                "address": null,
                "title": "Replies",
                "description": "A queue of the producer, named in `reply_to`. Its name must begin with the producer's \
                                user and a dot, or come from the broker (`amq.gen-...`). Any other address gets no \
                                answers.",
                "servers": [{ "$ref": "#/servers/broker" }],
                "messages": Map::from_iter(replies().map(|(kind, reference)| (kind.to_owned(), reference))),
                "bindings": { "amqp": { "is": "queue", "queue": {}, "bindingVersion": "0.3.0" } },
            },
            "results": {
                "address": topology::RESULTS,
                "title": "Results",
                "description": "Events of live accounts with the routing key <organisation>.<kind>.<status>, for example \
                                acme.face_match.in_review. Bind a queue of your own to the keys of your organisation.",
                "servers": [{ "$ref": "#/servers/broker" }],
                "messages": { "event": { "$ref": "#/components/messages/event" } },
                "bindings": { "amqp": {
                    "is": "routingKey",
                    "exchange": { "name": topology::RESULTS, "type": "topic", "durable": true, "autoDelete": false },
                    "bindingVersion": "0.3.0",
                } },
            },
        },
        "operations": {
            "publish_event": {
                "action": "send",
                "title": "Publish an event",
                "description": "visavis publishes each event at least once; copies have the same message_id.",
                "channel": { "$ref": "#/channels/results" },
                "messages": [{ "$ref": "#/channels/results/messages/event" }],
            },
            "submit": {
                "action": "receive",
                "title": "Submit a job",
                "description": "visavis answers when the job is stored and again when it has ended. A submission that is \
                                delivered twice with the same `message_id` is one job and is answered again.",
                "channel": { "$ref": "#/channels/submissions" },
                "messages": [{ "$ref": "#/channels/submissions/messages/submission" }],
                "bindings": { "amqp": { "deliveryMode": 2, "ack": true, "bindingVersion": "0.3.0" } },
                "reply": {
                    "address": { "location": "$message.header#/reply_to" },
                    "channel": { "$ref": "#/channels/replies" },
                    "messages": reply_refs,
                },
            },
        },
        "components": {
            "messages": messages(),
            "schemas": schemas(),
            "securitySchemes": {
                "producer": {
                    "type": "userPassword",
                    "description": format!(
                        "A broker user that is registered with an organisation. It needs the permission to write to `{}`, \
                         and to configure and read its own queues. For results it also needs to write to them, and to \
                         read `{}` with a topic permission for the keys of its organisation.", topology::SUBMISSIONS, topology::RESULTS),
                },
            },
        },
    })
}

fn messages() -> Map<String, Value> {
    let submission = json!({
        "name": "submission",
        "title": "A job of any kind",
        "summary": format!("At most {LARGEST_MESSAGE}, which is about 6 MB for each of two images. Upload larger ones over HTTP."),
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "description": "Properties of the AMQP message, not entries of its headers table.",
            "properties": {
                "content_type": { "type": "string", "const": "application/json" },
                "message_id": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "description": "The idempotency key. The same id with the same body is the same job; with another \
                                    body it is refused. Without an id, every delivery is a new job.",
                },
                "user_id": {
                    "type": "string",
                    "description": "The broker user of your connection, which the broker checks. It decides to which \
                                    organisation the job belongs.",
                },
                "reply_to": { "type": "string", "description": "The queue for answers. Without it there are none." },
                "correlation_id": {
                    "type": "string",
                    "description": "Sent back with each answer. Default: the message_id.",
                },
                "delivery_mode": { "type": "integer", "const": 2, "description": "Persistent." },
            },
            "required": ["user_id"],
        },
        "correlationId": { "location": "$message.header#/correlation_id" },
        "payload": { "$ref": "#/components/schemas/JobRequest" },
        "examples": Service::ALL.iter().map(|service| {
            json!({ "name": service.name(), "payload": requests::example(*service) })
        }).collect::<Vec<_>>(),
    });
    let replies = REPLIES.map(|(kind, schema, summary)| {
        let reply = json!({
            "name": kind,
            "title": schema,
            "summary": summary,
            "contentType": "application/json",
            "headers": {
                "type": "object",
                "description": "Properties of the AMQP message, not entries of its headers table.",
                "properties": {
                    "content_type": { "type": "string", "const": "application/json" },
                    "type": { "type": "string", "const": kind, "description": "Which answer this is." },
                    "message_id": {
                        "type": "string",
                        "format": "uuid",
                        "description": "Identifies the answer. An answer that is delivered twice has the same id.",
                    },
                    "correlation_id": { "type": "string", "description": "The correlation_id of the submission, or else its message_id." },
                },
                "required": ["content_type", "type", "message_id"],
            },
            "correlationId": { "location": "$message.header#/correlation_id" },
            "payload": { "$ref": format!("#/components/schemas/{schema}") },
            "bindings": { "amqp": { "messageType": kind, "bindingVersion": "0.3.0" } },
        });
        (kind.to_owned(), reply)
    });
    let event = json!({
        "name": "event",
        "title": "Event",
        "summary": "The same events as webhooks and streams.",
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "description": "Properties of the AMQP message, not entries of its headers table.",
            "properties": {
                "content_type": { "type": "string", "const": "application/json" },
                "type": { "type": "string", "description": "The type of the event." },
                "message_id": { "type": "string", "format": "uuid", "description": "The id of the event. An event that is delivered twice has the same id." },
            },
            "required": ["content_type", "type", "message_id"],
        },
        "payload": { "$ref": "#/components/schemas/Event" },
    });
    [("submission".to_owned(), submission), ("event".to_owned(), event)].into_iter().chain(replies).collect()
}

/// The schemas of all messages, by name, in the form that AsyncAPI wants.
fn schemas() -> BTreeMap<String, Value> {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    add::<JobRequest>(&mut schemas);
    add::<AcceptedNotice>(&mut schemas);
    add::<RejectedNotice>(&mut schemas);
    add::<CompletedNotice>(&mut schemas);
    add::<FailedNotice>(&mut schemas);
    add::<Event>(&mut schemas);
    let plain = |(name, schema)| {
        let mut schema = json!(schema);
        name_discriminators(&mut schema);
        (name, schema)
    };
    schemas.into_iter().map(plain).collect()
}

/// OpenAPI describes a discriminator by an object; AsyncAPI wants only the name of the property.
fn name_discriminators(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) =
                fields.get("discriminator").and_then(|discriminator| discriminator.get("propertyName")).cloned()
            {
                fields.insert("discriminator".to_owned(), name);
            }
            fields.values_mut().for_each(name_discriminators);
        }
        Value::Array(items) => items.iter_mut().for_each(name_discriminators),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` in the document.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn a_discriminator_is_the_name_of_its_property() {
        let schemas = &document()["components"]["schemas"];
        assert_eq!(
            (&schemas["JobRequest"]["discriminator"], &schemas["Event"]["discriminator"]),
            (&json!("kind"), &json!("type"))
        );
    }
}
