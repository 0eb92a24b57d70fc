//! The object store behind `url`, and the two ways anything is put there: create only, and swap.

use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catchment_core::{Error, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error as Fault, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};
use parquet::file::metadata::ParquetMetaDataReader;

use crate::config::{Config, S3};
use crate::fault::wrap;
use crate::file::{File, told_digest};
use crate::folder;

/// Above this an object goes up in parts.
const SINGLE_PUT_LIMIT: usize = 128 << 20;

/// One part is in flight at a time; an answer is soon there compared with 16 MiB on their way.
const PART_SIZE: usize = 16 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Enough for [`SINGLE_PUT_LIMIT`] at 2 MiB/s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(64);

/// Bytes that close a Parquet file: the footer's length and the magic.
const FILE_END: u64 = 8;

/// An object store and the folder in it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) prefix: Path,
    /// The folder on this machine, where the store is one: swaps there need a lock.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) single_put_limit: usize,
}

impl Store {
    /// Opens what `url` names; connects to nothing yet.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        match config.url.split_once("://") {
            Some(("file", folder)) if folder.starts_with('/') => Self::local(folder.into()),
            Some(("s3", place)) => Self::s3(place, &config.s3),
            _ => Err(Error::user(format!(
                "parquet: `{}` names no object store; write `url` like file:///data/flows or s3://bucket/prefix",
                config.url
            ))),
        }
    }

    /// A store with everything at its defaults.
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { objects, prefix, folder: None, single_put_limit: SINGLE_PUT_LIMIT }
    }

    fn local(folder: PathBuf) -> Result<Self> {
        let failed = || Error::user(format!("parquet: cannot use folder {}; check `url`", folder.display()));
        std::fs::create_dir_all(&folder).map_err(|e| failed().caused_by(e))?;
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(|e| failed().caused_by(e))?;
        Ok(Self { folder: Some(folder), ..Self::new(Arc::new(objects), Path::default()) })
    }

    fn s3(place: &str, settings: &S3) -> Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let client = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retries())
            .with_client_options(client)
            .with_virtual_hosted_style_request(settings.virtual_hosted);
        if settings.allow_http {
            builder = builder.with_allow_http(true);
        }
        builder = with(builder, settings.endpoint.as_ref(), AmazonS3Builder::with_endpoint);
        builder = with(builder, settings.region.as_ref(), AmazonS3Builder::with_region);
        builder = with(builder, settings.access_key_id.as_ref(), AmazonS3Builder::with_access_key_id);
        builder = with(builder, settings.secret_access_key.as_ref(), AmazonS3Builder::with_secret_access_key);
        refuse_plain_http(&builder, settings)?;
        let objects =
            builder.build().map_err(|e| Error::user("parquet: settings under `s3` do not fit").caused_by(e))?;
        let prefix = Path::parse(prefix).map_err(|e| Error::user("parquet: no usable prefix in `url`").caused_by(e))?;
        Ok(Self::new(Arc::new(objects), prefix))
    }

    /// Makes `file` durable under its name. Where the name is taken, the rows there must be the same.
    pub(crate) async fn create(&self, file: &File) -> Result<()> {
        if self.folder.is_some() {
            return self.create_in_folder(file).await;
        }
        let put = if file.bytes.len() < self.single_put_limit { self.put(file).await } else { self.upload(file).await };
        match put {
            Ok(()) => Ok(()),
            Err(Fault::AlreadyExists { .. } | Fault::Precondition { .. }) => self.compare(file).await,
            Err(fault) => Err(wrap(&format!("write {}", file.path), &fault)),
        }
    }

    async fn create_in_folder(&self, file: &File) -> Result<()> {
        let (name, bytes) = (file.path.to_string(), file.bytes.clone());
        match self.in_folder(move |folder| folder::create(folder, &name, &bytes)).await {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.compare(file).await,
            Err(e) => Err(unwritable(&file.path, e)),
        }
    }

    /// In a folder, puts an object in the place of another.
    pub(crate) async fn replace_in_folder(&self, path: &Path, bytes: Vec<u8>) -> Result<()> {
        let name = path.to_string();
        let replaced = self.in_folder(move |folder| folder::replace(folder, &name, &bytes)).await;
        replaced.map_err(|e| unwritable(path, e))
    }

    /// Runs file work, which waits for the disk, beside the reactor; nothing where the store is a service.
    async fn in_folder(&self, work: impl FnOnce(&FilePath) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        tokio::task::spawn_blocking(move || work(&folder)).await.map_err(io::Error::other)?
    }

    async fn put(&self, file: &File) -> object_store::Result<()> {
        let payload = PutPayload::from_bytes(file.bytes.clone());
        self.objects.put_opts(&file.path, payload, PutMode::Create.into()).await.map(drop)
    }

    /// Parts know no create-only mode. Looking first is enough: whoever writes the same name
    /// meanwhile writes the same rows.
    async fn upload(&self, file: &File) -> object_store::Result<()> {
        match self.objects.head(&file.path).await {
            Ok(_) => {
                return Err(Fault::AlreadyExists { path: file.path.to_string(), source: "found before upload".into() });
            }
            Err(Fault::NotFound { .. }) => {}
            Err(fault) => return Err(fault),
        }
        upload_parts(self.objects.put_multipart(&file.path).await?, &file.bytes).await
    }

    async fn compare(&self, file: &File) -> Result<()> {
        let there = self.digest_of(&file.path).await?;
        if there.as_deref() == Some(&*file.digest) {
            tracing::debug!(object = %file.path, "already written with the same rows");
            // Who wrote it may have been cut off before the name was on the disk.
            let name = file.path.to_string();
            let synced = self.in_folder(move |folder| folder::sync(folder, &name)).await;
            return synced.map_err(|e| unwritable(&file.path, e));
        }
        Err(Error::internal(format!(
            "parquet: {} exists with other rows; was `roll` or `max_rows` changed, or does another log write to this \
             prefix? use a prefix of its own",
            file.path
        )))
    }

    /// The row digest in the footer of an object; `None` where there is none to read.
    async fn digest_of(&self, path: &Path) -> Result<Option<String>> {
        let failed = |fault| wrap(&format!("compare {path}"), &fault);
        let size = self.objects.head(path).await.map_err(failed)?.size;
        if size < FILE_END {
            return Ok(None);
        }
        let end = self.objects.get_range(path, size - FILE_END..size).await.map_err(failed)?;
        let length = end.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
        let Some(start) = (size - FILE_END).checked_sub(length) else { return Ok(None) };
        let footer = self.objects.get_range(path, start..size - FILE_END).await.map_err(failed)?;
        let footer = ParquetMetaDataReader::decode_metadata(&footer).ok();
        Ok(footer.and_then(|f| told_digest(&f).map(str::to_owned)))
    }
}

