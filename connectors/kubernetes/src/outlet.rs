//! Where all kinds tell their news, in one order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use catchment_core::EventTime;
use catchment_core::knowledge::News;
use tokio::sync::mpsc::Sender;

use crate::fault::Fault;

/// Gives every piece of news its time, which never goes back.
#[derive(Clone)]
pub(crate) struct Outlet {
    news: Sender<News>,
    last: Arc<Mutex<EventTime>>,
}

impl Outlet {
    pub(crate) fn new(news: Sender<News>) -> Self {
        Self { news, last: Arc::new(Mutex::new(EventTime::MIN)) }
    }

    /// Waits for room, and sends what `tell` makes of the time, if anything. Nothing has happened where this is dropped
    /// before it returns.
    pub(crate) async fn send(&self, tell: impl FnOnce(EventTime) -> Option<News> + Send) -> Result<(), Fault> {
        let room = self.news.reserve().await.map_err(|_| Fault::Closed)?;
        // Timed and sent under one lock: the order of times is the order in the channel.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = now().max(*last);
        if let Some(news) = tell(*last) {
            room.send(news);
        }
        Ok(())
    }
}

pub(crate) fn now() -> EventTime {
    SystemTime::now().into()
}
