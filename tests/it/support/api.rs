//! An HTTP client of an organisation.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::process::Process;

#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    /// A client of a process that has the role `api`, with the organisation's key.
    pub fn of(process: &Process, api_key: &str) -> Self {
        // Longer than the longest poll.
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(90)).build();
        let client = client.expect("an HTTP client can be made");
        Self { client, base: format!("http://{}", process.address()), key: api_key.to_owned() }
    }

    /// A request with the key; the caller completes it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    /// A request to an absolute URL, without the key.
    pub fn anonymous(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    pub async fn delete(&self, path: &str) -> (StatusCode, Value) {
        send(self.request(Method::DELETE, path)).await
    }

    /// `POST` of a JSON body; the caller completes it.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).header("content-type", "application/json").body(body.to_string())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        send(self.request(Method::GET, path)).await
    }

    /// `POST /v1/jobs`.
    pub async fn submit(&self, idempotency_key: Option<&str>, body: &Value) -> (StatusCode, Value) {
        let mut request = self.request(Method::POST, "/v1/jobs").body(body.to_string());
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        send(request).await
    }
}

/// A whole answer: status, headers and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// A header's value, or an empty text if the header is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are text"))
    }

    /// A problem document's status and code.
    pub fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        (self.status, self.body["code"].as_str().expect("a problem has a code"))
    }
}

/// The answer, whose body is JSON.
pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the API answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("the API answers in full");
    Answer { status, headers, body: serde_json::from_slice(&body).expect("the API answers in JSON") }
}

/// The answer's status and its body, which is JSON.
pub async fn send(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("the API answers");
    let status = response.status();
    let body = response.bytes().await.expect("the API answers in full");
    (status, serde_json::from_slice(&body).expect("the API answers in JSON"))
}
