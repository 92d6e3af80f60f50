//! The reviewers' desk: pages by which people decide on cases in doubt, and what keeps them live. Its own small script makes
//! them faster; without it they work as forms.

mod assets;
mod case;
mod dashboard;
mod decide;
mod deed;
mod error;
mod history;
mod list;
mod live;
mod measures;
mod pages;
pub mod password;
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
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::domain::ids::ImageId;
use crate::domain::image::Variant;
use crate::domain::pepper::Pepper;
use crate::domain::rates::Rates;
use crate::images::Images;
use crate::lifecycle::Lifecycle;
use crate::store::{self, Store};

/// Bytes of a form, at most: the longest note, percent-encoded, and some.
const LARGEST_FORM: usize = 64 << 10;
/// Passwords that wait to be checked: about half a second's worth.
const MOST_WAITING: usize = 40;
/// Between looks for decisions whose seconds are over.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
/// Decisions that one look settles.
const BATCH: i64 = 100;

/// What the desk's handlers need; clones share it.
#[derive(Clone)]
pub struct Desk(Arc<Shared>);

struct Shared {
    store: Store,
    images: Images,
    pepper: Pepper,
    rates: Option<Rates>,
    /// Clients reach us over TLS alone.
    is_secure: bool,
    /// Passwords that are checked at once: each takes a core, and 19 MiB.
    checking: Arc<Semaphore>,
    /// Who may wait for that.
    waiting: Semaphore,
    updates: live::Live,
    figures: dashboard::Kept,
}

impl Desk {
    /// Starts what settles decisions and what tells pages of changes.
    #[must_use]
    pub fn start(
        store: Store,
        images: Images,
        pepper: Pepper,
        rates: Option<Rates>,
        is_secure: bool,
        life: &Lifecycle,
    ) -> Self {
        let updates = live::Live::start(store.clone(), life);
        life.spawn("desk's decisions", settle(store.clone(), life.clone()));
        let (checking, waiting) = (Arc::new(Semaphore::new(2)), Semaphore::new(MOST_WAITING));
        let figures = dashboard::Kept::new(life);
        Self(Arc::new(Shared { store, images, pepper, rates, is_secure, checking, waiting, updates, figures }))
    }

    /// Every path below `/desk`.
    pub fn routes<S>(self) -> Router<S> {
        let pages = Router::new()
            .route("/desk", get(|| async { Redirect::to("/desk/queue") }))
            .route("/desk/sign-in", get(sign_in::show).post(sign_in::sign_in))
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
            .layer(DefaultBodyLimit::max(LARGEST_FORM))
            .layer(middleware::from_fn_with_state(self.clone(), error::finish));
        pages.merge(assets::routes()).with_state(self)
    }

    /// Records that a picture is sent to a reviewer, when one of ours asks for it.
    ///
    /// # Errors
    /// When it cannot be recorded: then it must not be sent.
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
        if let Err(error) = store.settle_decisions(BATCH).await {
            warn!(%error, "not every decision was settled that is due");
        }
    }
}
