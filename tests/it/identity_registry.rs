//! The registry as an identity source: real photos through the whole system, and personal data nowhere in clear text.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;
use visavis::domain::identity::{IdNumber, IdType, IdentityRecord};
use visavis::domain::ids::JobId;
use visavis::identity::registry::Put;
use visavis::identity::{Permanent, SourceError};
use visavis::keys::WrappedKey;
use visavis::store::sealed::SealPurpose;

use crate::support::photos::{self, photo};
use crate::support::world::id_request;
use crate::support::{Api, World, blobs};

const NUMBER: &str = "70123456789";
const NAME: &str = "Zephyrine Quillfeather";

fn number(text: &str) -> IdNumber {
    IdNumber::parse(text).unwrap()
}

fn record(attributes: Value) -> IdentityRecord {
    let Value::Object(attributes) = attributes else { panic!("not an object") };
    IdentityRecord { attributes }
}

/// The whole content of the database as text, bytes in hexadecimal.
pub async fn dump(world: &World) -> String {
    let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&world.pool).await.unwrap();
    let mut dump = String::new();
    for table in tables {
        let rows = AssertSqlSafe(format!("SELECT it::text FROM \"{table}\" it"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&world.pool).await.unwrap();
        dump.extend(rows.into_iter().map(|row| format!("{table}: {row}\n")));
    }
    dump
}

/// Fails when the database, a log or a blob contains one of `secrets`, in clear text, hexadecimal or Base64.
pub async fn assert_hidden(world: &World, logs: &[String], secrets: &[&str]) {
    let dump = dump(world).await;
    assert!(dump.contains("tenants: ") && dump.contains("acme"), "the search sees what is there");
    let blobs = blobs::contents(&world.blobs);
    for secret in secrets {
        let base64 = BASE64_STANDARD.encode(secret);
        let whole = base64.trim_end_matches('=');
        // The last character depends on what follows.
        for shape in [secret, hex::encode(secret).as_str(), &whole[..whole.len() - 1]] {
            assert!(!dump.contains(shape), "the database holds {shape}");
            assert!(!logs.iter().any(|log| log.contains(shape)), "a log holds {shape}");
            let bytes = shape.as_bytes();
            assert!(
                !blobs.iter().any(|blob| blob.windows(bytes.len()).any(|part| part == bytes)),
                "a blob holds {shape}"
            );
        }
    }
    assert!(blobs.iter().all(|blob| !blob.starts_with(&[0xFF, 0xD8])), "a blob is a JPEG file");
}

/// The record that was sealed with a job.
async fn sealed_record(world: &World, job: JobId) -> Option<Value> {
    let (tenant, media) = (world.tenant.id, &world.intake.media);
    let sealed = world.store().find_sealed(tenant, job, SealPurpose::Identity).await.unwrap()?;
    let key = WrappedKey { master_key_id: sealed.master_key_id, wrapped: sealed.wrapped_key };
    let plain = media.keyring().open(&SealPurpose::Identity.place(tenant, job), &key, sealed.sealed).unwrap();
    Some(serde_json::from_slice(&plain).unwrap())
}

