//! The start page, the documents and the page to try the API: all assets are ours, and no third party learns of a
//! visit.

use reqwest::{Method, StatusCode, header};
use serde_json::Value;

use crate::support::{Api, World};

async fn text(api: &Api, path: &str) -> String {
    let response = api.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.text().await.unwrap()
}

/// The values of `src` and `href` in a page.
fn assets(page: &str) -> Vec<&str> {
    ["src=\"", "href=\""]
        .iter()
        .flat_map(|name| page.split(name).skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .collect()
}

#[tokio::test]
async fn the_page_and_each_of_its_assets_come_from_us() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let page = text(&api, "/docs").await;
    let assets = assets(&page);
    assert!(assets.len() >= 5, "{page}");
    for asset in assets {
        assert!(!asset.contains("//"), "{asset} comes from another server");
        let content = text(&api, &format!("/docs/{}", asset.trim_start_matches("./"))).await;
        assert!(!content.is_empty(), "{asset}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    let settings = text(&api, "/docs/swagger-initializer.js").await;
    assert!(settings.contains("\"/openapi.json\"") && settings.contains("\"validatorUrl\": \"none\""), "{settings}");
    assert!(!settings.contains("http://") && !settings.contains("https://"), "{settings}");
}

#[tokio::test]
async fn the_page_may_talk_to_us_alone() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    for path in ["/docs", "/docs/", "/docs/swagger-ui-bundle.js"] {
        let response = api.request(Method::GET, path).send().await.unwrap();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(["*", "http", "unsafe"].iter().all(|word| !policy.contains(word)), "{path}: {policy}");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
}

#[tokio::test]
async fn the_documents_need_no_key_and_are_those_that_the_command_prints() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let nobody = Api::of(&process, "");
    for (name, version) in [("openapi", "3.1.0"), ("asyncapi", "3.0.0")] {
        let (status, served) = nobody.get(&format!("/{name}.json")).await;
        let printed: Value = serde_json::from_slice(&world.run(&["docs", name]).await.stdout).unwrap();
        assert_eq!((status, &served[name]), (StatusCode::OK, &Value::from(version)));
        assert_eq!(served, printed);
    }
}

#[tokio::test]
async fn the_start_page_leads_to_docs_desk_and_health_and_is_json_for_clients_that_ask() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let nobody = Api::of(&process, "");
    let response = nobody.request(Method::GET, "/").header("accept", "text/html,*/*;q=0.8").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let page = response.text().await.unwrap();
    let links = assets(&page);
    for path in ["/docs/", "/desk", "/readyz", "/openapi.json", "/asyncapi.json"] {
        assert!(links.contains(&path), "{path} is missing: {page}");
        let status = nobody.request(Method::GET, path).send().await.unwrap().status();
        assert!(status.is_success() || status.is_redirection(), "{path}: {status}");
    }
    assert!(links.iter().all(|link| link.starts_with('/') && !link.starts_with("//")), "{links:?}");

    let response = nobody.request(Method::GET, "/").header("accept", "application/json").send().await.unwrap();
    assert_eq!(response.headers()[header::VARY].to_str().unwrap(), "accept");
    let found: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((found["name"].as_str(), found["links"]["docs"].as_str()), (Some("visavis"), Some("/docs/")));
}