/// Parts of an upload that fails are taken back: they would stay in the store, unseen and paid for.
async fn upload_parts(mut upload: Box<dyn MultipartUpload>, bytes: &Bytes) -> object_store::Result<()> {
    let sent = send_parts(&mut *upload, bytes).await;
    if sent.is_err()
        && let Err(fault) = upload.abort().await
    {
        tracing::warn!(error = %fault, "cannot take back the parts of a failed upload");
    }
    sent
}

async fn send_parts(upload: &mut dyn MultipartUpload, bytes: &Bytes) -> object_store::Result<()> {
    for part in (0..bytes.len()).step_by(PART_SIZE) {
        let end = bytes.len().min(part + PART_SIZE);
        upload.put_part(bytes.slice(part..end).into()).await?;
    }
    upload.complete().await.map(drop)
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    let message = format!("parquet: cannot write {path} to the disk; check the rights and the room of its folder");
    Error::external(message).caused_by(error)
}

/// The client says of an address it must not use only that it cannot build a request.
fn refuse_plain_http(builder: &AmazonS3Builder, settings: &S3) -> Result<()> {
    let asked = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
    let endpoint = asked.iter().find_map(|key| builder.get_config_value(key));
    match endpoint.filter(|endpoint| endpoint.starts_with("http://") && !settings.allow_http) {
        None => Ok(()),
        Some(endpoint) => Err(Error::user(format!(
            "parquet: `{endpoint}` is not encrypted; set `allow_http: true` under `s3`, or write an https:// address"
        ))),
    }
}

/// Retrying is the runtime's; here only a dropped connection is taken up once more.
fn retries() -> RetryConfig {
    RetryConfig { max_retries: 1, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() }
}

