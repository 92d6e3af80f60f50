//! The file that names the identity sources: what it may contain, and that errors name the key and never the value.

use std::path::Path;
use std::time::Duration;

use visavis::domain::identity::IdType;
use visavis::identity::Sources;
use visavis::identity::settings::{Attributes, HttpSettings, Secrets, Settings, SourceSettings, SourcesFault, parse};
use visavis::net::{Guard, Method};

use crate::support::World;

const MINIMAL: &str = r#"
[sources.bvn]
kind = "http"
url = "https://id.example.com/people/{id_number}"
portrait = "/photo"
attributes = "/person"
"#;

fn read_in(text: &str, folder: &Path) -> Result<Settings, SourcesFault> {
    let env = |name: &str| match name {
        "TOKEN" => Some("t0ps3cret".to_owned()),
        "BROKEN" => Some("t0p\ns3cret".to_owned()),
        "EMPTY" => Some("  ".to_owned()),
        _ => None,
    };
    parse(text, &Secrets { env: &env, folder })
}

fn read(text: &str) -> Result<Settings, SourcesFault> {
    read_in(text, Path::new("/nowhere"))
}

fn http(settings: &Settings, id_type: IdType) -> &HttpSettings {
    match &settings.sources[&id_type] {
        SourceSettings::Http(source) => source,
        SourceSettings::Registry => panic!("not over HTTP"),
    }
}

#[test]
fn a_minimal_source_has_defaults() {
    let settings = read(MINIMAL).ok().unwrap();
    let bvn = http(&settings, IdType::Bvn);
    assert_eq!((&bvn.method, bvn.timeout, bvn.breaker.calls), (&Method::GET, Duration::from_secs(10), 20));
    assert_eq!(bvn.calls_at_once, 16);
    assert_eq!(bvn.headers["accept"], "application/json");
    assert!(matches!(&bvn.attributes, Attributes::Whole(pointer) if pointer == "/person"));
    assert!(read("").ok().unwrap().sources.is_empty());
}

#[test]
fn a_full_source_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "f1lesecret\n").unwrap();
    let text = r#"
[sources.nin]
kind = "registry"

[sources.BVN]
kind = "http"
method = "POST"
url = "https://id.example.com:8443/{id_type}"
body = '{"number": "{id_number}", "reason": "kyc"}'
timeout_seconds = 30
calls_at_once = 4
portrait = "/data/photo"
[sources.BVN.headers]
Accept = "application/vnd.bank+json"
Authorization = { env = "TOKEN", prefix = "Bearer " }
X-Api-Key = { file = "key" }
[sources.BVN.attributes]
name = "/data/full_name"
born = "/data/born"
[sources.BVN.not_found]
pointer = "/code"
equals = "UNKNOWN"
[sources.BVN.breaker]
calls = 5
failure_percent = 80
open_seconds = 60
"#;
    let settings = read_in(text, folder.path()).ok().unwrap();
    assert!(matches!(settings.sources[&IdType::Nin], SourceSettings::Registry));
    let bvn = http(&settings, IdType::Bvn);
    assert_eq!(bvn.headers["authorization"], "Bearer t0ps3cret");
    assert_eq!(bvn.headers["x-api-key"], "f1lesecret");
    assert!(bvn.headers["authorization"].is_sensitive() && bvn.headers["x-api-key"].is_sensitive());
    assert!(matches!(&bvn.attributes, Attributes::Named(names) if names.len() == 2));
    assert_eq!((bvn.breaker.calls, bvn.breaker.open), (5, Duration::from_secs(60)));
    assert_eq!(bvn.calls_at_once, 4);
}

