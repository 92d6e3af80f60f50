//! `visavis docs`: documents about this binary, printed without a server.

mod configuration;

use clap::{Command, ValueEnum};
use serde_json::json;

use crate::api;
use crate::docs::asyncapi;

/// A document.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum DocumentKind {
    /// The HTTP API, as OpenAPI 3.1 in JSON
    Openapi,
    /// The AMQP messages, as AsyncAPI 3.0 in JSON
    Asyncapi,
    /// Every setting with its variable, flag, default and meaning, as Markdown tables
    Configuration,
}

/// Prints `document`; `command` is the whole command line, built.
pub(super) fn run(document: DocumentKind, command: &Command) {
    match document {
        DocumentKind::Openapi => println!("{:#}", json!(api::document())),
        DocumentKind::Asyncapi => println!("{:#}", asyncapi::document()),
        DocumentKind::Configuration => print!("{}", configuration::tables(command)),
    }
}
