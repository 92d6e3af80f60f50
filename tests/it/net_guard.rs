//! What the outgoing client refuses to call, and that a name that changes its addresses does not get around it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use visavis::net::{Client, Error, Guard, HeaderMap, Lookup, LookupFuture, Method, Refusal, Request, Response, Target};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// URLs that must be refused when they are parsed.
pub const HOSTILE: &[(&str, Refusal)] = &[
    // Not HTTPS.
    ("http://example.com/", Refusal::Scheme),
    ("ftp://example.com/", Refusal::Scheme),
    ("file://example.com/etc/passwd", Refusal::Scheme),
    ("gopher://example.com:443/_x", Refusal::Scheme),
    ("ws://example.com/", Refusal::Scheme),
    // Not a URL with a host.
    ("", Refusal::Malformed),
    ("//example.com/", Refusal::Malformed),
    ("example.com", Refusal::Malformed),
    ("https://", Refusal::Malformed),
    ("https:///", Refusal::Malformed),
    ("file:///etc/passwd", Refusal::Malformed),
    ("data:text/plain,x", Refusal::Malformed),
    ("https://exa mple.com/", Refusal::Malformed),
    ("https://[::1/", Refusal::Malformed),
    ("https://[fe80::1%25eth0]/", Refusal::Malformed),
    ("https://256.1.1.1/", Refusal::Malformed),
    ("https://1.2.3.4.5/", Refusal::Malformed),
    ("https://example.com:99999/", Refusal::Malformed),
    // Other ports.
    ("https://example.com:80/", Refusal::Port),
    ("https://example.com:22/", Refusal::Port),
    ("https://example.com:5432/", Refusal::Port),
    ("https://example.com:0/", Refusal::Port),
    ("https://example.com:8444/", Refusal::Port),
    // User names and passwords.
    ("https://user@example.com/", Refusal::UserInfo),
    ("https://user:password@example.com/", Refusal::UserInfo),
    ("https://example.com@127.0.0.1/", Refusal::UserInfo),
    ("https://:x@example.com/", Refusal::UserInfo),
    // This machine.
    ("https://localhost/", Refusal::Address),
    ("https://LOCALHOST/", Refusal::Address),
    ("https://localhost./", Refusal::Address),
    ("https://anything.localhost/", Refusal::Address),
    ("https://127.0.0.1/", Refusal::Address),
    ("https://127.0.0.1:8443/", Refusal::Address),
    ("https://127.1/", Refusal::Address),
    ("https://127.0.0.1./", Refusal::Address),
    ("https://0x7f.1/", Refusal::Address),
    ("https://0x7f000001/", Refusal::Address),
    ("https://2130706433/", Refusal::Address),
    ("https://0177.0.0.1/", Refusal::Address),
    ("https://017700000001/", Refusal::Address),
    ("https://%31%32%37.0.0.1/", Refusal::Address),
    ("https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", Refusal::Address),
    ("https://127\u{3002}0\u{3002}0\u{3002}1/", Refusal::Address),
    ("https:\\\\127.0.0.1/", Refusal::Address),
    ("https:127.0.0.1/", Refusal::Address),
    ("  https://127.0.0.1/\t", Refusal::Address),
    ("https://127.255.255.254/", Refusal::Address),
    ("https://0.0.0.0/", Refusal::Address),
    ("https://0/", Refusal::Address),
    ("https://[::1]/", Refusal::Address),
    ("https://[::]/", Refusal::Address),
    ("https://[0:0:0:0:0:0:0:1]/", Refusal::Address),
    // IPv6 addresses that hold an IPv4 address.
    ("https://[::ffff:127.0.0.1]/", Refusal::Address),
    ("https://[::ffff:8.8.8.8]/", Refusal::Address),
    ("https://[::127.0.0.1]/", Refusal::Address),
    ("https://[64:ff9b::7f00:1]/", Refusal::Address),
    ("https://[64:ff9b:1::1]/", Refusal::Address),
    ("https://[2002:7f00:1::1]/", Refusal::Address),
    ("https://[2001:0:1::1]/", Refusal::Address),
    // The network of this machine.
    ("https://10.0.0.1/", Refusal::Address),
    ("https://172.16.0.1/", Refusal::Address),
    ("https://172.31.255.255/", Refusal::Address),
    ("https://192.168.1.1/", Refusal::Address),
    ("https://100.64.0.1/", Refusal::Address),
    ("https://169.254.169.254/latest/meta-data/", Refusal::Address),
    ("https://0xa9fea9fe/", Refusal::Address),
    ("https://[fe80::1]/", Refusal::Address),
    ("https://[fec0::1]/", Refusal::Address),
    ("https://[fc00::1]/", Refusal::Address),
    ("https://[fd00:ec2::254]/", Refusal::Address),
    // Reserved, documentation and multicast.
    ("https://192.0.0.1/", Refusal::Address),
    ("https://192.0.2.1/", Refusal::Address),
    ("https://198.18.0.1/", Refusal::Address),
    ("https://198.51.100.1/", Refusal::Address),
    ("https://203.0.113.1/", Refusal::Address),
    ("https://192.88.99.1/", Refusal::Address),
    ("https://224.0.0.1/", Refusal::Address),
    ("https://239.255.255.255/", Refusal::Address),
    ("https://240.0.0.1/", Refusal::Address),
    ("https://255.255.255.255/", Refusal::Address),
    ("https://[ff02::1]/", Refusal::Address),
    ("https://[100::1]/", Refusal::Address),
    ("https://[2001:db8::1]/", Refusal::Address),
    ("https://[3fff::1]/", Refusal::Address),
    ("https://[5f00::1]/", Refusal::Address),
];

