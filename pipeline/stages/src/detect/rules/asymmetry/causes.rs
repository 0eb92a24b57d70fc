//! Why a destination may be silent, ranked by what speaks for it. It is a guess, and says so.

use catchment_schemas::goldmane::Reporter;
use serde_json::{Value, json};

use crate::detect::facts::{Signs, Talk};

/// Names are looked up here.
pub(super) const DNS_PORT: i64 = 53;

/// A cause and what speaks for it.
struct Cause {
    what: &'static str,
    because: String,
}

/// Causes of silence, the likeliest first.
pub(super) fn of_silence(talk: &Talk<'_>) -> Value {
    let mut causes = Vec::new();
    let mut add = |what, because: &str| causes.push(Cause { what, because: because.to_owned() });
    if talk.ready_endpoints() == Some(0) {
        add("no ready endpoint", "no endpoint of its services is ready");
    }
    if talk.signs.has(Signs::HALF_MISSING) && talk.seen(Reporter::Dst).is_none() {
        add("service routing", "the destination's node saw none of the requests");
    }
    let arrived = talk.seen(Reporter::Dst).is_some_and(|seen| seen.request_packets > 0);
    if arrived && !talk.answers_somebody() {
        add("a process that does not answer", "requests arrive at the destination's node, and nobody gets a reply");
    }
    if talk.answers_somebody() {
        add("a firewall or route on the reply path", "the destination answers others");
    }
    if talk.port() == DNS_PORT {
        add("DNS", "the port is that of name servers");
    }
    if !talk.answers_somebody() {
        add("a firewall or route on the reply path", "nothing speaks against it");
    }
    causes.into_iter().map(|Cause { what, because }| json!({"cause": what, "because": because})).collect()
}

/// The causes as a sentence.
pub(super) fn told(causes: Option<&Value>) -> String {
    let causes = causes.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |cause: &Value, member: &str| cause[member].as_str().unwrap_or_default().to_owned();
    let each: Vec<_> =
        causes.iter().map(|cause| format!("{} ({})", text(cause, "cause"), text(cause, "because"))).collect();
    format!("Likely causes, a guess, the likeliest first: {}.", each.join("; "))
}
