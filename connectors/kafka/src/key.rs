//! Record keys: which partition a row goes to.

use catchment_core::{Endpoint, Epoch, KeyRecord, StreamId};

/// The keys of all rows of an epoch, in the order of [`catchment_core::json::for_each_row`]. A finding has its own: only
/// then does compaction keep the newest row of each.
pub(crate) fn keys(epoch: &Epoch) -> impl Iterator<Item = String> {
    let cluster = &epoch.stream.cluster;
    let flows = epoch.window.iter().flat_map(|w| w.flows.iter().map(|row| &row.key));
    let conversations = epoch.window.iter().flat_map(|w| w.conversations.iter().map(|row| &row.key));
    let late = epoch.late.iter().map(|row| &row.flow.key);
    let side_rows = epoch.rejects.len() + epoch.gaps.len();
    let pairs = flows.chain(conversations).chain(late).map(move |key| pair_key(cluster, key));
    let findings = epoch.findings.iter().map(|row| row.id.to_string());
    pairs.chain(std::iter::repeat_n(stream_key(&epoch.stream), side_rows)).chain(findings)
}

/// The cluster and the two endpoints in name order, so that both directions meet.
fn pair_key(cluster: &str, record: &KeyRecord) -> String {
    let (a, b) = (end(&record.key.source), end(&record.key.dest));
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    format!("{cluster}|{first}|{second}")
}

fn end(end: &Endpoint) -> String {
    format!("{}/{}", end.namespace.as_deref().unwrap_or("-"), end.name())
}

/// The key of rows without endpoints.
fn stream_key(stream: &StreamId) -> String {
    stream.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use catchment_core::{FlowKey, Service, Trace};

    use super::*;

    fn workload(namespace: &str, name: &str) -> Endpoint {
        Endpoint { namespace: Some(namespace.into()), raw_name: name.into(), kind: 1 }
    }

    fn record(source: Endpoint, dest: Endpoint, dest_port: i64) -> KeyRecord {
        let trace = Arc::new(Trace::new(vec![], vec![]));
        let service = Service::default();
        let key = FlowKey { source, dest, dest_port, protocol: "tcp".into(), service, reporter: 1, action: 1, trace };
        KeyRecord::new(key, true)
    }

    #[test]
    fn both_directions_and_all_ports_of_a_pair_share_a_key() {
        let (web, db) = (workload("shop", "web-*"), workload("data", "db-*"));
        let there = pair_key("prod", &record(web.clone(), db.clone(), 5432));
        let back = pair_key("prod", &record(db, web, 80));
        assert_eq!(there, "prod|data/db-*|shop/web-*");
        assert_eq!(there, back);
    }

    #[test]
    fn the_cluster_and_the_namespace_tell_pairs_apart() {
        let (web, db) = (workload("shop", "web"), workload("data", "db"));
        let here = pair_key("prod", &record(web.clone(), db.clone(), 1));
        assert_ne!(here, pair_key("test", &record(web.clone(), db, 1)));
        assert_ne!(here, pair_key("prod", &record(web, workload("other", "db"), 1)));
    }

    #[test]
    fn an_end_without_a_namespace_is_written_with_a_dash() {
        let public = Endpoint { namespace: None, raw_name: "pub".into(), kind: 4 };
        let key = pair_key("prod", &record(workload("shop", "web"), public, 443));
        assert_eq!(key, "prod|-/PUBLIC NETWORK|shop/web");
    }
}
