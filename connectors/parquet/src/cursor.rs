//! The cursor object: how far the stream is durable, moved by compare-and-swap.
//!
//! Opening swaps in an owner of its own, so whoever held the stream before loses its next swap and
//! stops. In a folder, where the store has no conditional put, a lock file makes reading, comparing
//! and renaming one step among the processes of a machine.

use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::Path as FilePath;

use catchment_core::{Cursor, Error, LogId, Result, Retry, StreamId};
use object_store::path::Path;
use object_store::{Error as Fault, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use serde::{Deserialize, Serialize};

use crate::fault::wrap;
use crate::name;
use crate::store::Store;

/// What the cursor object holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    cluster: String,
    source: String,
    /// Who may move it. Not a function of the rows: two holders must never look alike.
    owner: String,
    /// One more than the owner before.
    term: u64,
    /// The log whose rows are in the stream's files, also in those that the cursor has not passed yet;
    /// unknown before the first file.
    #[serde(default)]
    log: Option<LogId>,
    cursor: Option<Cursor>,
}

/// A stream's cursor, held.
#[derive(Debug)]
pub(crate) struct Held {
    path: Path,
    state: State,
    version: UpdateVersion,
}

impl Held {
    /// Takes the stream over from whoever held it.
    pub(crate) async fn take(store: &Store, stream: &StreamId) -> Result<Self> {
        let path = name::cursor(&store.prefix, stream);
        let found = read(store, &path).await?;
        let (term, log, cursor) = found.as_ref().map_or((0, None, None), |(s, _)| (s.term, s.log, s.cursor.clone()));
        let (cluster, source) = (stream.cluster.clone(), stream.source.clone());
        let state = State { cluster, source, owner: new_owner(), term: term + 1, log, cursor };
        let version = swap(store, &path, &state, found.as_ref()).await?;
        Ok(Self { path, state, version })
    }

    /// The cursor as it is durable.
    pub(crate) fn cursor(&self) -> Option<&Cursor> {
        self.state.cursor.as_ref()
    }

    /// Notes, before the first file, whose rows the files will hold: a crash may leave files that no
    /// cursor speaks of, and those of another log must not get in among them.
    pub(crate) async fn begin(&mut self, store: &Store, log: LogId) -> Result<()> {
        match self.state.log {
            Some(held) if held == log => Ok(()),
            Some(held) => Err(Error::user(format!(
                "parquet: {} is of log {held}, and this is log {log}; restore that log, or choose an empty prefix",
                self.path
            ))),
            None => self.replace(store, State { log: Some(log), ..self.state.clone() }).await,
        }
    }

    /// Moves the cursor, unless another holder took over.
    pub(crate) async fn advance(&mut self, store: &Store, cursor: &Cursor) -> Result<()> {
        self.replace(store, State { cursor: Some(cursor.clone()), ..self.state.clone() }).await
    }

    async fn replace(&mut self, store: &Store, next: State) -> Result<()> {
        let before = (self.state.clone(), self.version.clone());
        self.version = swap(store, &self.path, &next, Some(&before)).await?;
        self.state = next;
        Ok(())
    }
}

