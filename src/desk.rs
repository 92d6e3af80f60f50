//! The reviewers' desk: web pages on which people decide the cases that came out as In Review. The pages work as plain
//! forms; a small script makes them faster and keeps them up to date.

mod assets;
mod case;
mod client_address;
mod csrf;
mod dashboard;
mod decide;
mod device;
mod error;
mod form;
mod history;
mod list;
mod live;
mod measures;
mod pages;
pub mod password;
mod password_turns;
mod queue;
mod session;
mod sign_in;
mod words;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Router, middleware};
use ipnet::IpNet;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::domain::ids::ImageId;
use crate::domain::image::Variant;
use crate::domain::pepper::Pepper;
use crate::domain::rates::Rates;
use crate::images::Images;
use crate::lifecycle::Lifecycle;
use crate::store::{self, Store};
use password_turns::PasswordTurns;

/// Bytes in a form, at most. The longest note, percent-encoded, needs most of it.
const MAX_FORM_BYTES: usize = 64 << 10;
/// The same for the form of a sign-in, which anybody may send: a login, a password and a path, percent-encoded.
const MAX_SIGN_IN_BYTES: usize = 8 << 10;
/// Time between two searches for decisions that can no longer be undone.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
/// Decisions that one search makes final.
const SETTLE_BATCH: i64 = 100;

/// What the desk's handlers need. Clones share it.
#[derive(Clone)]
pub struct Desk(Arc<DeskState>);

struct DeskState {
    store: Store,
    images: Images,
    pepper: Pepper,
    rates: Option<Rates>,
    /// Clients reach us over TLS only, so cookies are `Secure`.
    is_secure: bool,
    /// Turns to check a password.
    password_turns: PasswordTurns,
    /// Proxies whose `X-Forwarded-For` is believed.
    trusted_proxies: Vec<IpNet>,
    live: live::LiveUpdates,
    figures: dashboard::FigureCache,
}

impl Desk {
    /// Starts two tasks: one makes decisions final, the other sends changes to open pages. And a thread that checks
    /// passwords. `trusted_proxies` are those whose `X-Forwarded-For` is believed.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        store: Store,
        images: Images,
        pepper: Pepper,
        rates: Option<Rates>,
        is_secure: bool,
        trusted_proxies: Vec<IpNet>,
        life: &Lifecycle,
    ) -> std::io::Result<Self> {
        let updates = live::LiveUpdates::start(store.clone(), life);
        life.spawn("desk's decisions", settle(store.clone(), life.clone()));
        let state = DeskState {
            store,
            images,
            pepper,
            rates,
            is_secure,
            password_turns: PasswordTurns::start()?,
            trusted_proxies,
            live: updates,
            figures: dashboard::FigureCache::new(life),
        };
        Ok(Self(Arc::new(state)))
    }

    /// All routes below `/desk`.
    pub fn routes<S>(self) -> Router<S> {
        let sign_in_limit = DefaultBodyLimit::max(MAX_SIGN_IN_BYTES);
        let pages = Router::new()
            .route("/desk", get(|| async { Redirect::to("/desk/queue") }))
            .route("/desk/sign-in", get(sign_in::show).post(sign_in::sign_in).layer(sign_in_limit))
            .route("/desk/sign-out", post(sign_in::sign_out))
            .route("/desk/account", get(sign_in::account).post(sign_in::change_password))
            .route("/desk/queue", get(queue::show))
            .route("/desk/next", post(queue::next))
            .route("/desk/cases/{id}", get(case::show))
            .route("/desk/cases/{id}/images", get(case::images))
            .route("/desk/cases/{id}/take", post(queue::take))
            .route("/desk/cases/{id}/hand-back", post(queue::hand_back))
            .route("/desk/cases/{id}/assign", post(queue::assign))
            .route("/desk/cases/{id}/heartbeat", post(queue::heartbeat))
            .route("/desk/cases/{id}/opened", post(queue::opened))
            .route("/desk/cases/{id}/decision", post(decide::decide))
            .route("/desk/cases/{id}/undo", post(decide::undo))
            .route("/desk/cases/{id}/correction", post(decide::correct))
            .route("/desk/history", get(history::show))
            .route("/desk/dashboard", get(dashboard::show))
            .route("/desk/live", get(live::listen))
            .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
            .layer(middleware::from_fn_with_state(self.clone(), error::finish));
        pages.merge(assets::routes()).with_state(self)
    }

    /// Records in the audit log that a reviewer views a picture. Does nothing if the request has no reviewer's session.
    ///
    /// # Errors
    /// When the entry cannot be written. Then the picture must not be sent.
    pub async fn record_view(&self, headers: &HeaderMap, image: ImageId, variant: Variant) -> Result<(), store::Error> {
        let Some(token) = session::token(headers, self.0.is_secure) else { return Ok(()) };
        let hmac = session::hmac(&self.0.pepper, &token);
        match self.0.store.find_session(&hmac, false).await? {
            Some(signed_in) => self.0.store.record_view(&signed_in.reviewer, image, variant).await,
            None => Ok(()),
        }
    }
}

async fn settle(store: Store, life: Lifecycle) {
    let mut ticks = tokio::time::interval(SETTLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = life.stopping().cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = store.settle_decisions(SETTLE_BATCH).await {
            warn!(%error, "some decisions that are due could not be made final");
        }
    }
}
