//! `GET /v1/billing/wallet` and `GET /v1/billing/statement`: what an organisation has paid in and used up.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::ApiContext;
use super::auth::Caller;
use super::error::{ApiError, Problem};
use crate::domain::money::{Currency, Money};
use crate::domain::tenant::Scope;
use crate::store::wallets::{Movement, Period};

/// Movements of a page that names no limit.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 500;

pub(super) fn routes() -> OpenApiRouter<ApiContext> {
    OpenApiRouter::new().routes(routes!(wallet)).routes(routes!(statement))
}

/// A prepaid balance.
#[derive(Serialize, ToSchema)]
struct Wallet {
    /// ISO 4217; XXX before the first movement.
    #[schema(example = "EUR")]
    currency: String,
    /// In major units; below zero when overdrawn.
    #[schema(example = "12.50")]
    balance: String,
    #[schema(example = 1250)]
    balance_minor: i64,
}

/// A page of movements, newest first.
#[derive(Serialize, ToSchema)]
struct Statement {
    #[schema(example = "EUR")]
    currency: String,
    entries: Vec<Entry>,
    links: PageLinks,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StatementLinks)]
struct PageLinks {
    /// The page of older movements; null on the last page.
    next: Option<String>,
}

/// A movement in the wallet.
#[derive(Serialize, ToSchema)]
struct Entry {
    id: Uuid,
    created_at: String,
    /// `debit` or `credit`.
    #[schema(example = "debit")]
    kind: String,
    #[schema(example = "0.50")]
    amount: String,
    amount_minor: i64,
    balance_after: String,
    balance_after_minor: i64,
    /// What was paid for, of a debit.
    job_id: Option<Uuid>,
    note: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatementQuery {
    /// Movements at or after this time (RFC 3339).
    #[param(format = DateTime)]
    from: Option<String>,
    /// Movements before this time (RFC 3339).
    #[param(format = DateTime)]
    to: Option<String>,
    /// Where the page before ended: take it from that page's `links.next`.
    cursor: Option<String>,
    /// Movements of a page, 50 by default.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<String>,
}

/// The organisation's balance.
#[utoipa::path(get, path = "/v1/billing/wallet", operation_id = "get_wallet", tag = "billing", responses(
    (status = 200, body = Wallet),
    (status = 403, body = Problem, content_type = "application/problem+json",
        description = "The key lacks the scope, or is a test key.")))]
async fn wallet(State(context): State<ApiContext>, caller: Caller) -> Result<Json<Wallet>, ApiError> {
    check(&caller)?;
    let balance = context.store.find_wallet(caller.account.tenant_id).await?;
    Ok(Json(Wallet { currency: balance.currency.to_string(), balance: balance.amount(), balance_minor: balance.minor }))
}

/// The organisation's movements, newest first: as JSON, or as CSV by `Accept: text/csv`; then `Link` tells the next page.
#[utoipa::path(get, path = "/v1/billing/statement", operation_id = "get_statement", tag = "billing",
    params(StatementQuery),
    responses(
        (status = 200, description = "A page.", content((Statement = "application/json"), (String = "text/csv"))),
        (status = 403, body = Problem, content_type = "application/problem+json",
            description = "The key lacks the scope, or is a test key.")))]
async fn statement(
    State(context): State<ApiContext>,
    caller: Caller,
    headers: HeaderMap,
    query: Result<Query<StatementQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    check(&caller)?;
    let Query(query) = query.map_err(|_| {
        ApiError::of_field("invalid_query", "query", "the query takes from, to, cursor and limit, each once")
    })?;
    let period = Period { from: read_time(query.from.as_deref(), "from")?, to: read_time(query.to.as_deref(), "to")? };
    let limit = read_limit(query.limit.as_deref())?;
    let wrong_cursor =
        || ApiError::of_field("invalid_cursor", "cursor", "cursor must be taken from links.next of a page");
    let after = query.cursor.as_deref().map(|it| it.parse::<Uuid>().map_err(|_| wrong_cursor())).transpose()?;

    let (store, tenant) = (&context.store, caller.account.tenant_id);
    let currency = store.find_wallet(tenant).await?.currency;
    // One more than asked for, to see whether there is a next page.
    let movements = store.list_movements(tenant, period, after, i64::from(limit) + 1).await?;
    let mut movements = movements.ok_or_else(wrong_cursor)?;
    let full = movements.len() > limit as usize;
    movements.truncate(limit as usize);
    let next = movements.last().filter(|_| full).map(|last| query.next(last.id));
    let entries = movements.into_iter().map(|it| entry(it, currency)).collect();
    let statement = Statement { currency: currency.to_string(), entries, links: PageLinks { next } };
    if !wants_csv(&headers) {
        return Ok(Json(statement).into_response());
    }
    let mut response = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&statement)).into_response();
    let link = statement.links.next.and_then(|next| format!("<{next}>; rel=\"next\"").parse().ok());
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

