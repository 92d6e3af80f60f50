//! The images of each job, and the wrapped keys that make them readable.

use chrono::{DateTime, Utc};

use super::{Error, Store, Tx};
use visavis_domain::ids::{ImageId, JobId, TenantId};
use visavis_domain::image::{FileFormat, ImageRole};
use visavis_domain::tenant::Account;

/// An image's row. The bytes are in the blob store.
#[derive(Clone)]
pub struct ImageRow {
    pub id: ImageId,
    pub role: ImageRole,
    /// Counted from 0 within the role.
    pub position: u16,
    pub format: FileFormat,
    /// Size before encryption.
    pub bytes: i64,
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
}

/// An image or a video that was uploaded on its own, as stored.
pub struct NewUpload {
    pub id: ImageId,
    pub format: FileFormat,
    /// Size before encryption.
    pub bytes: i64,
    /// Pixels across and down, once upright. `None` for a video.
    pub size: Option<(i32, i32)>,
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
}

/// An upload that still exists.
pub struct StoredUpload {
    pub upload: NewUpload,
    pub expires_at: DateTime<Utc>,
    /// The database's time in seconds of the Unix epoch.
    pub now: i64,
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
                    format: FileFormat::parse(&row.format).ok_or(Error::Unreadable { what: "image format" })?,
                    bytes: row.bytes,
                    master_key_id: row.master_key_id,
                    wrapped_key: row.wrapped_key,
                })
            })
            .collect()
    }

    /// Stores an upload. It is kept as long as the organisation's retention says, at most a day.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_upload(&self, account: Account, upload: &NewUpload) -> Result<DateTime<Utc>, Error> {
        let expires_at = sqlx::query_scalar!(
            r#"INSERT INTO images (id, tenant_id, role, sandbox, format, bytes, width, height, master_key_id, wrapped_key,
                                   purge_at)
               SELECT $1, id, 'upload', $3, $4, $5, $6, $7, $8, $9,
                      now() + least(make_interval(secs => retention_seconds), interval '24 hours')
               FROM tenants WHERE id = $2
               RETURNING purge_at AS "purge_at!""#,
            upload.id.0,
            account.tenant_id.0,
            account.sandbox,
            upload.format.name(),
            upload.bytes,
            upload.size.map(|size| size.0),
            upload.size.map(|size| size.1),
            upload.master_key_id,
            upload.wrapped_key,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(expires_at)
    }

    /// One of the account's uploads, unless it is erased or its retention has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_upload(&self, account: Account, id: ImageId) -> Result<Option<StoredUpload>, Error> {
        let row = sqlx::query!(
            r#"SELECT format, bytes, width, height, master_key_id,
                      wrapped_key AS "wrapped_key!", purge_at AS "purge_at!",
                      floor(extract(epoch FROM now()))::bigint AS "now!"
               FROM images
               WHERE tenant_id = $1 AND sandbox = $2 AND id = $3 AND role = 'upload' AND wrapped_key IS NOT NULL
                 AND purge_at > now()"#,
            account.tenant_id.0,
            account.sandbox,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let upload = NewUpload {
            id,
            format: FileFormat::parse(&row.format).ok_or(Error::Unreadable { what: "image format" })?,
            bytes: row.bytes,
            size: row.width.zip(row.height),
            master_key_id: row.master_key_id,
            wrapped_key: row.wrapped_key,
        };
        Ok(Some(StoredUpload { upload, expires_at: row.purge_at, now: row.now }))
    }
}
