//! Signing in and out, and a reviewer's own password.

use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tracing::info;

use super::Desk;
use super::deed::{Deed, Nothing};
use super::error::DeskError;
use super::pages::{AccountPage, Frame, SignInPage};
use super::password;
use super::session::{self, Session};
use crate::domain::review::Reviewer;
use crate::store::audit_log::AuditAction;

/// For a turn to check a password.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct Arriving {
    #[serde(default)]
    next: String,
    /// Sent here because a session was over.
    ended: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    login: String,
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct NewPassword {
    current: String,
    new: String,
    again: String,
}

pub(super) async fn show(Query(arriving): Query<Arriving>) -> Result<Html<String>, DeskError> {
    let notice = arriving.ended.map(|_| "Sign in to go on: your session has ended, or had not begun.".to_owned());
    page("", &arriving.next, None, notice)
}

pub(super) async fn sign_in(
    State(desk): State<Desk>,
    jar: CookieJar,
    Form(form): Form<SignIn>,
) -> Result<Response, DeskError> {
    let store = &desk.0.store;
    let login = form.login.trim().to_lowercase();
    // From before the look at the lock to behind the count: who guesses in many requests at once gets no more tries.
    let turn = turn(&desk).await?;
    let known = if login.contains('\0') { None } else { store.find_reviewer(&login).await? };
    let known = known.filter(|it| !it.is_locked);
    let hash = known.as_ref().map(|it| it.password_hash.clone());
    let (is_right, turn) = in_turn(turn, move || password::verify(&form.password, hash.as_deref())).await?;
    if let Some(known) = known {
        let (token, cookie) = session::begin(desk.0.is_secure);
        let hmac = session::hmac(&desk.0.pepper, &token);
        if is_right && store.insert_session(known.reviewer.id, &known.password_hash, &hmac).await? {
            store.record(&known.reviewer, AuditAction::SignedIn).await?;
            info!(reviewer = %known.reviewer.id.0, "signed in");
            return Ok((jar.add(cookie), Redirect::to(within_desk(&form.next))).into_response());
        }
        if !is_right {
            count_failure(&desk, &known.reviewer).await?;
        }
    }
    drop(turn);
    // The same words whether the login, the password or the time is wrong.
    let why =
        "This login and password do not belong together, or there were too many wrong passwords: then wait 15 minutes.";
    let page = page(&form.login, &form.next, Some(why.to_owned()), None)?;
    Ok((StatusCode::UNAUTHORIZED, page).into_response())
}

async fn count_failure(desk: &Desk, reviewer: &Reviewer) -> Result<(), DeskError> {
    if desk.0.store.count_failure(reviewer.id).await? {
        desk.0.store.record(reviewer, AuditAction::LockedOut).await?;
        info!(reviewer = %reviewer.id.0, "locked out after wrong passwords");
    }
    Ok(())
}

pub(super) async fn sign_out(
    State(desk): State<Desk>,
    jar: CookieJar,
    deed: Deed<Nothing>,
) -> Result<(CookieJar, Redirect), DeskError> {
    desk.0.store.delete_session(&deed.session.hmac()).await?;
    desk.0.store.record(deed.session.reviewer(), AuditAction::SignedOut).await?;
    Ok((jar.add(session::end(desk.0.is_secure)), Redirect::to("/desk/sign-in")))
}

pub(super) async fn account(session: Session) -> Result<Html<String>, DeskError> {
    account_page(&session, None, None)
}

pub(super) async fn change_password(
    State(desk): State<Desk>,
    Deed { session, form, .. }: Deed<NewPassword>,
) -> Result<Response, DeskError> {
    let refuse =
        |why: String| Ok((StatusCode::UNPROCESSABLE_ENTITY, account_page(&session, Some(why), None)?).into_response());
    let login = session.reviewer().login.clone();
    let turn = turn(&desk).await?;
    let known = desk.0.store.find_reviewer(&login).await?.ok_or(DeskError::SignedOut)?;
    let hash = known.password_hash.clone();
    let (is_right, turn) = in_turn(turn, move || password::verify(&form.current, Some(&hash))).await?;
    if known.is_locked || !is_right {
        if !known.is_locked {
            count_failure(&desk, &known.reviewer).await?;
        }
        return refuse("The current password is wrong, or was wrong too often: then wait 15 minutes.".to_owned());
    }
    if form.new != form.again {
        return refuse("The new password was typed differently the second time.".to_owned());
    }
    let hashed = match in_turn(turn, move || password::hash(&form.new)).await?.0 {
        Ok(hashed) => hashed,
        Err(fault) => return refuse(format!("{fault}.")),
    };
    desk.0.store.set_password(&login, &hashed, Some(&session.hmac())).await?;
    desk.0.store.record(session.reviewer(), AuditAction::PasswordChanged).await?;
    let notice = "The password is changed. Wherever else you were signed in, you are not any more.".to_owned();
    Ok(account_page(&session, None, Some(notice))?.into_response())
}

/// The right to check or make a password. Few at once, whoever asks: each takes a core and memory; and not many wait.
async fn turn(desk: &Desk) -> Result<OwnedSemaphorePermit, DeskError> {
    let _waiting = desk.0.waiting.try_acquire().map_err(|_| DeskError::Busy)?;
    let turn = tokio::time::timeout(PATIENCE, Arc::clone(&desk.0.checking).acquire_owned());
    turn.await.map_err(|_| DeskError::Busy)?.map_err(|_| DeskError::Busy)
}

/// Held to the end, also where nobody waits any more.
async fn in_turn<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), DeskError> {
    tokio::task::spawn_blocking(move || (work(), turn)).await.map_err(|_| DeskError::Unavailable)
}

fn page(login: &str, next: &str, error: Option<String>, notice: Option<String>) -> Result<Html<String>, DeskError> {
    let frame = Frame::of_nobody("Sign in");
    let next = within_desk(next).to_owned();
    Ok(Html(SignInPage { frame, login: login.to_owned(), next, error, notice }.render()?))
}

fn account_page(session: &Session, error: Option<String>, notice: Option<String>) -> Result<Html<String>, DeskError> {
    let login = session.reviewer().login.clone();
    Ok(Html(AccountPage { frame: session.frame("Your account", "account"), login, error, notice }.render()?))
}

/// Only to a page of the desk: nobody is sent elsewhere after signing in.
fn within_desk(next: &str) -> &str {
    let is_plain = |it: char| it.is_ascii_graphic() && it != '\\';
    let is_page = next.strip_prefix("/desk/").is_some_and(|rest| !rest.starts_with("sign-") && !next.contains("//"));
    if is_page && !next.contains("..") && next.chars().all(is_plain) { next } else { "/desk/queue" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away_from_the_desk() {
        for good in ["/desk/cases/019ab", "/desk/queue?risk=BLURRED&after=1", "/desk/history"] {
            assert_eq!(within_desk(good), good);
        }
        for bad in [
            "",
            "https://evil.example/desk/queue",
            "//evil.example/desk/",
            "/desk/../docs",
            "/desk//evil.example",
            "/desk/\\evil.example",
            "/desk/sign-in",
            "/desk/a\r\nset-cookie: x",
            "/docs",
            "javascript:alert(1)",
        ] {
            assert_eq!(within_desk(bad), "/desk/queue", "{bad}");
        }
    }
}
