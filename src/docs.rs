//! Schemas of requests and events, and the AsyncAPI document. `api` puts the same schemas into the OpenAPI document,
//! which it gathers from the handlers.

pub mod asyncapi;
pub mod events;
pub mod requests;
