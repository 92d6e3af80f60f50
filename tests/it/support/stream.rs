//! A client of server-sent events.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use visavis::net::event_stream::{Message, Parser};

use super::Api;

const PATIENCE: Duration = Duration::from_secs(30);

/// An open stream. Dropping it closes it.
pub struct Stream {
    response: Response,
    parser: Parser,
    ready: VecDeque<Message>,
}

impl Stream {
    /// Opens a stream, and returns once the server listens for its events.
    pub async fn open(api: &Api, path: &str, last: Option<&str>) -> Self {
        let mut request = api.request(Method::GET, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.expect("the API answers");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { response, parser: Parser::default(), ready: VecDeque::new() };
        assert!(stream.bytes().await.expect("a greeting").starts_with(": listening"));
        stream
    }

    /// A stream of any kind, read from its first byte.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next event, or none if the server ends the stream.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            self.bytes().await?;
        }
    }

    /// The next event's id, type and data.
    pub async fn event(&mut self) -> (String, String, Value) {
        let message = self.next().await.expect("the stream goes on");
        let told: Value = serde_json::from_str(&message.data).expect("an event is JSON");
        assert_eq!(told["type"], message.kind.as_str());
        (message.id, message.kind, told["data"].clone())
    }

    /// The next bytes, as text.
    pub async fn bytes(&mut self) -> Option<String> {
        let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("the stream is not silent");
        let chunk = chunk.ok().flatten()?;
        self.ready.extend(self.parser.push(&chunk));
        Some(String::from_utf8(chunk.to_vec()).expect("a stream is text"))
    }
}
