//! Where the services are. No other file of the tests reads the environment.

use std::path::PathBuf;
use std::sync::LazyLock;

use reqwest::Url;

/// What `./dev test` exports.
pub struct Services {
    /// A role that may create databases.
    pub database: Url,
    /// An administrator.
    pub amqp: Url,
    /// The broker's management API, with the administrator's credentials.
    pub management: Url,
    pub onnxruntime: PathBuf,
}

pub static SERVICES: LazyLock<Services> = LazyLock::new(|| {
    tls_provider();
    Services {
        database: url("DATABASE_URL"),
        amqp: url("AMQP_URL"),
        management: url("VISAVIS_RABBITMQ_API"),
        onnxruntime: required("VISAVIS_ONNXRUNTIME").into(),
    }
});

/// HTTP clients need a TLS provider even if they speak no TLS.
pub fn tls_provider() {
    // Fails if another test installed it before, which does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn url(name: &str) -> Url {
    required(name).parse().unwrap_or_else(|_| panic!("{name} is not a URL"))
}

#[expect(clippy::disallowed_methods, reason = "tests learn here, and nowhere else, where the services are")]
fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by ./dev test"))
}

/// The folder of the example receivers with their libraries.
#[expect(clippy::disallowed_methods, reason = "tests learn here, and nowhere else, where the services are")]
pub fn receivers() -> PathBuf {
    std::env::var("VISAVIS_RECEIVERS").expect("VISAVIS_RECEIVERS is not set: run the tests by ./dev test").into()
}

/// What tests of pages need.
pub struct BrowserTools {
    pub chromedriver: PathBuf,
    /// The script of axe-core.
    pub axe: PathBuf,
}

#[expect(clippy::disallowed_methods, reason = "tests learn here, and nowhere else, where the services are")]
pub fn browser() -> BrowserTools {
    const OR: &str = "run the tests by ./dev test, or leave those of pages out by -- --skip desk_browser";
    let path = |name: &str| {
        let path = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: {OR}"));
        // ./dev sets it to none when it finds no Chromium.
        assert!(path != "none", "{name} is none: {OR}");
        PathBuf::from(path)
    };
    BrowserTools { chromedriver: path("VISAVIS_CHROMEDRIVER"), axe: path("VISAVIS_AXE") }
}

/// A folder where the tests of pages leave pictures, if a developer asks for them.
#[expect(clippy::disallowed_methods, reason = "tests learn here, and nowhere else, where the services are")]
pub fn screenshots() -> Option<PathBuf> {
    std::env::var("VISAVIS_SCREENSHOTS").ok().map(PathBuf::from)
}

/// A folder with the files of optional packs. Without it, their tests are left out.
#[expect(clippy::disallowed_methods, reason = "tests learn here, and nowhere else, where the services are")]
pub fn model_mirror() -> Option<String> {
    std::env::var("VISAVIS_MODEL_MIRROR").ok()
}
