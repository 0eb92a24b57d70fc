//! One kind as the server shows it: a list, and what changes from there on.
//!
//! `kube::runtime::watcher` does the same, but does not say when a watch that broke off is up again, nor when the server
//! proved that nothing has changed: a quiet kind would look stale for ever.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::api::WatchEvent;
use rand::RngExt as _;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use crate::api::Api;
use crate::catalog::Place;
use crate::fault::Fault;
use crate::line::{Line, version_of};
use catchment_core::knowledge::CALICO;

/// A watch that goes on from an old version is refused by its first event, if at all.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// How long a server that sends bookmarks may be silent before the connection is taken for dead: it sends one a minute.
const SILENCE: Duration = Duration::from_mins(2);
/// How long, in seconds, the server is asked to keep a watch open. Watches that began together do not end together.
const OPEN_FOR: std::ops::Range<u64> = 240..300;
/// A server that ends watches sooner than this and without an event is not well.
const SHORT: Duration = Duration::from_secs(1);
/// Ends the list part of a stream.
const LIST_END: &str = "k8s.io/initial-events-end";

/// Follows one kind at one place.
pub(crate) struct Feed {
    pub(crate) api: Api,
    pub(crate) place: Place,
    /// The version to go on from; `None` before the first complete list and when the server has forgotten it.
    pub(crate) version: Option<String>,
    /// Whether the server may be asked for a list as a stream, which neither side has to hold as a whole.
    pub(crate) streams: bool,
    /// Whether the server has been seen to send bookmarks.
    bookmarks: bool,
}

impl Feed {
    pub(crate) fn new(api: Api, place: Place) -> Self {
        // Calico's own server takes the request for a stream and then never says where the list ends.
        Self { api, place, version: None, streams: place.group != CALICO, bookmarks: false }
    }

    /// Lists, if there is no version to go on from, and watches until the server ends it.
    pub(crate) async fn follow(&mut self, line: &mut Line) -> Result<(), Fault> {
        match &self.version {
            Some(version) => {
                let query = format!("resourceVersion={version}");
                self.watch(line, "watch", &query, Part::Resumed).await
            }
            None if self.streams => {
                let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
                self.watch(line, "stream", query, Part::Listing).await
            }
            None => self.list(line).await,
        }
    }

    async fn list(&mut self, line: &mut Line) -> Result<(), Fault> {
        let (path, mut next) = (self.place.path(), String::new());
        line.begin();
        loop {
            line.metrics.request(line.kind, "list");
            let page = self.api.page(&path, &next).await?;
            for item in page.items.iter().flatten() {
                line.put(self.place.group, item).await?;
            }
            next = page.metadata.next;
            if next.is_empty() {
                line.complete().await?;
                self.version = Some(page.metadata.resource_version);
                return Ok(());
            }
        }
    }

    async fn watch(&mut self, line: &mut Line, what: &'static str, query: &str, part: Part) -> Result<(), Fault> {
        let seconds = rand::rng().random_range(OPEN_FOR);
        let path = self.place.path();
        let query = format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&{query}");
        line.metrics.request(line.kind, what);
        if part == Part::Listing {
            line.begin();
        }
        let events = self.api.watch(&query).await?;
        self.read(line, events, part).await
    }

    /// Reads events until the server ends the watch.
    async fn read(
        &mut self,
        line: &mut Line,
        events: impl Stream<Item = Result<WatchEvent<Box<RawValue>>, Fault>>,
        mut part: Part,
    ) -> Result<(), Fault> {
        let (mut events, opened, mut quiet) = (pin!(events), Instant::now(), true);
        loop {
            let patience = match part {
                Part::Resumed => REFUSED_WITHIN,
                _ if self.bookmarks => SILENCE,
                _ => Duration::from_secs(OPEN_FOR.end) + SILENCE,
            };
            let event = match timeout(patience, events.next()).await {
                Ok(Some(event)) => event?,
                Ok(None) => break,
                Err(_) if part == Part::Resumed => {
                    line.current().await?;
                    part = Part::Following;
                    continue;
                }
                Err(_) => return Err(Fault::Failed("the server is silent".into())),
            };
            quiet = false;
            part = self.take(line, event, part).await?;
        }
        match part {
            Part::Listing => Err(Fault::Failed("the server broke off a list".into())),
            _ if quiet && opened.elapsed() < SHORT => Err(Fault::Failed("the server ended a watch at once".into())),
            _ => Ok(()),
        }
    }

    async fn take(&mut self, line: &mut Line, event: WatchEvent<Box<RawValue>>, part: Part) -> Result<Part, Fault> {
        let listing = part == Part::Listing;
        let version = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                line.put(self.place.group, &object).await?;
                if listing {
                    return Ok(part);
                }
                version_of(&object)
            }
            WatchEvent::Deleted(object) => {
                line.gone(self.place.group, &object).await?;
                version_of(&object)
            }
            WatchEvent::Bookmark(bookmark) => {
                self.bookmarks = true;
                if listing && !bookmark.metadata.annotations.contains_key(LIST_END) {
                    return Ok(part);
                }
                if listing {
                    line.complete().await?;
                }
                bookmark.metadata.resource_version
            }
            WatchEvent::Error(status) => return Err(Fault::of_status(&status)),
        };
        if version.is_empty() {
            return Err(Fault::Failed("an object without a version".into()));
        }
        self.version = Some(version);
        line.current().await?;
        Ok(Part::Following)
    }
}

/// How far a watch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It shows what there is.
    Listing,
    /// It was told to go on from a version that the server may have forgotten.
    Resumed,
    /// It shows what changes.
    Following,
}
