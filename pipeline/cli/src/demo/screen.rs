//! A sink for eyes: one line a window, and under it what opened.

use std::fmt::Write as _;

use async_trait::async_trait;
use catchment_core::{
    ClosedWindow, Conversation, Cursor, Endpoint, Epoch, FindingRow, Identity, Result, Sink, Status, StreamId, Symmetry,
};
use catchment_schemas::goldmane::Action;

use crate::findings::subject;

/// Findings of a window that are shown.
const SHOWN: usize = 5;

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
            crate::emit(&opened(&epoch.findings))?;
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

/// The worst of what opened, one a line.
fn opened(findings: &[FindingRow]) -> String {
    let mut opened: Vec<_> = findings.iter().filter(|row| row.status == Status::Opened).collect();
    opened.sort_by_key(|row| std::cmp::Reverse(row.severity));
    let mut text = String::new();
    for row in opened.iter().take(SHOWN) {
        let (severity, kind, subject) = (row.severity, row.kind, subject(&row.subject));
        let _ = writeln!(text, "    opened  {severity:<6}  {kind:<28}  {subject}");
    }
    if opened.len() > SHOWN {
        let _ = writeln!(text, "    opened  and {} more, none of them worse", opened.len() - SHOWN);
    }
    text
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
