//! What happened to a job, once each: written in the commit that made it true.

use serde_json::Value;
use uuid::Uuid;

use super::{Error, Tx};
use crate::domain::ids::{JobId, TenantId};

impl Tx {
    pub(super) async fn insert_event(
        &mut self,
        tenant_id: TenantId,
        job_id: JobId,
        kind: &str,
        notice: &Value,
    ) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO events (id, tenant_id, job_id, type, payload) VALUES ($1, $2, $3, $4, $5)",
            Uuid::now_v7(),
            tenant_id.0,
            job_id.0,
            kind,
            notice,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
