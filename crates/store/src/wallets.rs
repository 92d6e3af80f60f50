//! Wallets and their ledger. A wallet also knows what the jobs under way may cost: triggers on `jobs` keep that sum.
//! A wallet's row is locked before a movement is written. So the movements of one
//! organisation have an order, and each knows the balance after it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, Store, Tx};
use visavis_domain::ids::{JobId, TenantId};
use visavis_domain::money::{Currency, Money};

/// A movement in a wallet.
#[derive(Debug, Clone)]
pub struct Movement {
    pub id: Uuid,
    /// `debit` or `credit`.
    pub kind: String,
    pub amount_minor: i64,
    pub balance_after: i64,
    /// The job that a debit paid for.
    pub job_id: Option<JobId>,
    pub note: String,
    pub created_at: DateTime<Utc>,
}

/// Which movements to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Period {
    /// At this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub to: Option<DateTime<Utc>>,
}

/// What became of a top-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credited {
    /// The new balance.
    Done(Money),
    /// The wallet is kept in this other currency. Nothing was changed.
    OtherCurrency(Currency),
}

impl Store {
    /// The organisation's balance. Before the first movement it is 0 of no currency.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_wallet(&self, tenant_id: TenantId) -> Result<Money, Error> {
        let row = sqlx::query!("SELECT currency, balance FROM wallets WHERE tenant_id = $1", tenant_id.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map_or(Ok(Money::new(0, Currency::NONE)), |row| Ok(Money::new(row.balance, currency(&row.currency)?)))
    }

    /// Tops a wallet up. Creates it if there is none.
    ///
    /// # Errors
    /// When the amount is not above zero, the note is longer than 200 characters, or the database fails.
    pub async fn credit_wallet(&self, tenant_id: TenantId, amount: Money, note: &str) -> Result<Credited, Error> {
        let mut tx = self.begin().await?;
        let before = tx.lock_wallet(tenant_id).await?;
        if before.currency != amount.currency && before.currency != Currency::NONE {
            return Ok(Credited::OtherCurrency(before.currency));
        }
        let balance = sqlx::query_scalar!(
            "UPDATE wallets SET currency = $2, balance = balance + $3 WHERE tenant_id = $1 RETURNING balance",
            tenant_id.0,
            amount.currency.code(),
            amount.minor,
        )
        .fetch_one(&mut *tx.inner)
        .await?;
        tx.insert_movement(tenant_id, None, "credit", amount.minor, balance, note).await?;
        tx.commit().await?;
        Ok(Credited::Done(Money::new(balance, amount.currency)))
    }

    /// A page of the organisation's movements, the newest first, from before the movement `after`. `None` if the
    /// organisation has no such movement.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_movements(
        &self,
        tenant_id: TenantId,
        period: Period,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Option<Vec<Movement>>, Error> {
        let mut before = None;
        if let Some(after) = after {
            let place =
                sqlx::query_scalar!("SELECT seq FROM ledger WHERE tenant_id = $1 AND id = $2", tenant_id.0, after)
                    .fetch_optional(&self.pool)
                    .await?;
            let Some(place) = place else { return Ok(None) };
            before = Some(place);
        }
        let rows = sqlx::query_as!(
            MovementRecord,
            "SELECT id, kind, amount_minor, balance_after, job_id, note, created_at FROM ledger
             WHERE tenant_id = $1 AND ($2::timestamptz IS NULL OR created_at >= $2)
               AND ($3::timestamptz IS NULL OR created_at < $3) AND ($4::bigint IS NULL OR seq < $4)
             ORDER BY seq DESC LIMIT $5",
            tenant_id.0,
            period.from,
            period.to,
            before,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        let movement = |row| {
            let MovementRecord { id, kind, amount_minor, balance_after, job_id, note, created_at } = row;
            Movement { id, kind, amount_minor, balance_after, job_id: job_id.map(JobId), note, created_at }
        };
        Ok(Some(rows.into_iter().map(movement).collect()))
    }
}

impl Tx {
    /// Whether the organisation can pay for one more `id_match` at `price`, besides the jobs that are under way. Until
    /// the commit, other calls for the organisation wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn can_pay(&mut self, tenant_id: TenantId, price: i64) -> Result<bool, Error> {
        self.lock_wallet(tenant_id).await?;
        let free = sqlx::query_scalar!(
            r#"SELECT balance - reserved AS "free!" FROM wallets WHERE tenant_id = $1"#,
            tenant_id.0,
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(free >= price)
    }

    /// Pays for a confirmed job at the price at which it was submitted. A price of 0 writes no movement.
    pub(super) async fn debit_wallet(&mut self, tenant_id: TenantId, job_id: JobId, note: &str) -> Result<(), Error> {
        let price = sqlx::query_scalar!("SELECT price FROM jobs WHERE id = $1", job_id.0)
            .fetch_one(&mut *self.inner)
            .await?
            .unwrap_or(0);
        if price <= 0 {
            return Ok(());
        }
        self.lock_wallet(tenant_id).await?;
        let balance = sqlx::query_scalar!(
            "UPDATE wallets SET balance = balance - $2 WHERE tenant_id = $1 RETURNING balance",
            tenant_id.0,
            price,
        )
        .fetch_one(&mut *self.inner)
        .await?;
        self.insert_movement(tenant_id, Some(job_id), "debit", price, balance, note).await
    }

    /// Locks the wallet until the transaction ends. Creates it if there is none.
    async fn lock_wallet(&mut self, tenant_id: TenantId) -> Result<Money, Error> {
        sqlx::query!("INSERT INTO wallets (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING", tenant_id.0)
            .execute(&mut *self.inner)
            .await?;
        let row = sqlx::query!("SELECT currency, balance FROM wallets WHERE tenant_id = $1 FOR UPDATE", tenant_id.0)
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(Money::new(row.balance, currency(&row.currency)?))
    }

    async fn insert_movement(
        &mut self,
        tenant_id: TenantId,
        job_id: Option<JobId>,
        kind: &str,
        amount: i64,
        balance_after: i64,
        note: &str,
    ) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO ledger (id, tenant_id, job_id, kind, amount_minor, balance_after, note)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            Uuid::now_v7(),
            tenant_id.0,
            job_id.map(|id| id.0),
            kind,
            amount,
            balance_after,
            note,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

struct MovementRecord {
    id: Uuid,
    kind: String,
    amount_minor: i64,
    balance_after: i64,
    job_id: Option<Uuid>,
    note: String,
    created_at: DateTime<Utc>,
}

fn currency(code: &str) -> Result<Currency, Error> {
    Currency::parse(code).map_err(|_| Error::Unreadable { what: "currency" })
}