#[test]
fn each_mistake_is_reported_by_its_key_and_no_value_is_quoted() {
    let with = |line: &str| format!("{MINIMAL}{line}\n");
    let without = |key: &str| {
        MINIMAL.lines().filter(|line| !line.starts_with(key)).map(|line| line.to_owned() + "\n").collect::<String>()
    };
    let instead = |key: &str, line: &str| format!("{}{line}\n", without(key));
    let cases = [
        ("sources = 5".to_owned(), "sources"),
        ("[source.bvn]".to_owned(), "source"),
        ("[sources.ssn]\nkind = \"registry\"".to_owned(), "sources.ssn"),
        ("[sources]\nbvn = \"http\"".to_owned(), "sources.bvn"),
        ("[sources.nin]".to_owned(), "sources.nin.kind"),
        ("[sources.nin]\nkind = \"ldap\"".to_owned(), "sources.nin.kind"),
        ("[sources.nin]\nkind = \"registry\"\nurl = \"x\"".to_owned(), "sources.nin.url"),
        ("[sources.nin]\nkind = \"registry\"\n[sources.NIN]\nkind = \"registry\"".to_owned(), "sources.nin"),
        (format!("{MINIMAL}url = \n"), "line 7"),
        (without("url"), "sources.bvn.url"),
        (without("portrait"), "sources.bvn.portrait"),
        (without("attributes"), "sources.bvn.attributes"),
        (instead("url", "url = 5"), "sources.bvn.url"),
        (instead("url", "url = \"https://id.example.com/people\""), "sources.bvn.url"),
        (instead("portrait", "portrait = \"photo\""), "sources.bvn.portrait"),
        (instead("portrait", "portrait = \"\""), "sources.bvn.portrait"),
        (instead("attributes", "attributes = []"), "sources.bvn.attributes"),
        (instead("attributes", "attributes = {}"), "sources.bvn.attributes"),
        (instead("attributes", "attributes = { name = \"name\" }"), "sources.bvn.attributes.name"),
        (instead("attributes", "attributes = { name = 5 }"), "sources.bvn.attributes.name"),
        (with("urll = \"s3cret\""), "sources.bvn.urll"),
        (with("method = \"PUT\""), "sources.bvn.method"),
        (with("body = \"{}\""), "sources.bvn.body"),
        (with("method = \"POST\"\nbody = \"{id_number}\""), "sources.bvn.body"),
        (with("timeout_seconds = 0"), "sources.bvn.timeout_seconds"),
        (with("timeout_seconds = 31"), "sources.bvn.timeout_seconds"),
        (with("timeout_seconds = \"s3cret\""), "sources.bvn.timeout_seconds"),
        (with("calls_at_once = 0"), "sources.bvn.calls_at_once"),
        (with("headers = \"s3cret\""), "sources.bvn.headers"),
        (with("headers = { \"a b\" = \"s3cret\" }"), "sources.bvn.headers.a b"),
        (with("headers = { Accept = \"s3cret\\n\" }"), "sources.bvn.headers.Accept"),
        (with("headers = { Authorization = \"Bearer s3cret\" }"), "sources.bvn.headers.Authorization"),
        (with("headers = { X-API-Key = \"s3cret\" }"), "sources.bvn.headers.X-API-Key"),
        (with("headers = { Cookie = \"s3cret\" }"), "sources.bvn.headers.Cookie"),
        (with("headers = { X-Token = { env = \"MISSING\" } }"), "sources.bvn.headers.X-Token.env"),
        (with("headers = { X-Token = { env = \"EMPTY\" } }"), "sources.bvn.headers.X-Token.env"),
        (with("headers = { X-Token = { env = \"BROKEN\" } }"), "sources.bvn.headers.X-Token.env"),
        (with("headers = { X-Token = { file = \"missing\" } }"), "sources.bvn.headers.X-Token.file"),
        (with("headers = { X-Token = { value = \"s3cret\" } }"), "sources.bvn.headers.X-Token"),
        (with("headers = { X-Token = { env = \"TOKEN\", other = 1 } }"), "sources.bvn.headers.X-Token.other"),
        (with("not_found = { equals = 1 }"), "sources.bvn.not_found.pointer"),
        (with("not_found = { pointer = \"/a\", equals = 1.5 }"), "sources.bvn.not_found.equals"),
        (with("breaker = { calls = 0 }"), "sources.bvn.breaker.calls"),
        (with("breaker = { failure_percent = 101 }"), "sources.bvn.breaker.failure_percent"),
        (with("breaker = { open = 1 }"), "sources.bvn.breaker.open"),
    ];
    for (text, key) in cases {
        let fault = read(&text).err().unwrap_or_else(|| panic!("accepted:\n{text}"));
        assert_eq!(fault.key, key, "{fault}");
        assert!(!fault.problem.is_empty() && !fault.to_string().contains("s3cret"), "{fault}");
    }
}

#[tokio::test]
async fn a_url_that_must_not_be_called_or_whose_host_has_the_number_is_refused_at_start() {
    let world = World::without_broker().await;
    for (url, guard, because) in [
        ("http://id.example.com/{id_number}", Guard::strict(), "https"),
        ("https://10.0.0.1/{id_number}", Guard::strict(), "public internet"),
        ("http://127.0.0.1:8080/{id_number}", Guard::strict(), "https"),
        ("https://id.example.com:9200/{id_number}", Guard::with_loopback(), "port"),
        ("https://{id_number}.example.com/", Guard::strict(), "host"),
        ("https://id.example.com/{id_number}/{name}", Guard::strict(), "placeholders"),
        ("id.example.com/{id_number}", Guard::strict(), "not a URL"),
    ] {
        let text = MINIMAL.replace("https://id.example.com/people/{id_number}", url);
        let fault = Sources::new(read(&text).ok().unwrap(), world.registry(), guard).err().unwrap();
        assert_eq!(fault.key, "sources.bvn.url");
        assert!(fault.problem.contains(because), "{fault}");
    }
    // The binary prints the fault and ends.
    let file = world.path("sources.toml");
    std::fs::write(&file, MINIMAL.replace("https://", "http://")).unwrap();
    let ended = world.command(&["serve", "worker"]).env("VISAVIS_IDENTITY_SOURCES", &file).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && told.contains("sources.bvn.url: it must begin with https://"), "{told}");
}
