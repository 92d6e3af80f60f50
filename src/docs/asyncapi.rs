//! The AsyncAPI 3.0 document: how producers speak AMQP with us.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use super::answers::{Accepted, Completed, Event, Failed, Rejected};
use super::requests::{self, JobRequest, add};
use crate::domain::tenant::Service;
use crate::queue::topology;

/// What the brokers that we know take at most, our own settings for one included.
const LARGEST_MESSAGE: &str = "16 MiB";

/// A reply: the `type` property that tells it, its schema, and what it says.
const REPLIES: [(&str, &str, &str); 4] = [
    ("accepted", "Accepted", "The job is stored and will run. Comes first; again when the submission is sent again."),
    ("rejected", "Rejected", "The submission was refused and nothing was stored. Sending it again will not help."),
    ("completed", "Completed", "The job has its verdict. Comes last, after `accepted`."),
    ("failed", "Failed", "The job ended without a verdict, by a fault of ours. Comes last, after `accepted`."),
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
            "description": "Submit a job to an exchange, get its answers in a queue of your own. \
                            The same jobs can be submitted and read over HTTP: see /openapi.json.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}:{port}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "The deployment's RabbitMQ; `amqps` where its operator set it up.",
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
                "description": "Where producers publish. Whatever the routing key, the submission arrives.",
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
                "description": "A queue of the producer's own, named in `reply_to`: its name begins with the \
                                producer's user and a dot, or was given by the broker (`amq.gen-...`). Any other \
                                address gets no answers.",
                "servers": [{ "$ref": "#/servers/broker" }],
                "messages": Map::from_iter(replies().map(|(kind, it)| (kind.to_owned(), it))),
                "bindings": { "amqp": { "is": "queue", "queue": {}, "bindingVersion": "0.3.0" } },
            },
            "results": {
                "address": topology::RESULTS,
                "title": "Results",
                "description": "Events of live accounts, under the routing key <organisation>.<kind>.<status>, such as \
                                acme.face_match.in_review. Bind a queue of your own to your organisation's keys.",
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
            "tell": {
                "action": "send",
                "title": "Tell what happened",
                "description": "At least once each, under the event's id.",
                "channel": { "$ref": "#/channels/results" },
                "messages": [{ "$ref": "#/channels/results/messages/event" }],
            },
            "submit": {
                "action": "receive",
                "title": "Submit a job",
                "description": "visavis takes the job in and answers as soon as it is stored, and again at its end. \
                                Delivered twice with one `message_id`, a submission is one job, and is answered again.",
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
                        "A broker user that is registered with an organisation. It needs write on `{}`, and configure \
                         and read on queues of its own; for results, write on them too, and read on `{}` with a topic \
                         permission for its organisation's keys.", topology::SUBMISSIONS, topology::RESULTS),
                },
            },
        },
    })
}

fn messages() -> Map<String, Value> {
    let submission = json!({
        "name": "submission",
        "title": "A job of any kind",
        "summary": format!("At most {LARGEST_MESSAGE}: about 6 MB an image. Send larger ones over HTTP."),
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "description": "Properties of AMQP's basic class, not headers of the application's.",
            "properties": {
                "content_type": { "type": "string", "const": "application/json" },
                "message_id": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "description": "The idempotency key: the same id and body again are the same job, another body is \
                                    refused. Without it, every delivery is a job.",
                },
                "user_id": {
                    "type": "string",
                    "description": "The broker user that you connect as, which the broker checks. It decides whose job \
                                    it is.",
                },
                "reply_to": { "type": "string", "description": "Where to answer; without it there are no answers." },
                "correlation_id": {
                    "type": "string",
                    "description": "Given back with each answer. Default: the message_id.",
                },
                "delivery_mode": { "type": "integer", "const": 2, "description": "Persistent." },
            },
            "required": ["user_id"],
        },
        "correlationId": { "location": "$message.header#/correlation_id" },
        "payload": { "$ref": "#/components/schemas/JobRequest" },
        "examples": Service::ALL.iter().map(|it| json!({ "name": it.name(), "payload": requests::example(*it) })).collect::<Vec<_>>(),
    });
    let replies = REPLIES.map(|(kind, schema, summary)| {
        let reply = json!({
            "name": kind,
            "title": schema,
            "summary": summary,
            "contentType": "application/json",
            "headers": {
                "type": "object",
                "description": "Properties of AMQP's basic class, not headers of the application's.",
                "properties": {
                    "content_type": { "type": "string", "const": "application/json" },
                    "type": { "type": "string", "const": kind, "description": "What this answer is." },
                    "message_id": {
                        "type": "string",
                        "format": "uuid",
                        "description": "One for each answer: one that comes twice, which is rare, has the same.",
                    },
                    "correlation_id": { "type": "string", "description": "The submission's, or its message_id." },
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
        "summary": "What happened, as webhooks and streams tell it.",
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "description": "Properties of AMQP's basic class, not headers of the application's.",
            "properties": {
                "content_type": { "type": "string", "const": "application/json" },
                "type": { "type": "string", "description": "The event's type." },
                "message_id": { "type": "string", "format": "uuid", "description": "The event's id: one that comes twice has the same." },
            },
            "required": ["content_type", "type", "message_id"],
        },
        "payload": { "$ref": "#/components/schemas/Event" },
    });
    [("submission".to_owned(), submission), ("event".to_owned(), event)].into_iter().chain(replies).collect()
}

/// The schemas of all messages, by name, as AsyncAPI spells them.
fn schemas() -> BTreeMap<String, Value> {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    add::<JobRequest>(&mut schemas);
    add::<Accepted>(&mut schemas);
    add::<Rejected>(&mut schemas);
    add::<Completed>(&mut schemas);
    add::<Failed>(&mut schemas);
    add::<Event>(&mut schemas);
    let plain = |(name, schema)| {
        let mut schema = json!(schema);
        name_discriminators(&mut schema);
        (name, schema)
    };
    schemas.into_iter().map(plain).collect()
}

/// Where OpenAPI has an object, AsyncAPI has the property's name alone.
fn name_discriminators(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = fields.get("discriminator").and_then(|it| it.get("propertyName")).cloned() {
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
                fields.values().for_each(|it| references(it, found));
            }
            Value::Array(items) => items.iter().for_each(|it| references(it, found)),
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
    fn a_discriminator_is_its_propertys_name() {
        assert_eq!(document()["components"]["schemas"]["JobRequest"]["discriminator"], "kind");
    }
}
