//! Which images a job has, and the wrapped keys that make them readable.

use super::{Error, Store, Tx};
use crate::domain::ids::{ImageId, JobId, TenantId};
use crate::domain::image::ImageFormat;
use crate::domain::image::ImageRole;

/// An image's row; the bytes are in the blob store.
#[derive(Clone)]
pub struct ImageRow {
    pub id: ImageId,
    pub role: ImageRole,
    /// Counted from 0 within the role.
    pub position: u16,
    pub format: ImageFormat,
    /// Size before encryption.
    pub bytes: i64,
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
}

impl Tx {
    /// # Errors
    /// When the job has an image of that role already, or the database fails.
    pub async fn insert_image(&mut self, tenant_id: TenantId, job_id: JobId, image: &ImageRow) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO images (id, tenant_id, job_id, role, position, format, bytes, master_key_id, wrapped_key)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            image.id.0,
            tenant_id.0,
            job_id.0,
            image.role.name(),
            i16::try_from(image.position).unwrap_or(i16::MAX),
            image.format.name(),
            image.bytes,
            image.master_key_id,
            image.wrapped_key,
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}

impl Store {
    /// The images of one job.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_images(&self, tenant_id: TenantId, job_id: JobId) -> Result<Vec<ImageRow>, Error> {
        let rows = sqlx::query!(
            r#"SELECT id, role, position, format, bytes, master_key_id, wrapped_key AS "wrapped_key!" FROM images
               WHERE tenant_id = $1 AND job_id = $2 AND wrapped_key IS NOT NULL
               ORDER BY role, position"#,
            tenant_id.0,
            job_id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(ImageRow {
                    id: ImageId(row.id),
                    role: ImageRole::parse(&row.role).ok_or(Error::Unreadable { what: "image role" })?,
                    position: u16::try_from(row.position).unwrap_or_default(),
                    format: ImageFormat::parse(&row.format).ok_or(Error::Unreadable { what: "image format" })?,
                    bytes: row.bytes,
                    master_key_id: row.master_key_id,
                    wrapped_key: row.wrapped_key,
                })
            })
            .collect()
    }

    /// Erases the keys of up to `limit` images whose time is over; from here on nobody can read them. Also returns those
    /// whose erasure was begun before and not ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_due_image_keys(&self, limit: i64) -> Result<Vec<(TenantId, ImageId)>, Error> {
        let rows = sqlx::query!(
            "UPDATE images SET wrapped_key = NULL
             WHERE id IN (SELECT id FROM images WHERE purge_at <= now()
                          ORDER BY purge_at LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING tenant_id, id",
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (TenantId(row.tenant_id), ImageId(row.id))).collect())
    }

    /// Forgets images whose blobs are gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_erased_images(&self, ids: &[ImageId]) -> Result<u64, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let deleted = sqlx::query!("DELETE FROM images WHERE id = ANY($1) AND wrapped_key IS NULL", &ids)
            .execute(&self.pool)
            .await?;
        Ok(deleted.rows_affected())
    }
}