#[test]
fn hostile_urls_are_refused_for_what_is_wrong_with_them() {
    assert!(HOSTILE.len() >= 60);
    for (url, refusal) in HOSTILE {
        assert_eq!(Guard::strict().check(url).err(), Some(*refusal), "{url:?}");
    }
    let long = format!("https://example.com/{}", "a".repeat(2048));
    assert_eq!(Guard::strict().check(&long).err(), Some(Refusal::TooLong));
}

#[test]
fn good_urls_are_accepted() {
    for url in [
        "https://example.com",
        "https://example.com:8443/a?b=c#d",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]/",
        "https://example.com./",
        "https://b\u{fc}cher.example/",
    ] {
        assert!(Guard::strict().check(url).is_ok(), "{url}");
    }
}

#[test]
fn the_development_switch_opens_loopback_and_nothing_else() {
    let guard = Guard::with_loopback();
    for url in ["http://127.0.0.1:8080/", "http://localhost:1/", "https://[::1]:9/", "http://127.9.9.9/"] {
        assert!(guard.check(url).is_ok(), "{url}");
    }
    for (url, refusal) in [
        ("http://example.com/", Refusal::Scheme),
        ("http://10.0.0.1/", Refusal::Scheme),
        ("https://10.0.0.1/", Refusal::Address),
        ("https://169.254.169.254/", Refusal::Address),
        ("https://[::ffff:127.0.0.1]/", Refusal::Address),
        ("ftp://127.0.0.1/", Refusal::Scheme),
        ("http://user@127.0.0.1/", Refusal::UserInfo),
    ] {
        assert_eq!(guard.check(url).err(), Some(refusal), "{url}");
    }
}

