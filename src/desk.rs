//! The reviewers' desk: pages by which people decide on cases in doubt, and what keeps them live. Its own small script makes
//! them faster; without it they work as forms.

mod assets;
mod case;
mod change;
mod dashboard;
mod decide;
mod error;
mod history;
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
use crate::store::Store;
use crate::store::signals::Signal;

/// Bytes of a form, at most: the longest note, percent-encoded, and some.
const LARGEST_FORM: usize = 64 << 10;
/// Between looks for decisions whose seconds are over.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
/// Decisions that one look settles.
const BATCH: u64 = 100;

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
        let (checking, figures) = (Arc::new(Semaphore::new(2)), dashboard::Kept::default());
        Self(Arc::new(Shared { store, images, pepper, rates, is_secure, checking, updates, figures }))
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
    pub async fn record_view(&self, headers: &HeaderMap, image: ImageId, variant: Variant) {
        let Some(token) = session::token(headers) else { return };
        let store = &self.0.store;
        let recorded = async {
            match store.find_session(&session::hmac(&self.0.pepper, &token), false).await? {
                Some(signed_in) => store.record_view(&signed_in.reviewer, image, variant).await.map(drop),
                None => Ok(()),
            }
        };
        if let Err(error) = recorded.await {
            warn!(%error, "a reviewer's view could not be recorded");
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
        loop {
            match store.settle_decisions(BATCH).await {
                Ok(settled) if settled == BATCH => {}
                Ok(_) => break,
                Err(error) => {
                    warn!(%error, "not every decision was settled that is due");
                    break;
                }
            }
        }
    }
}

/// What pages learn of at once.
const SIGNAL: Signal = Signal::Case;
