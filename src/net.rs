//! The one outgoing HTTP client. It decides by address what it calls: a URL from outside must never reach this machine,
//! its network, or the metadata service of its cloud.
//!
//! The client follows no redirects, uses no proxy from the environment, and speaks HTTPS on ports 443 and 8443. It
//! connects to the very address that was checked: the name is not resolved again. Time and size of an answer are
//! bounded.

pub mod address;
pub mod event_stream;
mod resolver;
mod target;
pub mod trust;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};

pub use resolver::{Lookup, LookupFuture, SystemLookup};
pub use target::{Guard, Refusal, Target};

use resolver::GuardedResolver;

/// A client that only reaches the addresses that its guard admits. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    guard: Guard,
}

/// A call to make. Has no `Debug`, because headers hold secrets and a URL may hold an ID number.
pub struct Request {
    pub method: Method,
    pub target: Target,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    /// Time limit for everything from the lookup of the name to the last byte of the answer.
    pub timeout: Duration,
    /// Most bytes of the answer's body.
    pub max_answer: usize,
}

/// A complete answer. A redirect is an answer like any other.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body has not been read yet.
pub struct OpenResponse(reqwest::Response);

/// Why there is no answer. Messages never quote the URL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guard refuses the target. Another attempt will fail in the same way.
    #[error("the target is refused: {0}")]
    Refused(#[from] Refusal),
    #[error("no answer in time")]
    Timeout,
    #[error("no connection: {0}")]
    Connect(String),
    #[error("the answer has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the connection was interrupted: {0}")]
    Broken(String),
    /// From [`Client::new`], not from a call.
    #[error("cannot make an HTTP client: {0}")]
    Setup(String),
}

/// Time limit for connecting. A slower host counts as down.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection stays open. Its address was checked when it was opened.
const IDLE: Duration = Duration::from_secs(30);

impl Client {
    /// A client that resolves names by the system.
    ///
    /// # Errors
    /// When the system has no root certificates.
    pub fn new(guard: Guard) -> Result<Self, Error> {
        Self::with_lookup(guard, Arc::new(SystemLookup))
    }

    /// A client that resolves names by `lookup`. The guard checks its addresses, too.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_lookup(guard: Guard, lookup: Arc<dyn Lookup>) -> Result<Self, Error> {
        let inner = reqwest::Client::builder()
            .user_agent(concat!("visavis/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .dns_resolver(GuardedResolver::new(guard, lookup))
            .build()
            .map_err(|error| {
                Error::Setup(trust::check().map_or_else(|none| none.to_string(), |()| innermost(&error)))
            })?;
        Ok(Self { inner, guard })
    }

    /// What this client may call.
    #[must_use]
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// Makes a call and reads the whole answer. Every HTTP status is an answer.
    ///
    /// # Errors
    /// When the target is refused, no answer comes in time, or the answer is too large.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let limit = request.max_answer;
        let mut answer = self.begin(request).await?;
        let announced = answer.content_length().and_then(|length| usize::try_from(length).ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(Error::TooLarge { limit });
        }
        let mut body = BytesMut::with_capacity(announced.unwrap_or(0));
        while let Some(chunk) = answer.chunk().await.map_err(|error| Error::of(&error))? {
            if body.len() + chunk.len() > limit {
                return Err(Error::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: answer.status(), headers: answer.headers().clone(), body: body.freeze() })
    }

    /// Makes a call and reads the first `max_answer` bytes of the answer. The rest is not read.
    ///
    /// # Errors
    /// When the target is refused, or no answer comes in time.
    pub async fn send_and_cut(&self, request: Request) -> Result<Response, Error> {
        let limit = request.max_answer;
        let mut answer = self.begin(request).await?;
        let mut body = BytesMut::new();
        while body.len() < limit {
            let Some(chunk) = answer.chunk().await.map_err(|error| Error::of(&error))? else { break };
            body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
        }
        Ok(Response { status: answer.status(), headers: answer.headers().clone(), body: body.freeze() })
    }

    /// Makes a call whose answer is read piece by piece. `timeout` bounds the whole exchange; `max_answer` is not used.
    ///
    /// # Errors
    /// When the target is refused, or no answer comes in time.
    pub async fn open(&self, request: Request) -> Result<OpenResponse, Error> {
        self.begin(request).await.map(OpenResponse)
    }

    async fn begin(&self, request: Request) -> Result<reqwest::Response, Error> {
        let Request { method, target, headers, body, timeout, max_answer: _ } = request;
        // The resolver never sees an address in a URL, and the target may come from a guard that admits more.
        self.guard.examine(target.url())?;
        let mut call = self.inner.request(method, target.into_url()).headers(headers).timeout(timeout);
        if let Some(body) = body {
            call = call.body(body);
        }
        call.send().await.map_err(|error| Error::of(&error))
    }
}

impl OpenResponse {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// The next bytes of the body. `None` at its end.
    ///
    /// # Errors
    /// When the connection is interrupted, or the time is over.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.chunk().await.map_err(|error| Error::of(&error))
    }
}

impl Error {
    fn of(error: &reqwest::Error) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(found) = cause {
            if let Some(refusal) = found.downcast_ref::<Refusal>() {
                return Self::Refused(*refusal);
            }
            cause = found.source();
        }
        if error.is_timeout() {
            Self::Timeout
        } else if error.is_connect() {
            Self::Connect(innermost(error))
        } else {
            Self::Broken(innermost(error))
        }
    }
}

/// The innermost cause, such as the system's message. The outer causes quote the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if cause.is::<reqwest::Error>() { "unknown".to_owned() } else { cause.to_string() }
}