/// Names with fixed addresses. Other names have no address.
struct Fixed(HashMap<&'static str, Vec<IpAddr>>);

impl Lookup for Fixed {
    fn lookup(&self, name: &str) -> LookupFuture {
        let found = self.0.get(name).cloned().ok_or_else(|| io::Error::other("no such name"));
        Box::pin(std::future::ready(found))
    }
}

/// A public address at the first lookup, and this machine at every later one.
struct Rebinding {
    asked: AtomicUsize,
    here: IpAddr,
}

impl Lookup for Rebinding {
    fn lookup(&self, _name: &str) -> LookupFuture {
        let first = self.asked.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if first { IpAddr::from([1, 1, 1, 1]) } else { self.here };
        Box::pin(std::future::ready(Ok(vec![address])))
    }
}

fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn get(client: &Client, target: Target) -> Result<Response, Error> {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let (timeout, max_answer) = (Duration::from_secs(10), 1024);
    client.send(Request { method, target, headers, body: None, timeout, max_answer }).await
}

#[tokio::test]
async fn names_of_addresses_that_are_not_public_are_refused() {
    install_tls();
    let hostile = [
        "127.0.0.1",
        "10.1.2.3",
        "172.20.0.1",
        "192.168.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:db8::1",
        "ff02::1",
    ];
    for address in hostile {
        let names = HashMap::from([("hostile.example", vec![address.parse().unwrap()])]);
        let client = Client::with_lookup(Guard::with_loopback(), Arc::new(Fixed(names))).unwrap();
        let target = client.guard().check("https://hostile.example/").unwrap();
        assert!(matches!(get(&client, target).await, Err(Error::Refused(Refusal::Address))), "{address}");
    }
    let client = Client::with_lookup(Guard::strict(), Arc::new(Fixed(HashMap::new()))).unwrap();
    let target = client.guard().check("https://unknown.example/").unwrap();
    assert!(matches!(get(&client, target).await, Err(Error::Connect(_))), "no address is another matter");
}

/// A listener at an address of this machine that no other test uses, on a port that a strict guard admits.
async fn listen() -> (TcpListener, SocketAddr) {
    let [_, b, c, d] = rand::random::<[u8; 4]>();
    let address = SocketAddr::from((Ipv4Addr::new(127, b.max(1), c, d.clamp(1, 254)), 8443));
    (TcpListener::bind(address).await.expect("an address of 127.0.0.0/8 is free"), address)
}

/// Whether a connection has arrived.
async fn was_reached(listener: &TcpListener) -> bool {
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    accepted.is_ok()
}

#[tokio::test]
async fn a_name_that_rebinds_to_this_machine_after_its_first_look_up_does_not_reach_it() {
    install_tls();
    let (listener, address) = listen().await;
    let rebinding = Arc::new(Rebinding { asked: AtomicUsize::new(0), here: address.ip() });
    let client = Client::with_lookup(Guard::strict(), Arc::clone(&rebinding) as Arc<dyn Lookup>).unwrap();
    let target = client.guard().check("https://rebinding.example:8443/").unwrap();
    // The first lookup, as when a URL is checked on being set, sees a public address.
    let seen = rebinding.lookup("rebinding.example").await.unwrap();
    assert!(seen.iter().all(|address| visavis::net::address::is_public(*address)));
    let answer = get(&client, target).await;
    assert!(matches!(answer, Err(Error::Refused(Refusal::Address))));
    assert_eq!(rebinding.asked.load(Ordering::SeqCst), 2, "the client resolved the name once");
    assert!(!was_reached(&listener).await);

    // A client that may reach this machine does reach the listener, so the test could fail.
    let names = HashMap::from([("localhost", vec![address.ip()])]);
    let lax = Client::with_lookup(Guard::with_loopback(), Arc::new(Fixed(names))).unwrap();
    let target = lax.guard().check("https://localhost:8443/").unwrap();
    let (reached, _) =
        tokio::join!(was_reached(&listener), tokio::time::timeout(Duration::from_secs(1), get(&lax, target)));
    assert!(reached);
}

#[tokio::test]
async fn a_target_of_another_guard_is_checked_again_by_a_strict_client() {
    install_tls();
    let server = MockServer::start().await;
    let target = Guard::with_loopback().check(&server.uri()).unwrap();
    let strict = Client::new(Guard::strict()).unwrap();
    assert!(matches!(get(&strict, target).await, Err(Error::Refused(Refusal::Scheme))));
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn redirects_are_answers_and_large_and_slow_ones_are_cut() {
    install_tls();
    let server = MockServer::start().await;
    let answers = [
        ("/away", ResponseTemplate::new(302).insert_header("location", format!("{}/inside", server.uri()))),
        ("/inside", ResponseTemplate::new(200)),
        ("/full", ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 1024])),
        ("/large", ResponseTemplate::new(200).set_body_bytes(vec![b'x'; 1025])),
        ("/slow", ResponseTemplate::new(200).set_delay(Duration::from_secs(60))),
    ];
    for (at, answer) in answers {
        Mock::given(path(at)).respond_with(answer).mount(&server).await;
    }
    let client = Client::new(Guard::with_loopback()).unwrap();
    let call = async |at: &str, timeout| {
        let target = client.guard().check(&format!("{}{at}", server.uri())).unwrap();
        let (method, headers) = (Method::GET, HeaderMap::new());
        client.send(Request { method, target, headers, body: None, timeout, max_answer: 1024 }).await
    };
    let patience = Duration::from_secs(10);
    assert_eq!(call("/away", patience).await.ok().unwrap().status, 302);
    assert_eq!(call("/full", patience).await.ok().unwrap().body.len(), 1024);
    assert!(matches!(call("/large", patience).await, Err(Error::TooLarge { limit: 1024 })));
    assert!(matches!(call("/slow", Duration::from_millis(100)).await, Err(Error::Timeout)));
    let seen = server.received_requests().await.unwrap();
    assert!(seen.iter().all(|request| request.url.path() != "/inside"), "nobody followed the redirect");
}

#[tokio::test]
async fn no_error_quotes_the_url() {
    install_tls();
    let client = Client::new(Guard::with_loopback()).unwrap();
    // After the listener is dropped, nobody listens at its address.
    let (listener, address) = listen().await;
    drop(listener);
    let target = client.guard().check(&format!("http://{address}/people/12345678901?token=secret")).unwrap();
    let error = get(&client, target).await.err().unwrap();
    assert!(matches!(error, Error::Connect(_)), "{error}");
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("12345678901") && !text.contains("secret"), "{text}");
    }
}
