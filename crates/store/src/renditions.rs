//! What a signed URL leads to: an image that still exists, and the JPEG files made from it.

use sqlx::types::Json;
use uuid::Uuid;

use super::{Error, Store};
use visavis_domain::ids::{ImageId, JobId, TenantId};
use visavis_domain::image::{ImageRole, Variant};
use visavis_domain::outcome::Outcome;

/// A wrapped key, and the name of the master key that wraps it.
pub struct StoredKey {
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
}

/// An image that can still be read.
pub struct ReadableImage {
    pub key: StoredKey,
    /// `None` for an upload.
    pub role: Option<ImageRole>,
    pub position: u16,
    /// The job's result, if it has one.
    pub outcome: Option<Outcome>,
    /// The requested variant, if it was made before.
    pub rendition: Option<(Uuid, StoredKey)>,
}

/// A rendition about to be stored.
pub struct NewRendition {
    pub id: Uuid,
    pub image_id: ImageId,
    pub variant: Variant,
    pub key: StoredKey,
}

/// An image of a job that a URL can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobImage {
    pub id: ImageId,
    pub role: ImageRole,
    pub position: u16,
}

/// Whether a new rendition was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum RenditionInsert {
    Done,
    /// Another process made it at the same time, and that one is kept.
    Exists,
    /// The image was erased meanwhile.
    Gone,
}

impl Store {
    /// The database's time in seconds of the Unix epoch, and the image. No image if it is erased or its retention has
    /// ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_readable(
        &self,
        tenant_id: TenantId,
        id: ImageId,
        variant: Variant,
    ) -> Result<(i64, Option<ReadableImage>), Error> {
        let row = sqlx::query!(
            r#"SELECT floor(extract(epoch FROM now()))::bigint AS "now!", images.role AS "role?",
                      images.position AS "position?", images.master_key_id AS "master_key_id?",
                      images.wrapped_key AS "wrapped_key?", jobs.result AS "outcome?: Json<Outcome>",
                      renditions.id AS "rendition_id?", renditions.master_key_id AS "rendition_master_key_id?",
                      renditions.wrapped_key AS "rendition_wrapped_key?"
               FROM (SELECT 1) AS always
               LEFT JOIN images ON images.tenant_id = $1 AND images.id = $2 AND images.wrapped_key IS NOT NULL
                                   AND (images.purge_at IS NULL OR images.purge_at > now())
               LEFT JOIN renditions ON renditions.tenant_id = $1 AND renditions.image_id = images.id
                                       AND renditions.variant = $3 AND renditions.wrapped_key IS NOT NULL
               LEFT JOIN jobs ON jobs.tenant_id = $1 AND jobs.id = images.job_id"#,
            tenant_id.0,
            id.0,
            variant.name(),
        )
        .fetch_one(&self.pool)
        .await?;
        let stored = |id: Option<String>, key: Option<Vec<u8>>| {
            id.zip(key).map(|(master_key_id, wrapped_key)| StoredKey { master_key_id, wrapped_key })
        };
        let Some(key) = stored(row.master_key_id, row.wrapped_key) else { return Ok((row.now, None)) };
        let rendition = row.rendition_id.zip(stored(row.rendition_master_key_id, row.rendition_wrapped_key));
        let readable = ReadableImage {
            key,
            role: row.role.as_deref().and_then(ImageRole::parse),
            position: row.position.and_then(|position| u16::try_from(position).ok()).unwrap_or_default(),
            outcome: row.outcome.map(|outcome| outcome.0),
            rendition,
        };
        Ok((row.now, Some(readable)))
    }

    /// The database's time in seconds of the Unix epoch, and the job's images that still exist.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_shown(&self, tenant_id: TenantId, job_id: JobId) -> Result<(i64, Vec<JobImage>), Error> {
        let rows = sqlx::query!(
            r#"SELECT floor(extract(epoch FROM now()))::bigint AS "now!", id, role, position FROM images
               WHERE tenant_id = $1 AND job_id = $2 AND wrapped_key IS NOT NULL
                 AND (purge_at IS NULL OR purge_at > now())"#,
            tenant_id.0,
            job_id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        let now = rows.first().map_or(0, |row| row.now);
        let shown = rows.into_iter().filter_map(|row| {
            let position = u16::try_from(row.position).ok()?;
            Some(JobImage { id: ImageId(row.id), role: ImageRole::parse(&row.role)?, position })
        });
        Ok((now, shown.collect()))
    }

    /// Stores a rendition's key, if its image still has one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_rendition(
        &self,
        tenant_id: TenantId,
        rendition: &NewRendition,
    ) -> Result<RenditionInsert, Error> {
        let rows = sqlx::query!(
            // The lock waits for an erasure in progress, and makes the next erasure wait for this statement.
            "INSERT INTO renditions (id, tenant_id, image_id, variant, master_key_id, wrapped_key)
             SELECT $3, tenant_id, id, $4, $5, $6 FROM images
             WHERE tenant_id = $1 AND id = $2 AND wrapped_key IS NOT NULL FOR SHARE
             ON CONFLICT (image_id, variant) DO NOTHING",
            tenant_id.0,
            rendition.image_id.0,
            rendition.id,
            rendition.variant.name(),
            rendition.key.master_key_id,
            rendition.key.wrapped_key,
        )
        .execute(&self.pool)
        .await?
        .rows_affected();
        if rows == 1 {
            return Ok(RenditionInsert::Done);
        }
        let (_, readable) = self.find_readable(tenant_id, rendition.image_id, rendition.variant).await?;
        Ok(if readable.is_some_and(|readable| readable.rendition.is_some()) {
            RenditionInsert::Exists
        } else {
            RenditionInsert::Gone
        })
    }
}