fn job_id(body: &Value) -> JobId {
    JobId(body["id"].as_str().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selfie_is_matched_with_the_registrys_portrait_over_http_and_amqp_and_nothing_of_the_person_is_in_clear() {
    let world = World::new().await;
    let rows = [
        json!({ "id_number": NUMBER, "portrait": BASE64_STANDARD.encode(photo("obama.jpg")), "name": NAME,
                "date_of_birth": "1961-08-04", "address": { "city": "Thistledown-on-Sea" } }),
        json!({ "id_number": "70999999999", "portrait": "faceless.png", "name": NAME }),
    ];
    let file = world.path("people.jsonl");
    std::fs::write(&file, rows.map(|row| row.to_string()).join("\n")).unwrap();
    std::fs::write(world.path("faceless.png"), photo("no-face.png")).unwrap();
    let imported = world.run(&["identity", "import", file.to_str().unwrap(), "--id-type", "nin"]).await;
    assert_eq!(String::from_utf8_lossy(&imported.stdout), "imported 2, unchanged 0, refused 0\n");

    let mut producer = world.producer().await;
    let process = world.spawn_with(&["all"], &[("VISAVIS_LOG", "debug,lapin=error")]).await;
    let api = Api::of(&process, &world.tenant.api_key);
    let record = json!({ "name": NAME, "date_of_birth": "1961-08-04", "address": { "city": "Thistledown-on-Sea" } });
    let cases = [
        ("the same person", id_request("nin", NUMBER, &photo("obama2.jpg")), "approved", vec![], Some(&record)),
        (
            "in another notation",
            id_request("NIN", "7012 345-6789", &photo("obama2.jpg")),
            "approved",
            vec![],
            Some(&record),
        ),
        (
            "another person",
            id_request("nin", NUMBER, &photo("biden.jpg")),
            "rejected",
            vec!["LOW_FACE_MATCH_SIMILARITY"],
            Some(&record),
        ),
        (
            "an unknown number",
            id_request("nin", "70000000000", &photo("obama2.jpg")),
            "not_finished",
            vec!["ID_NOT_FOUND"],
            None,
        ),
        (
            "a number of another type",
            id_request("bvn", NUMBER, &photo("obama2.jpg")),
            "not_finished",
            vec!["ID_NOT_FOUND"],
            None,
        ),
        (
            "no face in the selfie",
            id_request("nin", NUMBER, photos::blank()),
            "not_finished",
            vec!["NO_FACE_DETECTED"],
            None,
        ),
        (
            "no face in the portrait",
            id_request("nin", "70999999999", &photo("obama2.jpg")),
            "not_finished",
            vec!["NO_FACE_DETECTED"],
            None,
        ),
    ];
    for (name, request, ..) in &cases {
        producer.submit(name, request).await;
    }
    for (name, request, verdict, risks, record) in &cases {
        let (_, accepted) = api.submit(None, request).await;
        let id = job_id(&accepted);
        let (_, job) = api.get(&format!("/v1/jobs/{id}?wait=60")).await;
        let reply = producer.reply(name, "completed").await.body;
        for answer in [&job, &reply] {
            assert_eq!(answer["verdict"], *verdict, "{name}: {answer}");
            // The photo is edited, and one selfie is submitted with several numbers here.
            let told = answer["warnings"].as_array().unwrap().iter().map(|warning| &warning["risk"]);
            let found: Vec<_> = told.filter(|risk| *risk != "IMAGE_EDITED" && *risk != "DUPLICATED_IMAGE").collect();
            assert_eq!(found, *risks, "{name}: {answer}");
        }
        assert_eq!(job["attempt"], 1, "{name}");
        for id in [id, job_id(&reply)] {
            assert_eq!(sealed_record(&world, id).await.as_ref(), *record, "{name}");
            let images: i64 = world.scalar("SELECT count(*) FROM images WHERE job_id = $1", id).await;
            assert_eq!(images, 1, "{name}: the selfie alone is stored with the job");
        }
    }
    let log = process.log();
    assert!(log.contains("job succeeded") && log.contains(" DEBUG "), "the log says what it can");
    assert_hidden(&world, &[log], &[NUMBER, "7012 345-6789", "70000000000", NAME, "Thistledown", "1961-08-04"]).await;
}

#[tokio::test]
async fn an_entry_is_found_by_every_notation_of_its_number_and_by_nothing_else() {
    let world = World::without_broker().await;
    let registry = world.registry();
    let portrait = Bytes::from_static(b"\xFF\xD8\xFFportrait");
    let one = record(json!({ "name": NAME, "b": 1, "a": [true, null] }));
    let put = registry.put(IdType::Passport, &number("AB-12 34x"), &one, &portrait).await.unwrap();
    assert_eq!(put, Put::Imported);
    for notation in ["AB-12 34x", "ab1234X", " AB 12 34 X ", "A-B-1-2-3-4-X"] {
        let found = registry.find(IdType::Passport, &number(notation)).await.unwrap().unwrap();
        assert!(found.record == one && found.portrait == portrait, "{notation}");
        assert_eq!(found.record.attributes.keys().collect::<Vec<_>>(), ["name", "b", "a"], "in their own order");
    }
    for (id_type, other) in [(IdType::Nin, "AB1234X"), (IdType::Passport, "AB1234Y"), (IdType::Passport, "AB1234")] {
        assert!(registry.find(id_type, &number(other)).await.unwrap().is_none(), "{other}");
    }
}

#[tokio::test]
async fn an_entry_that_is_imported_again_is_replaced_whole_and_one_that_is_erased_leaves_nothing() {
    let world = World::without_broker().await;
    let registry = world.registry();
    let count = || blobs::count(&world.blobs);
    let (first, second) = (Bytes::from_static(b"\xFF\xD8\xFFone"), Bytes::from_static(b"\xFF\xD8\xFFtwo"));
    let id = number(NUMBER);
    let put = async |name: &str, portrait: &Bytes| {
        registry.put(IdType::Nin, &id, &record(json!({ "name": name })), portrait).await.unwrap()
    };
    assert_eq!(put("A", &first).await, Put::Imported);
    assert_eq!(put("A", &first).await, Put::Unchanged);
    assert_eq!(put("B", &first).await, Put::Imported);
    assert_eq!(put("B", &second).await, Put::Imported);
    assert_eq!((count(), registry.count().await.unwrap()), (1, vec![("nin".to_owned(), 1)]));
    let found = registry.find(IdType::Nin, &id).await.unwrap().unwrap();
    assert!(found.record == record(json!({ "name": "B" })) && found.portrait == second);

    assert!(!registry.delete(IdType::Bvn, &id).await.unwrap());
    assert!(registry.delete(IdType::Nin, &id).await.unwrap());
    assert!(!registry.delete(IdType::Nin, &id).await.unwrap());
    assert_eq!((count(), registry.count().await.unwrap()), (0, vec![]));

    for i in 0..300 {
        let one = IdentityRecord { attributes: Map::new() };
        registry.put(IdType::Bvn, &number(&i.to_string()), &one, &first).await.unwrap();
    }
    put("A", &first).await;
    assert_eq!(registry.delete_all(IdType::Bvn).await.unwrap(), 300);
    assert_eq!((count(), registry.count().await.unwrap()), (1, vec![("nin".to_owned(), 1)]));
}

#[tokio::test]
async fn swapped_records_and_altered_portraits_are_noticed_and_a_missing_one_is_tried_again() {
    let world = World::without_broker().await;
    let registry = world.registry();
    let portrait = Bytes::from_static(b"\xFF\xD8\xFFportrait");
    for text in ["1", "2"] {
        let one = record(json!({ "name": text }));
        registry.put(IdType::Nin, &number(text), &one, &portrait).await.unwrap();
    }
    let find = async |text: &str| registry.find(IdType::Nin, &number(text)).await.map(|found| found.is_some());
    let unreadable =
        |found: &Result<bool, SourceError>| matches!(found, Err(SourceError::Permanent(Permanent::Unreadable)));
    // Each row keeps its number and gets the other's record.
    let swapped = world
        .execute(
            "UPDATE identity_registry it SET record = o.record, record_key = o.record_key
             FROM identity_registry o WHERE o.id <> it.id",
        )
        .await;
    assert_eq!(swapped, 2);
    assert!(unreadable(&find("1").await) && unreadable(&find("2").await));

    registry.delete_all(IdType::Nin).await.unwrap();
    registry.put(IdType::Nin, &number("1"), &record(json!({})), &portrait).await.unwrap();
    let id: Uuid = sqlx::query_scalar("SELECT id FROM identity_registry").fetch_one(&world.pool).await.unwrap();
    let place: &Path = &world.blobs.join(format!("identity/{id}"));
    let mut bytes = std::fs::read(place).unwrap();
    bytes[20] ^= 1;
    std::fs::write(place, bytes).unwrap();
    assert!(unreadable(&find("1").await));
    std::fs::remove_file(place).unwrap();
    assert!(matches!(find("1").await, Err(SourceError::Transient(_))));
}
