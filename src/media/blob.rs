//! Where sealed bytes are stored: a local folder, or a bucket of a server that speaks S3.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Place;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig};
use uuid::Uuid;

use super::Error;

/// The time limit for one answer of an S3 server. Workers wait 30 s for all images of a job.
const ANSWER: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// The time limit with all retries. The caller tries again too.
const PATIENCE: Duration = Duration::from_secs(20);
const REPETITIONS: usize = 3;

/// Sealed bytes by place. Clones share one store.
#[derive(Clone)]
pub struct BlobStore {
    inner: Arc<dyn ObjectStore>,
    /// The folder, if the store is one.
    folder: Option<PathBuf>,
    /// What messages call it.
    name: Arc<str>,
}

/// A bucket, and the credentials for it.
#[derive(Clone)]
pub struct S3Settings {
    pub bucket: String,
    /// A prefix of every place. It may be empty.
    pub prefix: String,
    /// `None`: Amazon's own endpoint of the region.
    pub endpoint: Option<String>,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

/// A blob in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub place: String,
    /// The last part of its place.
    pub id: Uuid,
}

impl BlobStore {
    /// Stores blobs in a folder. It is created if missing, and other users may not open it.
    ///
    /// # Errors
    /// When the folder cannot be made or opened.
    pub fn folder(path: &Path) -> Result<Self, Error> {
        let wrong = |source| Error::Folder { path: path.display().to_string(), source };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(wrong)?;
        let name = path.display().to_string().into();
        Ok(Self { inner: Arc::new(LocalFileSystem::new_with_prefix(path)?), folder: Some(path.to_owned()), name })
    }

    /// Stores blobs in a bucket, addressed by path. Does not check whether the bucket exists.
    ///
    /// # Errors
    /// When the endpoint is neither HTTPS nor on this machine, or a setting is malformed.
    pub fn s3(settings: &S3Settings) -> Result<Self, Error> {
        let client = ClientOptions::new().with_timeout(ANSWER).with_connect_timeout(CONNECT);
        let retry = RetryConfig { max_retries: REPETITIONS, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&settings.access_key_id)
            .with_secret_access_key(&settings.secret_access_key)
            .with_virtual_hosted_style_request(false)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = &settings.endpoint {
            // Sealed bytes may be seen on the network. Which of them are requested, and when, may not.
            let local = is_local(endpoint)?;
            builder = builder.with_endpoint(endpoint.trim_end_matches('/')).with_allow_http(local);
        }
        let store = PrefixStore::new(builder.build()?, Place::from(settings.prefix.as_str()));
        let name = format!("s3://{}/{}", settings.bucket, settings.prefix).into();
        Ok(Self { inner: Arc::new(store), folder: None, name })
    }

    /// What messages call this store: its folder, or its bucket and prefix.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn put(&self, place: &str, bytes: Bytes) -> Result<(), Error> {
        self.inner.put(&Place::from(place), bytes.into()).await?;
        Ok(())
    }

    /// Writes a blob unless there is one. Of several writers at once, only the first succeeds, if the server can tell.
    pub(super) async fn create(&self, place: &str, bytes: Bytes) -> Result<(), Error> {
        let (at, mode) = (Place::from(place), PutOptions::from(PutMode::Create));
        match self.inner.put_opts(&at, bytes.clone().into(), mode).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(object_store::Error::NotImplemented { .. }) => self.put(place, bytes).await,
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn get(&self, place: &str) -> Result<Bytes, Error> {
        Ok(self.inner.get(&Place::from(place)).await?.bytes().await?)
    }

    pub(super) async fn delete(&self, place: &str) -> Result<(), Error> {
        match self.inner.delete(&Place::from(place)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Blobs below `folders` that were last written before `moment`. Files that are not blobs are left out.
    pub(super) fn list_before(
        &self,
        folders: &'static [&'static str],
        moment: DateTime<Utc>,
    ) -> impl Stream<Item = Result<Blob, Error>> + Send + use<> {
        let store = Arc::clone(&self.inner);
        let listed =
            futures_util::stream::iter(folders).flat_map(move |folder| store.list(Some(&Place::from(*folder))));
        listed.err_into().try_filter_map(move |meta| {
            let id = meta.location.filename().and_then(|name| name.parse().ok());
            let blob =
                id.filter(|_| meta.last_modified < moment).map(|id| Blob { place: meta.location.to_string(), id });
            std::future::ready(Ok(blob))
        })
    }

    /// A write to a folder first goes to a file `<name>#<n>`, which a crash leaves behind. Listings do not show it. One
    /// that cannot be deleted stays, and does not keep the others.
    pub(super) async fn delete_leftovers(
        &self,
        folders: &'static [&'static str],
        moment: DateTime<Utc>,
    ) -> Result<u64, Error> {
        let Some(root) = self.folder.clone() else { return Ok(0) };
        let path = root.display().to_string();
        let delete = move || {
            let mut deleted = 0;
            let mut first = Ok(());
            for folder in folders {
                first = first.and(delete_leftovers_in(&root.join(folder), moment.into(), &mut deleted));
            }
            first.map(|()| deleted)
        };
        let deleted =
            tokio::task::spawn_blocking(delete).await.unwrap_or_else(|fault| Err(std::io::Error::other(fault)));
        deleted.map_err(|source| Error::Folder { path, source })
    }
}

fn delete_leftovers_in(folder: &Path, moment: SystemTime, deleted: &mut u64) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut first = Ok(());
    for entry in entries {
        let entry = entry?;
        // If the entry is gone by now, nothing is left to do.
        let Ok(about) = entry.metadata() else { continue };
        if about.is_dir() {
            first = first.and(delete_leftovers_in(&entry.path(), moment, deleted));
        } else if is_leftover(&entry.file_name().to_string_lossy()) && about.modified()? < moment {
            match std::fs::remove_file(entry.path()) {
                Ok(()) => *deleted += 1,
                Err(error) => first = first.and(Err(error)),
            }
        }
    }
    first
}

fn is_leftover(name: &str) -> bool {
    name.split_once('#').is_some_and(|(_, count)| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_local(endpoint: &str) -> Result<bool, Error> {
    let wrong = |why: &str| Error::Settings(format!("the S3 endpoint {why}"));
    let url = url::Url::parse(endpoint).map_err(|_| wrong("is not a URL"))?;
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && local) {
        return Ok(local);
    }
    Err(wrong("must be https, or on this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_endpoint(endpoint: &str) -> Result<BlobStore, Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        BlobStore::s3(&S3Settings {
            bucket: "faces".to_owned(),
            prefix: String::new(),
            endpoint: Some(endpoint.to_owned()),
            region: "us-east-1".to_owned(),
            access_key_id: "id".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
        })
    }

    #[test]
    fn an_endpoint_without_tls_is_taken_on_this_machine_alone() {
        for good in ["https://s3.example.com", "http://127.0.0.1:9000", "http://[::1]:9000/", "http://localhost:9000"] {
            assert!(with_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["http://s3.example.com", "http://10.0.0.1:9000", "ftp://localhost", "localhost:9000", "nonsense"] {
            assert!(matches!(with_endpoint(bad), Err(Error::Settings(_))), "{bad}");
        }
    }

    #[test]
    fn only_staged_writes_are_leftovers() {
        assert!(is_leftover("0190-ab#1") && is_leftover("x#27"));
        assert!(!is_leftover("0190-ab") && !is_leftover("x#") && !is_leftover("x#a") && !is_leftover("x#1a"));
    }
}