fn with<B>(builder: B, value: Option<&String>, set: impl Fn(B, String) -> B) -> B {
    match value {
        Some(value) => set(builder, value.clone()),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use object_store::memory::InMemory;
    use object_store::{PutResult, UploadPart};

    use super::*;

    fn file(bytes: &'static [u8]) -> File {
        File { path: Path::from("flows/x.parquet"), bytes: bytes.into(), rows: 1, digest: "sha256:0".into() }
    }

    fn store(single_put_limit: usize) -> Store {
        Store { single_put_limit, ..Store::new(Arc::new(InMemory::new()), Path::default()) }
    }

    #[tokio::test]
    async fn large_objects_go_up_in_parts_and_are_not_replaced() {
        let store = store(4);
        store.create(&file(b"longer than four")).await.unwrap();
        let there = store.objects.get(&file(b"").path).await.unwrap().bytes().await.unwrap();
        assert_eq!(&there[..], b"longer than four");
        assert_eq!(store.create(&file(b"something else")).await.unwrap_err().retry, catchment_core::Retry::Never);
        let there = store.objects.get(&file(b"").path).await.unwrap().bytes().await.unwrap();
        assert_eq!(&there[..], b"longer than four");
    }

    /// An upload whose second part is refused.
    #[derive(Debug, Default)]
    struct Refusing {
        parts: AtomicUsize,
        aborted: AtomicBool,
    }

    #[derive(Debug)]
    struct RefusedUpload(Arc<Refusing>);

    #[async_trait::async_trait]
    impl MultipartUpload for RefusedUpload {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            let refused = self.0.parts.fetch_add(1, Ordering::SeqCst) == 1;
            let fault = || Fault::Generic { store: "test", source: "503".into() };
            Box::pin(async move { if refused { Err(fault()) } else { Ok(()) } })
        }

        async fn complete(&mut self) -> object_store::Result<PutResult> {
            panic!("completed without its second part")
        }

        async fn abort(&mut self) -> object_store::Result<()> {
            self.0.aborted.store(true, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_parts_of_a_failed_upload_are_taken_back() {
        let refusing = Arc::new(Refusing::default());
        let bytes = Bytes::from(vec![0; 2 * PART_SIZE + 1]);
        let sent = upload_parts(Box::new(RefusedUpload(refusing.clone())), &bytes).await;
        assert!(matches!(sent, Err(Fault::Generic { .. })), "{sent:?}");
        assert!(refusing.aborted.load(Ordering::SeqCst));
        assert_eq!(refusing.parts.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_object_that_is_no_parquet_file_counts_as_different() {
        for there in [&b""[..], b"short", b"\xff\xff\xff\xffPAR1", b"0123456789\x04\0\0\0PAR1"] {
            let store = store(SINGLE_PUT_LIMIT);
            store.objects.put(&file(b"").path, there.to_vec().into()).await.unwrap();
            let error = store.create(&file(b"rows")).await.unwrap_err();
            assert!(error.message.contains("other rows"), "{}", error.chain());
        }
    }

    #[test]
    fn an_address_without_encryption_must_be_allowed() {
        let open = |endpoint: &str, allow_http| {
            let s3 = S3 {
                endpoint: Some(endpoint.into()),
                access_key_id: Some("key".into()),
                secret_access_key: Some("secret".into()),
                allow_http,
                ..S3::default()
            };
            Store::open(&Config { url: "s3://bucket/x".into(), s3, ..Config::default() })
        };
        let error = open("http://127.0.0.1:9", false).unwrap_err();
        assert_eq!(error.domain, catchment_core::Domain::User);
        assert!(error.message.contains("`http://127.0.0.1:9`") && error.message.contains("allow_http: true"));
        assert!(open("http://127.0.0.1:9", true).is_ok() && open("https://127.0.0.1:9", false).is_ok());
    }

    #[tokio::test]
    async fn a_store_that_refuses_the_connection_is_told_by_its_address() {
        let s3 = S3 {
            endpoint: Some("http://127.0.0.1:9".into()),
            access_key_id: Some("key".into()),
            secret_access_key: Some("secret".into()),
            allow_http: true,
            ..S3::default()
        };
        let store = Store::open(&Config { url: "s3://bucket/x".into(), s3, ..Config::default() }).unwrap();
        let error = store.create(&file(b"rows")).await.unwrap_err();
        assert_eq!(error.retry, catchment_core::Retry::Backoff);
        assert!(error.message.contains("check `endpoint` under `s3`"), "{}", error.chain());
        assert!(error.chain().contains("127.0.0.1:9"), "{}", error.chain());
    }

    #[test]
    fn a_url_that_names_no_store_is_refused() {
        for url in ["", "flows", "ftp://x/y", "file://relative"] {
            let error = Store::open(&Config { url: url.into(), ..Config::default() }).unwrap_err();
            assert!(error.message.contains("s3://bucket/prefix"), "{}", error.message);
        }
    }
}
