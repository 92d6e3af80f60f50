//! The broker's management API: a virtual host and users for each test.

use std::time::Duration;

use reqwest::{Client, Method, Url};
use serde_json::{Value, json};

use super::environment::SERVICES;

/// Calls the API as the administrator.
#[derive(Clone)]
pub struct Management {
    client: Client,
    base: Url,
}

/// What a user may configure, write and read: regular expressions over names.
#[derive(Clone, Copy)]
pub struct Permissions<'a> {
    pub configure: &'a str,
    pub write: &'a str,
    pub read: &'a str,
}

pub const EVERYTHING: Permissions<'static> = Permissions { configure: ".*", write: ".*", read: ".*" };

impl Management {
    pub fn connect() -> Self {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
        Self { client: client.expect("an HTTP client can be made"), base: SERVICES.management.clone() }
    }

    /// Makes a virtual host that the administrator may use.
    pub async fn make_vhost(&self, vhost: &str) {
        self.call(Method::PUT, &["vhosts", vhost], json!({})).await;
        self.permit(vhost, SERVICES.amqp.username(), EVERYTHING).await;
    }

    pub async fn delete_vhost(&self, vhost: &str) {
        self.call(Method::DELETE, &["vhosts", vhost], Value::Null).await;
    }

    pub async fn make_user(&self, name: &str, password: &str) {
        self.call(Method::PUT, &["users", name], json!({ "password": password, "tags": "" })).await;
    }

    pub async fn delete_user(&self, name: &str) {
        self.call(Method::DELETE, &["users", name], Value::Null).await;
    }

    pub async fn permit(&self, vhost: &str, user: &str, permissions: Permissions<'_>) {
        let Permissions { configure, write, read } = permissions;
        let body = json!({ "configure": configure, "write": write, "read": read });
        self.call(Method::PUT, &["permissions", vhost, user], body).await;
    }

    /// Which routing keys a user may read in a topic exchange; it may write none.
    pub async fn permit_topic(&self, vhost: &str, user: &str, exchange: &str, read: &str) {
        let body = json!({ "exchange": exchange, "write": "^$", "read": read });
        self.call(Method::PUT, &["topic-permissions", vhost, user], body).await;
    }

    /// The names that our open connections gave themselves. The broker updates this list every few seconds.
    pub async fn connections(&self, vhost: &str) -> Vec<String> {
        let list = self.call(Method::GET, &["vhosts", vhost, "connections"], Value::Null).await;
        let name = |it: &Value| it["client_properties"]["connection_name"].as_str().map(ToOwned::to_owned);
        list.as_array().into_iter().flatten().filter_map(name).collect()
    }

    pub async fn has_queue(&self, vhost: &str, queue: &str) -> bool {
        let queues = self.call(Method::GET, &["queues", vhost], Value::Null).await;
        queues.as_array().into_iter().flatten().any(|entry| entry["name"] == queue)
    }

    async fn call(&self, method: Method, path: &[&str], body: Value) -> Value {
        let mut url = self.base.clone();
        // Segments are percent-encoded here, "/" included.
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().push("api").extend(path);
        let mut request = self.client.request(method.clone(), url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the management API answers");
        let status = response.status();
        let text = response.text().await.expect("the management API answers in full");
        assert!(status.is_success(), "management API: {method} {path:?} gives {status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}
