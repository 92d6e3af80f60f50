//! The one outgoing HTTP client. Whom it may call is decided by address: a URL from outside must never reach this
//! machine, its network, or the metadata service of its cloud.
//!
//! No redirects, no proxy from the environment, HTTPS on ports 443 and 8443; the connection goes to an address that was
//! looked at, never to a name that is resolved once more. Time and size of an answer are bounded.

pub mod address;
pub mod event_stream;
mod resolver;
mod target;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
pub use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
pub use reqwest::{Method, StatusCode};

pub use resolver::{Lookup, LookupFuture, SystemLookup};
pub use target::{Guard, Refusal, Target};

use resolver::GuardedResolver;

/// A client that reaches public addresses only; clones share its connections.
#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    guard: Guard,
}

/// A call to make. Has no `Debug`: headers hold secrets, and a URL may hold somebody's number.
pub struct Request {
    pub method: Method,
    pub target: Target,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    /// For everything together, from the name's look-up to the last byte of the answer.
    pub timeout: Duration,
    /// Bytes of the answer's body.
    pub max_answer: usize,
}

/// An answer, read whole. A redirect is an answer like any other.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body is still to come.
pub struct OpenResponse(reqwest::Response);

/// Why there is no answer. No message quotes the URL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target is not one that we call; trying again will not help.
    #[error("the target is refused: {0}")]
    Refused(#[from] Refusal),
    #[error("no answer in time")]
    Timeout,
    #[error("no connection: {0}")]
    Connect(String),
    #[error("the answer has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the exchange broke off: {0}")]
    Broken(String),
    /// Not of a call, but of [`Client::new`].
    #[error("no HTTP client: {0}")]
    Setup(String),
}

/// To connect; a host that takes longer is as good as down.
const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection stays open so long. Its address was vetted when it was opened.
const IDLE: Duration = Duration::from_secs(30);

impl Client {
    /// A client that asks the system for addresses.
    ///
    /// # Errors
    /// When the system has no root certificates.
    pub fn new(guard: Guard) -> Result<Self, Error> {
        Self::with_lookup(guard, Arc::new(SystemLookup))
    }

    /// A client that asks `lookup` for addresses, and trusts it no more than the system's.
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
            .map_err(|error| Error::Setup(innermost(&error)))?;
        Ok(Self { inner, guard })
    }

    #[must_use]
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// Makes a call and reads its answer, whatever the status.
    ///
    /// # Errors
    /// When the target is refused, nobody answers in time, or the answer is too large.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let limit = request.max_answer;
        let mut answer = self.begin(request).await?;
        let announced = answer.content_length().and_then(|it| usize::try_from(it).ok());
        if announced.is_some_and(|it| it > limit) {
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

    /// Makes a call and reads the beginning of its answer, as far as `max_answer`; the rest is left unread.
    ///
    /// # Errors
    /// When the target is refused, or nobody answers in time.
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

    /// Makes a call whose answer is read as it comes: `timeout` bounds all of it, `max_answer` nothing.
    ///
    /// # Errors
    /// When the target is refused, or nobody answers in time.
    pub async fn open(&self, request: Request) -> Result<OpenResponse, Error> {
        self.begin(request).await.map(OpenResponse)
    }

    async fn begin(&self, request: Request) -> Result<reqwest::Response, Error> {
        let Request { method, target, headers, body, timeout, max_answer: _ } = request;
        // An address in the URL never comes to the resolver; and the target may be of a laxer guard.
        self.guard.examine(target.url())?;
        let mut call = self.inner.request(method, target.into_url()).headers(headers).timeout(timeout);
        if let Some(body) = body {
            call = call.body(body);
        }
        call.send().await.map_err(|error| Error::of(&error))
    }
}

impl OpenResponse {
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// The next bytes of the body; none at its end.
    ///
    /// # Errors
    /// When the exchange broke off, or its time is over.
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

/// The last cause: what the system said. The outer ones quote the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if cause.is::<reqwest::Error>() { "unknown".to_owned() } else { cause.to_string() }
}
