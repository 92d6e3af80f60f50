//! Binds the blob store to its database. Both carry the same id. A process that finds another id, or an id on one side
//! alone, refuses to start: the janitor of a wrong database would take every blob for one that belongs to nothing.
//!
//! A pair without ids is bound by the first process, if the store is empty or the database knows its blobs.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use uuid::Uuid;

use super::Error;
use crate::media::{self, Media};
use crate::store::Store;
use crate::store::blob_store::StrandedBlob;

/// Blobs that are looked at before a pair without ids is bound.
const SAMPLE: usize = 256;
/// The time limit of a check. A process that cannot reach its blob store at start says so.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a blob store and a database know of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The folder, or the bucket and its prefix.
    pub store: String,
    pub store_id: Option<Uuid>,
    /// The name of the database.
    pub database: String,
    /// The id of the blob store that the database names.
    pub database_id: Option<Uuid>,
    /// Whether both sides carry the same id and the database was told so.
    pub is_bound: bool,
    /// Blobs that were looked at. None if either side has an id.
    pub sampled: usize,
    /// Those of them that no row of the database knows.
    pub unknown: usize,
    /// Whether the store is empty and the database knows blobs: a volume that is not mounted is an empty folder.
    pub is_missing: bool,
}

/// A blob store and a database that do not belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(pub Pair);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = &self.0;
        let Pair { store, database, sampled, unknown, .. } = pair;
        let named = |id: Option<Uuid>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        write!(f, "the blob store {store} and the database {database:?} do not belong together: ")?;
        if pair.is_missing {
            write!(f, "the store is empty, and the database knows blobs")?;
        } else if pair.store_id.is_none() && pair.database_id.is_none() {
            write!(f, "the database knows nothing of {unknown} of {sampled} blobs that were looked at")?;
        } else {
            let (ours, theirs) = (named(pair.store_id), named(pair.database_id));
            write!(f, "the store has the id {ours}, the database names {theirs}")?;
        }
        write!(
            f,
            ". Nothing was changed. Correct VISAVIS_BLOBS or DATABASE_URL. If the two do belong together, because one \
             of them was restored or moved, `visavis blobs adopt --yes` binds them"
        )
    }
}

/// Checks that the two belong together, and binds them on their first start. Several processes may start at once.
///
/// # Errors
/// [`Error::Unbound`] when they do not belong together. Else when the database or the blob store fails.
pub async fn check(store: &Store, media: &Media) -> Result<(), Error> {
    limited(bind_first(store, media)).await
}

/// What the two know of each other. Changes nothing.
///
/// # Errors
/// When the database or the blob store fails.
pub async fn inspect(store: &Store, media: &Media) -> Result<Pair, Error> {
    limited(look(store, media)).await
}

/// Binds the two under a new id, whatever they carried. Processes of other databases on this store, and of this
/// database on other stores, do not start from then on.
///
/// # Errors
/// When the database or the blob store fails. Then they are not bound, and the next call binds them.
pub async fn adopt(store: &Store, media: &Media) -> Result<Uuid, Error> {
    let id = Uuid::now_v7();
    limited(async {
        store.replace_blob_store(id).await?;
        media.replace_store_id(id).await?;
        confirm(store, media, id).await
    })
    .await?;
    Ok(id)
}

async fn limited<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| media::Error::Slow(PATIENCE))?
}

async fn look(store: &Store, media: &Media) -> Result<Pair, Error> {
    let (named, store_id) = (store.find_blob_store().await?, media.store_id().await?);
    let mut pair = Pair {
        store: media.store_name().to_owned(),
        store_id,
        database: store.database_name().await?,
        // An id that was proposed and never written into the store binds nothing.
        database_id: named.filter(|named| named.is_bound || store_id == Some(named.id)).map(|named| named.id),
        is_bound: named.is_some_and(|named| named.is_bound && store_id == Some(named.id)),
        sampled: 0,
        unknown: 0,
        is_missing: false,
    };
    if pair.store_id.is_none() && pair.database_id.is_none() {
        let sample = sample(media).await?;
        (pair.sampled, pair.unknown) = (sample.len(), store.list_orphans(&sample).await?.len());
        pair.is_missing = sample.is_empty() && store.has_blobs().await?;
    }
    Ok(pair)
}

async fn bind_first(store: &Store, media: &Media) -> Result<(), Error> {
    let pair = look(store, media).await?;
    if pair.is_bound {
        return Ok(());
    }
    match (pair.store_id, pair.database_id) {
        // The process that proposed it ended before it noted that the store carries it.
        (Some(id), Some(named)) if id == named => confirm(store, media, id).await,
        // A few blobs may be unknown: they are being written, or a crash left them behind.
        (None, None) if pair.unknown * 2 <= pair.sampled && !pair.is_missing => {
            let id = store.propose_blob_store(Uuid::now_v7()).await?;
            media.create_store_id(id).await?;
            confirm(store, media, id).await
        }
        _ => {
            // Another process may have bound the two between our looks, and stored images since.
            let again = look(store, media).await?;
            if again.is_bound { Ok(()) } else { Err(Error::Unbound(Mismatch(again))) }
        }
    }
}

/// Reads the id back, because a database that starts on the same store at the same time may have been quicker.
async fn confirm(store: &Store, media: &Media, id: Uuid) -> Result<(), Error> {
    if media.store_id().await? == Some(id) && store.mark_blob_store_bound(id).await? {
        return Ok(());
    }
    Err(Error::Unbound(Mismatch(look(store, media).await?)))
}

/// Some blobs of each folder. A folder that cannot be listed is a fault: what it holds must not be taken for nothing.
async fn sample(media: &Media) -> Result<Vec<StrandedBlob>, Error> {
    let mut blobs = Vec::new();
    for folder in media.folders_before(DateTime::<Utc>::MAX_UTC) {
        let mut listed = std::pin::pin!(folder.take(SAMPLE));
        while let Some(blob) = listed.next().await {
            let blob = blob?;
            blobs.push(StrandedBlob { place: blob.place, id: blob.id });
        }
    }
    Ok(blobs)
}
