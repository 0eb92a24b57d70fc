//! A sink for eyes: one line a window.

use async_trait::async_trait;
use catchment_core::{ClosedWindow, Conversation, Cursor, Endpoint, Epoch, Identity, Result, Sink, StreamId, Symmetry};
use catchment_schemas::goldmane::Action;

/// Prints windows as they close, and remembers nothing.
pub(crate) struct Screen;

#[async_trait]
impl Sink for Screen {
    async fn open(&mut self, _stream: &StreamId) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn publish(&mut self, epoch: &Epoch) -> Result<Option<Cursor>> {
        if let Some(window) = &epoch.window {
            crate::emit(&line(window))?;
        }
        Ok(Some(epoch.cursor()))
    }

    async fn finish(&mut self) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn check(&mut self) -> Result<String> {
        Ok("the screen".to_owned())
    }
}

fn line(window: &ClosedWindow) -> String {
    let count = |wanted: fn(&Conversation) -> bool| window.conversations.iter().filter(|c| wanted(c)).count();
    let busiest = window.conversations.iter().max_by_key(|c| bytes(c));
    let busiest = busiest.map(|c| {
        let (key, ends) = (&c.key.key, c.ends());
        format!("   busiest {} -> {} :{}", name(&key.source, &ends.source), name(&key.dest, &ends.dest), key.dest_port)
    });
    format!(
        "  window {}  {:>6} flows {:>6} conversations {:>4} denied {:>4} without reply{}\n",
        window.span.start,
        window.flows.len(),
        window.conversations.len(),
        count(|c| c.halves.iter().any(|half| half.action == Action::Deny as i32)),
        count(|c| c.symmetry == Symmetry::RequestOnly),
        busiest.unwrap_or_default(),
    )
}

fn bytes(conversation: &Conversation) -> u64 {
    let seen = [conversation.source_view().seen, conversation.dest_view().seen];
    seen.into_iter().flatten().map(|e| e.request_bytes + e.reply_bytes).max().unwrap_or(0)
}

/// The workload where it is known, with its kind; else what the collector calls the end.
fn name(end: &Endpoint, identity: &Identity) -> String {
    let who = &identity.who;
    let name = match (&who.workload_kind, &who.workload_name) {
        (Some(kind), Some(name)) => format!("{name} ({kind})"),
        _ => end.name().to_owned(),
    };
    match &end.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    }
}