impl StatementQuery {
    /// The same query from behind `last` on.
    fn next(&self, last: Uuid) -> String {
        let mut query = Serializer::new(String::new());
        for (name, value) in [("from", &self.from), ("to", &self.to), ("limit", &self.limit)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        format!("/v1/billing/statement?{}", query.append_pair("cursor", &last.to_string()).finish())
    }
}

/// Money is of live keys: what a test key does is free, and it does not see what others paid for.
fn check(caller: &Caller) -> Result<(), ApiError> {
    caller.may(Scope::Billing)?;
    if caller.account.sandbox {
        let detail = "a test key has no wallet, as its jobs are free: use a live key";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "live_key_required", detail));
    }
    Ok(())
}

fn read_time(text: Option<&str>, field: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    // Years beyond these are no times to ask for, and not all of them are known to Postgres.
    let sensible = |it: &DateTime<Utc>| (0..=9999).contains(&chrono::Datelike::year(it));
    let time = DateTime::parse_from_rfc3339(text).ok().map(|it| it.to_utc()).filter(sensible);
    let detail = format!("{field} must be a time such as 2026-01-31T00:00:00Z");
    time.map(Some).ok_or_else(|| ApiError::of_field("invalid_time", field, &detail))
}

fn read_limit(text: Option<&str>) -> Result<u32, ApiError> {
    let limit = text.map_or(Some(PAGE), |it| it.parse().ok());
    let detail = format!("limit must be a whole number from 1 to {MAX_PAGE}");
    limit.filter(|it| (1..=MAX_PAGE).contains(it)).ok_or_else(|| ApiError::of_field("invalid_limit", "limit", &detail))
}

fn entry(movement: Movement, currency: Currency) -> Entry {
    let amount = |minor| Money::new(minor, currency).amount();
    Entry {
        id: movement.id,
        created_at: movement.created_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        kind: movement.kind,
        amount: amount(movement.amount_minor),
        amount_minor: movement.amount_minor,
        balance_after: amount(movement.balance_after),
        balance_after_minor: movement.balance_after,
        job_id: movement.job_id.map(|it| it.0),
        note: movement.note,
    }
}

/// Whether `Accept` names CSV before anything that JSON satisfies.
fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    let mut types = accepted.flat_map(|it| it.split(',')).map(|it| it.split(';').next().unwrap_or_default().trim());
    types.find(|it| ["text/csv", "text/*", "application/json", "application/*", "*/*"].contains(it)) == Some("text/csv")
}

fn csv(statement: &Statement) -> String {
    let mut lines = csv::Writer::from_writer(Vec::new());
    let heading =
        ["id", "created_at", "kind", "amount", "balance_after", "currency", "job_id", "note"].map(ToOwned::to_owned);
    let rows = statement.entries.iter().map(|it| {
        let (currency, job) = (statement.currency.clone(), it.job_id.map(|it| it.to_string()).unwrap_or_default());
        [
            it.id.to_string(),
            it.created_at.clone(),
            it.kind.clone(),
            it.amount.clone(),
            it.balance_after.clone(),
            currency,
            job,
            it.note.clone(),
        ]
    });
    for row in std::iter::once(heading).chain(rows) {
        // Into memory, and every row is as long as the heading: this does not fail.
        let _ = lines.write_record(row);
    }
    lines.into_inner().map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default()
}