/// A name no other holder has: the standard library seeds each of these from the system's randomness.
fn new_owner() -> String {
    let word = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

async fn read(store: &Store, path: &Path) -> Result<Option<(State, UpdateVersion)>> {
    let what = format!("read {path}");
    let object = match store.objects.get(path).await {
        Ok(object) => object,
        Err(Fault::NotFound { .. }) => return Ok(None),
        Err(fault) => return Err(wrap(&what, &fault)),
    };
    let version = UpdateVersion { e_tag: object.meta.e_tag.clone(), version: object.meta.version.clone() };
    let bytes = object.bytes().await.map_err(|e| wrap(&what, &e))?;
    let unreadable = |e| Error::user(format!("parquet: {path} is no cursor; restore it, or move it away")).caused_by(e);
    Ok(Some((serde_json::from_slice(&bytes).map_err(unreadable)?, version)))
}

/// Replaces `before` by `next`, or fails for good.
async fn swap(
    store: &Store,
    path: &Path,
    next: &State,
    before: Option<&(State, UpdateVersion)>,
) -> Result<UpdateVersion> {
    if let Some(folder) = &store.folder {
        let before = before.map(|(state, _)| state);
        return swap_in_folder(store, folder, path, next, before).await;
    }
    let mode = before.map_or(PutMode::Create, |(_, version)| PutMode::Update(version.clone()));
    match store.objects.put_opts(path, payload(next), mode.into()).await {
        Ok(put) => Ok(put.into()),
        Err(Fault::Precondition { .. } | Fault::AlreadyExists { .. }) => settle(store, path, next).await,
        // Removed since it was read. Where nothing was there before, it is the bucket that is missing.
        Err(Fault::NotFound { .. }) if before.is_some() => settle(store, path, next).await,
        Err(fault) => Err(wrap(&format!("move {path}"), &fault)),
    }
}

/// A refused swap is won all the same where our own state stands there: an earlier answer was lost.
async fn settle(store: &Store, path: &Path, next: &State) -> Result<UpdateVersion> {
    match read(store, path).await? {
        Some((there, version)) if there == *next => Ok(version),
        _ => Err(taken_over(path)),
    }
}

async fn swap_in_folder(
    store: &Store,
    folder: &FilePath,
    path: &Path,
    next: &State,
    before: Option<&State>,
) -> Result<UpdateVersion> {
    let lock_path = folder.join(format!("{path}.lock"));
    let locked = tokio::task::spawn_blocking(move || lock(&lock_path)).await.map_err(std::io::Error::other);
    let cannot = |e| Error::external(format!("parquet: cannot lock {path}; check the folder's rights")).caused_by(e);
    let _held_until_renamed = locked.and_then(|l| l).map_err(cannot)?;
    let there = read(store, path).await?.map(|(state, _)| state);
    // Our own state is there where an earlier call was dropped between renaming and returning.
    if there.as_ref() != before && there.as_ref() != Some(next) {
        return Err(taken_over(path));
    }
    store.replace_in_folder(path, bytes(next)).await?;
    // The lock stands in for the version, which a folder does not know.
    Ok(UpdateVersion { e_tag: None, version: None })
}

fn bytes(state: &State) -> Vec<u8> {
    serde_json::to_vec(state).expect("a cursor holds only plain values")
}

fn payload(state: &State) -> PutPayload {
    bytes(state).into()
}

fn lock(path: &FilePath) -> std::io::Result<fs::File> {
    fs::create_dir_all(path.parent().expect("the lock lies in the cursor's folder"))?;
    let file = fs::File::create(path)?;
    file.lock()?;
    Ok(file)
}

fn taken_over(path: &Path) -> Error {
    Error::external(format!("parquet: another process took over {path}; run one holder per stream"))
        .with_retry(Retry::Never)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use catchment_core::{EpochId, Floor, LogPosition};
    use object_store::memory::InMemory;

    use super::*;

    fn cursor(position: u64) -> Cursor {
        let committed = EpochId { position: LogPosition(position), part: 0 };
        Cursor { log: None, committed, floor: Floor { position: LogPosition(0), watermarks: Vec::new() } }
    }

    fn stream() -> StreamId {
        StreamId { cluster: "prod".into(), source: "goldmane".into() }
    }

    fn stores() -> (tempfile::TempDir, [Store; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let local = Store::open(&crate::Config { url, ..crate::Config::default() }).unwrap();
        (folder, [local, Store::new(Arc::new(InMemory::new()), Path::from("p"))])
    }

    #[tokio::test]
    async fn a_cursor_survives_and_who_held_it_before_loses() {
        let (_folder, stores) = stores();
        for store in stores {
            let mut first = Held::take(&store, &stream()).await.unwrap();
            assert_eq!(first.cursor(), None);
            first.advance(&store, &cursor(1)).await.unwrap();
            first.advance(&store, &cursor(2)).await.unwrap();

            let mut second = Held::take(&store, &stream()).await.unwrap();
            assert_eq!(second.cursor(), Some(&cursor(2)));
            let lost = first.advance(&store, &cursor(3)).await.unwrap_err();
            assert_eq!(lost.retry, Retry::Never);
            second.advance(&store, &cursor(4)).await.unwrap();
            assert_eq!(Held::take(&store, &stream()).await.unwrap().cursor(), Some(&cursor(4)));
        }
    }

    #[tokio::test]
    async fn a_swap_whose_answer_was_lost_is_won() {
        let (_folder, stores) = stores();
        for store in stores {
            let mut held = Held::take(&store, &stream()).await.unwrap();
            let (state, version) = (held.state.clone(), held.version.clone());
            held.advance(&store, &cursor(1)).await.unwrap();
            let mut again = Held { path: held.path.clone(), state, version };
            again.advance(&store, &cursor(1)).await.unwrap();
            again.advance(&store, &cursor(2)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_damaged_cursor_is_named_and_kept() {
        let (_folder, stores) = stores();
        for store in stores {
            let path = name::cursor(&store.prefix, &stream());
            store.objects.put(&path, "half a cur".into()).await.unwrap();
            let error = Held::take(&store, &stream()).await.unwrap_err();
            assert!(error.message.contains("goldmane.json"), "{}", error.message);
        }
    }
}
