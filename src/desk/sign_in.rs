//! Signing in, signing out, and changing one's own password.

use askama::Template as _;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;
use tracing::info;

use super::Desk;
use super::client_address::ClientAddress;
use super::device::Device;
use super::error::DeskError;
use super::form::{NoFields, SignedForm};
use super::pages::{AccountPage, PageFrame, SignInPage};
use super::password;
use super::session::{self, Session};
use crate::domain::review::Reviewer;
use crate::store::audit_log::AuditAction;

#[derive(Deserialize)]
pub(super) struct SignInQuery {
    #[serde(default)]
    next: String,
    /// Present when a page asked for a session and there was none.
    ended: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SignInForm {
    login: String,
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct PasswordForm {
    current: String,
    new: String,
    again: String,
}

pub(super) async fn show(Query(query): Query<SignInQuery>) -> Result<Html<String>, DeskError> {
    let notice = query.ended.map(|_| "Please sign in. Your session has ended, or you have not signed in yet.");
    page("", &query.next, None, notice)
}

pub(super) async fn sign_in(
    State(desk): State<Desk>,
    ClientAddress(address): ClientAddress,
    jar: CookieJar,
    Form(form): Form<SignInForm>,
) -> Result<Response, DeskError> {
    let store = &desk.0.store;
    let login = form.login.trim().to_lowercase();
    // Held from before the lock is read until the failure is counted. So many guesses at the same time count like
    // guesses one after the other.
    let device = Device::find(&desk, &jar, &login);
    let device_id = device.as_ref().map(Device::id);
    let turn = match device_id {
        Some(id) => desk.0.password_turns.of_known(id).await?,
        None => desk.0.password_turns.of_stranger(address).await?,
    };
    let known = if login.contains('\0') { None } else { store.find_reviewer(&login, device_id).await? };
    let known = known.filter(|known| !known.is_locked);
    let hash = known.as_ref().map(|known| known.password_hash.clone());
    let (is_right, turn) = turn.run(move || password::verify(&form.password, hash.as_deref())).await?;
    if let Some(known) = known {
        let (token, cookie) = session::begin(desk.0.is_secure);
        let hmac = session::hmac(&desk.0.pepper, &token);
        if is_right && store.insert_session(known.reviewer.id, &known.password_hash, &hmac, device_id).await? {
            store.record(&known.reviewer, AuditAction::SignedIn).await?;
            info!(reviewer = %known.reviewer.id.0, "signed in");
            let device = device.unwrap_or_else(Device::new).cookie(&desk, &login);
            return Ok((jar.add(cookie).add(device), Redirect::to(within_desk(&form.next))).into_response());
        }
        if !is_right {
            count_failure(&desk, &known.reviewer, device_id).await?;
        }
    }
    drop(turn);
    // The same text in every case. It must not reveal whether the login exists or is locked.
    let why = "The login or the password is wrong. After several wrong passwords you must wait 15 minutes.";
    let page = page(&form.login, &form.next, Some(why), None)?;
    Ok((StatusCode::UNAUTHORIZED, page).into_response())
}

async fn count_failure(desk: &Desk, reviewer: &Reviewer, device: Option<&[u8]>) -> Result<(), DeskError> {
    if desk.0.store.count_failure(reviewer.id, device).await? {
        desk.0.store.record(reviewer, AuditAction::LockedOut).await?;
        info!(reviewer = %reviewer.id.0, "locked out after too many wrong passwords");
    }
    Ok(())
}

pub(super) async fn sign_out(
    State(desk): State<Desk>,
    jar: CookieJar,
    form: SignedForm<NoFields>,
) -> Result<(CookieJar, Redirect), DeskError> {
    desk.0.store.delete_session(&form.session.hmac()).await?;
    desk.0.store.record(form.session.reviewer(), AuditAction::SignedOut).await?;
    Ok((jar.add(session::end(desk.0.is_secure)), Redirect::to("/desk/sign-in")))
}

pub(super) async fn account(session: Session) -> Result<Html<String>, DeskError> {
    account_page(&session, None, None)
}

pub(super) async fn change_password(
    State(desk): State<Desk>,
    jar: CookieJar,
    SignedForm { session, fields, .. }: SignedForm<PasswordForm>,
) -> Result<Response, DeskError> {
    let refuse =
        |why: &str| Ok((StatusCode::UNPROCESSABLE_ENTITY, account_page(&session, Some(why), None)?).into_response());
    let login = session.reviewer().login.clone();
    let device = Device::find(&desk, &jar, &login);
    let device_id = device.as_ref().map(Device::id);
    let turn = desk.0.password_turns.of_known(&session.hmac()).await?;
    let known = desk.0.store.find_reviewer(&login, device_id).await?.ok_or(DeskError::SignedOut)?;
    let hash = known.password_hash.clone();
    let (is_right, turn) = turn.run(move || password::verify(&fields.current, Some(&hash))).await?;
    if known.is_locked || !is_right {
        if !known.is_locked {
            count_failure(&desk, &known.reviewer, device_id).await?;
        }
        return refuse("The current password is wrong. After several wrong passwords you must wait 15 minutes.");
    }
    if fields.new != fields.again {
        return refuse("The two new passwords are not the same. Type the new password again.");
    }
    let hashed = match turn.run(move || password::hash(&fields.new)).await?.0 {
        Ok(hashed) => hashed,
        Err(fault) => return refuse(&format!("{fault}.")),
    };
    desk.0.store.set_password(&login, &hashed, Some(&session.hmac())).await?;
    desk.0.store.record(session.reviewer(), AuditAction::PasswordChanged).await?;
    let notice = "Your password is changed. You are signed out everywhere else.";
    Ok(account_page(&session, None, Some(notice))?.into_response())
}

fn page(login: &str, next: &str, error: Option<&str>, notice: Option<&str>) -> Result<Html<String>, DeskError> {
    let frame = PageFrame::signed_out("Sign in");
    let next = within_desk(next).to_owned();
    let (error, notice) = (error.map(str::to_owned), notice.map(str::to_owned));
    Ok(Html(SignInPage { frame, login: login.to_owned(), next, error, notice }.render()?))
}

fn account_page(session: &Session, error: Option<&str>, notice: Option<&str>) -> Result<Html<String>, DeskError> {
    let login = session.reviewer().login.clone();
    let (error, notice) = (error.map(str::to_owned), notice.map(str::to_owned));
    Ok(Html(AccountPage { frame: session.frame("Your account", "account"), login, error, notice }.render()?))
}

/// Where to go after signing in. Anything but a page of the desk becomes the queue, so that a link to the sign-in page
/// cannot lead to another site.
fn within_desk(next: &str) -> &str {
    let is_plain = |letter: char| letter.is_ascii_graphic() && letter != '\\';
    let is_page = next.strip_prefix("/desk/").is_some_and(|rest| !rest.starts_with("sign-") && !next.contains("//"));
    if is_page && !next.contains("..") && next.chars().all(is_plain) { next } else { "/desk/queue" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_never_leads_away_from_the_desk() {
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
