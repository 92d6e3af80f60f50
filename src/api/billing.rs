//! `GET /v1/billing/wallet` and `GET /v1/billing/statement`: the prepaid balance of an organisation and its movements.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
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
use crate::domain::time::time;
use crate::store::wallets::{Movement, Period};

/// Movements on a page, unless the query says otherwise.
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

/// A page of wallet movements, newest first.
#[derive(Serialize, ToSchema)]
struct Statement {
    #[schema(example = "EUR")]
    currency: String,
    entries: Vec<WalletMovement>,
    links: StatementLinks,
}

#[derive(Serialize, ToSchema)]
struct StatementLinks {
    /// The page of older movements; null on the last page.
    next: Option<String>,
}

/// A debit or credit of the wallet.
#[derive(Serialize, ToSchema)]
struct WalletMovement {
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
    /// The job that a debit paid for.
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
    /// Where the page begins: take it from `links.next` of the previous page.
    cursor: Option<String>,
    /// Movements on a page. Default: 50.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<String>,
}

/// Reads the organisation's balance.
#[utoipa::path(get, path = "/v1/billing/wallet", operation_id = "get_wallet", tag = "billing", responses(
    (status = 200, body = Wallet),
    (status = 403, body = Problem, content_type = "application/problem+json",
        description = "The key lacks the scope, or is a test key.")))]
async fn wallet(State(context): State<ApiContext>, caller: Caller) -> Result<Json<Wallet>, ApiError> {
    check(&caller)?;
    let balance = context.store.find_wallet(caller.account.tenant_id).await?;
    Ok(Json(Wallet { currency: balance.currency.to_string(), balance: balance.amount(), balance_minor: balance.minor }))
}

/// Lists the organisation's wallet movements, newest first. `Accept: text/csv` gets CSV, with the next page in `Link`.
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
        ApiError::of_field(
            "invalid_query",
            "query",
            "the query takes only from, to, cursor and limit, each at most once",
        )
    })?;
    let period = Period { from: read_time(query.from.as_deref(), "from")?, to: read_time(query.to.as_deref(), "to")? };
    let limit = read_limit(query.limit.as_deref())?;
    let wrong_cursor =
        || ApiError::of_field("invalid_cursor", "cursor", "cursor must be the one in links.next of the previous page");
    let after = query.cursor.as_deref().map(|text| text.parse::<Uuid>().map_err(|_| wrong_cursor())).transpose()?;

    let (store, tenant) = (context.store.for_reads(), caller.account.tenant_id);
    let currency = store.find_wallet(tenant).await?.currency;
    // One more than asked for shows whether there is a next page.
    let movements = store.list_movements(tenant, period, after, i64::from(limit) + 1).await?;
    let mut movements = movements.ok_or_else(wrong_cursor)?;
    let full = movements.len() > limit as usize;
    movements.truncate(limit as usize);
    let next = movements.last().filter(|_| full).map(|last| query.next(last.id));
    let entries = movements.into_iter().map(|movement| render(movement, currency)).collect();
    let statement = Statement { currency: currency.to_string(), entries, links: StatementLinks { next } };
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
    /// The path of the page after `last`, with the same filters.
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

/// Only live keys have a wallet: jobs of test keys are free.
fn check(caller: &Caller) -> Result<(), ApiError> {
    caller.may(Scope::Billing)?;
    if caller.account.sandbox {
        let detail = "this is a test key, whose jobs are free: use a live key to read the wallet";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "live_key_required", detail));
    }
    Ok(())
}

fn read_time(text: Option<&str>, field: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    // Postgres does not take every year that chrono does.
    let is_storable = |time: &DateTime<Utc>| (0..=9999).contains(&chrono::Datelike::year(time));
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).filter(is_storable);
    let detail = format!("{field} must be a time such as 2026-01-31T00:00:00Z");
    time.map(Some).ok_or_else(|| ApiError::of_field("invalid_time", field, &detail))
}

fn read_limit(text: Option<&str>) -> Result<u32, ApiError> {
    let limit = text.map_or(Some(PAGE), |text| text.parse().ok());
    let detail = format!("limit must be a whole number from 1 to {MAX_PAGE}");
    limit
        .filter(|limit| (1..=MAX_PAGE).contains(limit))
        .ok_or_else(|| ApiError::of_field("invalid_limit", "limit", &detail))
}

fn render(movement: Movement, currency: Currency) -> WalletMovement {
    let amount = |minor| Money::new(minor, currency).amount();
    WalletMovement {
        id: movement.id,
        created_at: time(movement.created_at),
        kind: movement.kind,
        amount: amount(movement.amount_minor),
        amount_minor: movement.amount_minor,
        balance_after: amount(movement.balance_after),
        balance_after_minor: movement.balance_after,
        job_id: movement.job_id.map(|id| id.0),
        note: movement.note,
    }
}

/// Whether `Accept` names CSV before anything that JSON satisfies.
fn wants_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types =
        accepted.flat_map(|list| list.split(',')).map(|range| range.split(';').next().unwrap_or_default().trim());
    types.find(|range| ["text/csv", "text/*", "application/json", "application/*", "*/*"].contains(range))
        == Some("text/csv")
}

fn csv(statement: &Statement) -> String {
    let mut lines = csv::Writer::from_writer(Vec::new());
    let heading =
        ["id", "created_at", "kind", "amount", "balance_after", "currency", "job_id", "note"].map(ToOwned::to_owned);
    let rows = statement.entries.iter().map(|entry| {
        let (currency, job) = (statement.currency.clone(), entry.job_id.map(|id| id.to_string()).unwrap_or_default());
        [
            entry.id.to_string(),
            entry.created_at.clone(),
            entry.kind.clone(),
            entry.amount.clone(),
            entry.balance_after.clone(),
            currency,
            job,
            entry.note.clone(),
        ]
    });
    for row in std::iter::once(heading).chain(rows) {
        // This cannot fail: it writes into memory, and every row has as many fields as the heading.
        let _ = lines.write_record(row);
    }
    lines.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
