//! What a sink must know after a restart, in a file of its own: its receiver keeps no cursor for it.

use std::io;
use std::path::{Path, PathBuf};

use catchment_core::{Cursor, Epoch, Error, Result, StreamId};
use serde::{Deserialize, Serialize};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;

use crate::alert::Open;

/// How far a stream has come, and which alerts have to be sent again until they end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The last epoch that was delivered; none before the first.
    pub(crate) cursor: Option<Cursor>,
    /// Alerts that are open; a webhook has none.
    #[serde(default)]
    pub(crate) open: Open,
}

impl State {
    /// An epoch handed over again after it was delivered.
    pub(crate) fn knows(&self, epoch: &Epoch) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| epoch.id <= cursor.committed)
    }
}

/// The file of one stream.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// In `folder`, which belongs to one sink of one cluster.
    pub(crate) fn of(folder: &Path, stream: &StreamId) -> Self {
        Self { path: folder.join(format!("{}.json", stream.source)) }
    }

    /// What was saved last; nothing where there is no file.
    pub(crate) async fn load(&self) -> Result<State> {
        match fs::read(&self.path).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| self.unreadable(e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(self.failed("read", e)),
        }
    }

    /// Replaces the file as a whole; after a crash it is the old or the new one.
    pub(crate) async fn save(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state).expect("plain values serialize");
        self.replace(&bytes).await.map_err(|e| self.failed("write", e))
    }

    async fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().expect("it was made by joining a folder");
        fs::create_dir_all(folder).await?;
        let draft = self.path.with_extension("json.new");
        let mut file = File::create(&draft).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        fs::rename(&draft, &self.path).await?;
        // The rename itself must outlive a power cut.
        File::open(folder).await?.sync_all().await
    }

    fn unreadable(&self, error: serde_json::Error) -> Error {
        let path = self.path.display();
        Error::user(format!(
            "`{path}` holds no cursor; remove it to begin with the oldest window of the log, whose findings are told again"
        ))
        .caused_by(error)
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        let path = self.path.display();
        let message = format!("cannot {what} `{path}`: check its folder, its rights and the room on the disk");
        Error::external(message).caused_by(error)
    }
}
