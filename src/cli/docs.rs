//! `visavis docs`: the API's documents, without a server.

use clap::ValueEnum;
use serde_json::json;

use crate::api;
use crate::docs::asyncapi;

/// A document.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Document {
    /// HTTP: OpenAPI 3.1
    Openapi,
    /// AMQP: AsyncAPI 3.0
    Asyncapi,
}

pub(super) fn run(document: Document) {
    let document = match document {
        Document::Openapi => json!(api::document()),
        Document::Asyncapi => asyncapi::document(),
    };
    println!("{document:#}");
}
