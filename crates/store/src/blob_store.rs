//! The blob store as the database knows it: which store is its own, and blobs in it that no row knows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::erasures::insert_erasures;
use super::{Error, Store};

/// The blob store that belongs to this database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundStore {
    pub id: Uuid,
    /// Whether the store was seen to carry the id.
    pub is_bound: bool,
}

/// A blob that no row knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrandedBlob {
    pub place: String,
    /// The last part of its place.
    pub id: Uuid,
}

impl Store {
    /// The blob store that belongs to this database. `None` before the first start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_blob_store(&self) -> Result<Option<BoundStore>, Error> {
        let found = sqlx::query_as!(BoundStore, r#"SELECT id, bound_at IS NOT NULL AS "is_bound!" FROM blob_store"#);
        Ok(found.fetch_optional(&self.pool).await?)
    }

    /// Proposes the id of the blob store to be bound, and returns the one that was proposed first. Several processes
    /// may propose at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn propose_blob_store(&self, id: Uuid) -> Result<Uuid, Error> {
        sqlx::query!("INSERT INTO blob_store (id) VALUES ($1) ON CONFLICT DO NOTHING", id).execute(&self.pool).await?;
        Ok(sqlx::query_scalar!("SELECT id FROM blob_store").fetch_one(&self.pool).await?)
    }

    /// Names another blob store, whatever was there before. It is not bound yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn replace_blob_store(&self, id: Uuid) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO blob_store (id) VALUES ($1) ON CONFLICT (only_one) DO UPDATE SET id = $1, bound_at = NULL",
            id,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that the blob store carries this id. Returns false if the database names another one by now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_blob_store_bound(&self, id: Uuid) -> Result<bool, Error> {
        let rows = sqlx::query!("UPDATE blob_store SET bound_at = coalesce(bound_at, now()) WHERE id = $1", id)
            .execute(&self.pool)
            .await?
            .rows_affected();
        Ok(rows == 1)
    }

    /// Whether any row refers to a blob that lies in the store.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_blobs(&self) -> Result<bool, Error> {
        let has_blobs = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM images WHERE wrapped_key IS NOT NULL)
                   OR EXISTS (SELECT 1 FROM identity_registry) AS "has_blobs!""#
        );
        Ok(has_blobs.fetch_one(&self.pool).await?)
    }

    /// The name of this database, for messages.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn database_name(&self) -> Result<String, Error> {
        let name = sqlx::query_scalar!(r#"SELECT current_database()::text AS "name!""#);
        Ok(name.fetch_one(&self.pool).await?)
    }

    /// The time so long ago.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ago(&self, time: Duration) -> Result<DateTime<Utc>, Error> {
        let ago = sqlx::query_scalar!(r#"SELECT now() - make_interval(secs => $1) AS "ago!""#, time.as_secs_f64(),);
        Ok(ago.fetch_one(&self.pool).await?)
    }

    /// Which of these blobs no row refers to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_orphans(&self, blobs: &[StrandedBlob]) -> Result<Vec<StrandedBlob>, Error> {
        let (places, ids) = columns(blobs);
        let orphans = sqlx::query_as!(
            StrandedBlob,
            r#"SELECT place AS "place!", id AS "id!" FROM unnest($1::text[], $2::uuid[]) AS blob (place, id)
               WHERE NOT EXISTS (SELECT 1 FROM images WHERE images.id = blob.id)
                 AND NOT EXISTS (SELECT 1 FROM renditions WHERE renditions.id = blob.id)
                 AND NOT EXISTS (SELECT 1 FROM identity_registry WHERE identity_registry.id = blob.id)
                 AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE dead_letters.id = blob.id
                                                              AND wrapped_key IS NOT NULL)
                 AND NOT EXISTS (SELECT 1 FROM erasures WHERE erasures.place = blob.place)"#,
            &places,
            &ids,
        );
        Ok(orphans.fetch_all(&self.pool).await?)
    }

    /// Notes that no row knows these blobs. Those that were noted before keep their time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_stranded(&self, blobs: &[StrandedBlob]) -> Result<u64, Error> {
        let (places, ids) = columns(blobs);
        let marked = sqlx::query!(
            "INSERT INTO stranded_blobs (place, id) SELECT * FROM unnest($1::text[], $2::uuid[])
             ON CONFLICT (place) DO NOTHING",
            &places,
            &ids,
        );
        Ok(marked.execute(&self.pool).await?.rows_affected())
    }

    /// Up to `limit` blobs that were noted as stranded, in the order of their places, from the place behind `after` on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_stranded(&self, after: &str, limit: i64) -> Result<Vec<StrandedBlob>, Error> {
        let stranded = sqlx::query_as!(
            StrandedBlob,
            "SELECT place, id FROM stranded_blobs WHERE place > $1 ORDER BY place LIMIT $2",
            after,
            limit,
        );
        Ok(stranded.fetch_all(&self.pool).await?)
    }

    /// How many blobs are noted as stranded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_stranded(&self) -> Result<i64, Error> {
        let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM stranded_blobs"#);
        Ok(count.fetch_one(&self.pool).await?)
    }

    /// Forgets notes about blobs: a row knows them by now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_stranded(&self, places: &[String]) -> Result<u64, Error> {
        let released = sqlx::query!("DELETE FROM stranded_blobs WHERE place = ANY($1)", places);
        Ok(released.execute(&self.pool).await?.rows_affected())
    }

    /// Hands those of these blobs over to be deleted that were noted as stranded longer ago than `age`. Returns how
    /// many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_stranded(&self, places: &[String], age: Duration) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let due = sqlx::query_scalar!(
            "DELETE FROM stranded_blobs WHERE place = ANY($1) AND first_seen_at <= now() - make_interval(secs => $2)
             RETURNING place",
            places,
            age.as_secs_f64(),
        )
        .fetch_all(&mut *tx.inner)
        .await?;
        let due: Vec<_> = due.into_iter().map(|place| (place, None)).collect();
        insert_erasures(&mut tx, &due).await?;
        tx.commit().await?;
        Ok(due.len() as u64)
    }
}

fn columns(blobs: &[StrandedBlob]) -> (Vec<String>, Vec<Uuid>) {
    blobs.iter().map(|blob| (blob.place.clone(), blob.id)).unzip()
}
