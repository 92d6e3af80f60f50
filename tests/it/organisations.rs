//! Organisations over the admin API and the command line: their settings, their keys, and what the keys may do.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::world::request;
use crate::support::{Api, World, api, photos};

const TOKEN: &str = "an-admin-token-of-forty-characters-000000";

async fn admin(world: &World) -> (crate::support::process::Process, Api) {
    let process = world.spawn_with(&["api"], &[("VISAVIS_ADMIN_TOKEN", TOKEN)]).await;
    let admin = Api::of(&process, TOKEN);
    (process, admin)
}

async fn call(api: &Api, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = api.request(method, path).header("content-type", "application/json").body(body.to_string());
    api::send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_is_made_changed_and_obeyed_by_every_door() {
    let world = World::new().await;
    let (process, admin) = admin(&world).await;
    let body = json!({"name": "bank", "settings": {"approved": false}, "retention_hours": 48});
    let (status, made) = call(&admin, Method::POST, "/admin/v1/organisations", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!((&made["retention_hours"], &made["settings"]["approved"]), (&json!(48), &json!(false)));
    let path = format!("/admin/v1/organisations/{}", made["id"].as_str().unwrap());
    let (status, key) = call(&admin, Method::POST, &format!("{path}/keys"), &json!({"label": "first"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let bank = Api::of(&process, key["key"].as_str().unwrap());

    let pair = request("face_match", photos::blank(), photos::blank());
    let refused = async |expected: &str| {
        let (status, problem) = bank.submit(None, &pair).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!(expected)));
    };
    refused("organisation_not_approved").await;
    let allow = json!({"settings": {"approved": true, "services": ["likeness_check"]}});
    let (status, changed) = call(&admin, Method::PATCH, &path, &allow).await;
    assert_eq!((status, &changed["settings"]["services"]), (StatusCode::OK, &json!(["likeness_check"])));
    refused("subscription_required").await;
    let all = json!({"settings": {"services": null, "approve": 0.9, "review": 0.8, "mode": "FAST"}});
    assert_eq!(call(&admin, Method::PATCH, &path, &all).await.0, StatusCode::OK);
    let (status, accepted) = bank.submit(None, &pair).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let params: Value = sqlx::query_scalar("SELECT params FROM jobs WHERE id = $1::text::uuid")
        .bind(accepted["id"].as_str().unwrap())
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(
        (&params["approve"], &params["review"], &params["mode"]),
        (&json!(0.9), &json!(0.8), &json!("FAST")),
        "the organisation's thresholds and mode apply"
    );
    let (_, own) = bank.get("/v1/organisation").await;
    assert_eq!((&own["name"], &own["sandbox"], &own["approved"]), (&json!("bank"), &json!(false), &json!(true)));
    let (_, page) = admin.get("/admin/v1/organisations").await;
    let names: Vec<_> =
        page["organisations"].as_array().unwrap().iter().map(|organisation| organisation["name"].clone()).collect();
    assert_eq!(names, ["acme", "bank"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_gets_wrong_is_named() {
    let world = World::new().await;
    let (_process, admin) = admin(&world).await;
    let organisations = "/admin/v1/organisations".to_owned();
    let acme = format!("{organisations}/{}", world.tenant.id);
    let (keys, nobody) = (format!("{acme}/keys"), format!("{organisations}/00000000-0000-7000-8000-000000000000"));
    for (method, path, body, status, code, field) in [
        (Method::POST, &organisations, json!({"name": "Bank"}), 400, "invalid_name", Some("name")),
        (Method::POST, &organisations, json!({}), 400, "invalid_name", Some("name")),
        (Method::POST, &organisations, json!({"name": "acme"}), 409, "organisation_exists", Some("name")),
        (Method::POST, &organisations, json!({"nome": "bank"}), 400, "malformed_json", None),
        (Method::PATCH, &acme, json!({"name": "other"}), 400, "invalid_name", Some("name")),
        (Method::PATCH, &acme, json!({"retention_hours": 0}), 400, "invalid_retention", Some("retention_hours")),
        (Method::PATCH, &acme, json!({"amqp_user": ""}), 400, "invalid_amqp_user", Some("amqp_user")),
        (Method::PATCH, &acme, json!({"settings": {"aprove": 1}}), 400, "invalid_setting", Some("settings.aprove")),
        (Method::PATCH, &nobody, json!({}), 404, "not_found", None),
        (Method::POST, &keys, json!({"days": 0}), 400, "invalid_days", Some("days")),
        (Method::POST, &keys, json!({"scopes": ["fly"]}), 400, "malformed_json", None),
    ] {
        let (found, problem) = call(&admin, method, path, &body).await;
        assert_eq!((found.as_u16(), problem["code"].as_str()), (status, Some(code)), "{path} {body} {problem}");
        assert_eq!(problem["field"].as_str(), field, "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_no_admin_api_and_no_api_key_opens_it() {
    let world = World::without_broker().await;
    let path = "/admin/v1/organisations";
    let without = world.spawn(&["api"]).await;
    assert_eq!(Api::of(&without, TOKEN).get(path).await.0, StatusCode::NOT_FOUND);
    let (process, admin) = admin(&world).await;
    assert_eq!(admin.get(path).await.0, StatusCode::OK);
    for key in [world.tenant.api_key.as_str(), "", &TOKEN[1..]] {
        assert_eq!(Api::of(&process, key).get(path).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_with_two_live_and_ends_when_it_is_revoked_or_its_time_is_over() {
    let world = World::without_broker().await;
    let (process, admin) = admin(&world).await;
    let keys = format!("/admin/v1/organisations/{}/keys", world.tenant.id);
    let alive = async |key: &Value| {
        let status = Api::of(&process, key["key"].as_str().unwrap()).get("/v1/organisation").await.0;
        assert!(matches!(status, StatusCode::OK | StatusCode::UNAUTHORIZED));
        status == StatusCode::OK
    };
    let (_, first) = call(&admin, Method::POST, &keys, &json!({"scopes": ["read"], "label": "poller"})).await;
    let rotate = |key: &Value| format!("{keys}/{}/rotate", key["id"].as_str().unwrap());
    let (status, second) = call(&admin, Method::POST, &rotate(&first), &json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(alive(&first).await && alive(&second).await, "two live");
    let (status, problem) = call(&admin, Method::POST, &rotate(&second), &json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("two_live_keys")));
    let (_, listed) = admin.get(&keys).await;
    let found = listed.as_array().unwrap().iter().find(|key| key["id"] == second["id"]).unwrap();
    assert_eq!(
        (&found["scopes"], &found["label"]),
        (&json!(["read"]), &json!("poller")),
        "a successor is like the old one"
    );
    assert!(!listed.to_string().contains(second["key"].as_str().unwrap()), "a key is shown once");

    world.execute("UPDATE api_keys SET expires_at = now() WHERE expires_at IS NOT NULL").await;
    assert!(!alive(&first).await && alive(&second).await, "the grace is over");
    let (status, problem) = call(&admin, Method::POST, &rotate(&first), &json!({})).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("key_ended")));
    let path = format!("{keys}/{}", second["id"].as_str().unwrap());
    let revoked = admin.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(revoked.status(), StatusCode::NO_CONTENT);
    assert!(!alive(&second).await);
    let stranger = world.make_tenant("stranger", None).await;
    let foreign = format!("/admin/v1/organisations/{}/keys/{}", stranger.id, second["id"].as_str().unwrap());
    let answer = admin.request(Method::DELETE, &foreign).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND, "another organisation's key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_only_what_its_scopes_say_and_test_keys_meet_no_live_jobs() {
    let world = World::new().await;
    let (process, admin) = admin(&world).await;
    let keys = format!("/admin/v1/organisations/{}/keys", world.tenant.id);
    let make = async |body: Value| {
        let (status, key) = call(&admin, Method::POST, &keys, &body).await;
        assert_eq!(status, StatusCode::CREATED);
        Api::of(&process, key["key"].as_str().unwrap())
    };
    let (reader, sender) = (make(json!({"scopes": ["read"]})).await, make(json!({"scopes": ["submit"]})).await);
    let test = make(json!({"environment": "test"})).await;
    let pair = request("likeness_check", photos::blank(), photos::blank());
    let (status, problem) = reader.submit(None, &pair).await;
    assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("missing_scope")));
    let (status, live) = sender.submit(Some("key"), &pair).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let (status, sandboxed) = test.submit(Some("key"), &pair).await;
    assert_eq!((status, &sandboxed["sandbox"]), (StatusCode::ACCEPTED, &json!(true)));
    assert_ne!(live["id"], sandboxed["id"], "one idempotency key in two worlds is two jobs");
    let path = |job: &Value| format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(sender.get(&path(&live)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(reader.get(&path(&live)).await.0, StatusCode::OK);
    assert_eq!(reader.get(&path(&sandboxed)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(test.get(&path(&live)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(test.get(&path(&sandboxed)).await.1["sandbox"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_does_what_the_admin_api_does() {
    let world = World::without_broker().await;
    let process = world.spawn(&["api"]).await;
    let run = async |arguments: &[&str]| {
        let output = world.run(&[&["tenant"], arguments].concat()).await;
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (ok, key, _) = run(&["create", "--name", "shop"]).await;
    assert!(ok && key.starts_with("vv_live_"));
    let (ok, shown, _) =
        run(&["set", "--name", "shop", "requests_per_minute=5", "mode=FAST", "retention_hours=2"]).await;
    assert!(
        ok && shown.contains("requests_per_minute=5\n")
            && shown.contains("mode=\"FAST\"")
            && shown.contains("retention_hours=2\n")
    );
    let (ok, _, error) = run(&["set", "--name", "shop", "requests=5"]).await;
    assert!(!ok && error.contains("requests is not a setting"), "{error}");
    let (ok, test, _) = run(&["key", "--name", "shop", "--test", "--scopes", "submit,read", "--label", "ci"]).await;
    assert!(ok && test.starts_with("vv_test_"));
    let (_, listed, _) = run(&["keys", "--name", "shop"]).await;
    assert!(listed.contains("submit read") && listed.contains("ci") && !listed.contains(test.trim()));
    let id = test.trim().split('_').nth(2).unwrap().to_owned();
    let (ok, rotated, _) = run(&["rotate-key", "--name", "shop", "--id", &id, "--grace-hours", "0"]).await;
    assert!(ok && rotated.starts_with("vv_test_"));
    assert_eq!(Api::of(&process, test.trim()).get("/v1/organisation").await.0, StatusCode::UNAUTHORIZED, "no grace");
    let successor = Api::of(&process, rotated.trim());
    let (_, own) = successor.get("/v1/organisation").await;
    assert_eq!((&own["sandbox"], &own["scopes"]), (&json!(true), &json!(["submit", "read"])));
    let id = rotated.trim().split('_').nth(2).unwrap().to_owned();
    assert!(run(&["revoke-key", "--name", "shop", "--id", &id]).await.0);
    assert_eq!(successor.get("/v1/organisation").await.0, StatusCode::UNAUTHORIZED);
    assert!(!run(&["revoke-key", "--name", "acme", "--id", &id]).await.0, "another organisation's key");
    let (_, listed, _) = run(&["list"]).await;
    assert!(listed.contains("acme") && listed.contains("shop"));
}
