//! What callers are told of the wire: schemas of requests and answers, and the AsyncAPI document that is made of them.
//! The OpenAPI document takes the same schemas; `api` gathers it from the handlers.

pub mod answers;
pub mod asyncapi;
pub mod requests;
