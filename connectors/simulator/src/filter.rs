//! The collector's filter: OR within a field, AND across fields.

use catchment_schemas::goldmane::{Filter, FlowKey, MatchType, PolicyHit, PolicyMatch, StringMatch};

/// Whether a key passes; a field without entries lets everything through.
pub(crate) fn matches(filter: &Filter, key: &FlowKey) -> bool {
    any_text(&filter.source_names, &key.source_name)
        && any_text(&filter.source_namespaces, &key.source_namespace)
        && any_text(&filter.dest_names, &key.dest_name)
        && any_text(&filter.dest_namespaces, &key.dest_namespace)
        && any_text(&filter.protocols, &key.proto)
        && any(&filter.dest_ports, |p| p.port == key.dest_port)
        && any(&filter.actions, |&a| a == key.action)
        && any(&filter.policies, |p| hits(key).any(|hit| policy(p, hit)))
        && any(&filter.pending_actions, |&a| pending(key).any(|hit| hit.action == a))
        && (filter.reporter == 0 || filter.reporter == key.reporter)
}

/// Every hit of a key's trace, enforced ones first.
pub(crate) fn hits(key: &FlowKey) -> impl Iterator<Item = &PolicyHit> {
    key.policies.iter().flat_map(|t| &t.enforced_policies).chain(pending(key))
}

fn pending(key: &FlowKey) -> impl Iterator<Item = &PolicyHit> {
    key.policies.iter().flat_map(|t| &t.pending_policies)
}

fn any<T>(wanted: &[T], test: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(test)
}

fn any_text(wanted: &[StringMatch], value: &str) -> bool {
    any(wanted, |m| text(m, value) || display_name(value).is_some_and(|shown| text(m, shown)))
}

/// Networks are also found by the name people are shown.
fn display_name(value: &str) -> Option<&'static str> {
    match value {
        "pub" => Some("PUBLIC NETWORK"),
        "pvt" => Some("PRIVATE NETWORK"),
        _ => None,
    }
}

fn text(wanted: &StringMatch, value: &str) -> bool {
    if wanted.r#type == MatchType::Fuzzy as i32 { value.contains(&wanted.value) } else { value == wanted.value }
}

fn policy(wanted: &PolicyMatch, hit: &PolicyHit) -> bool {
    let part = |m: Option<&StringMatch>, value: &str| m.is_none_or(|m| m.value.is_empty() || text(m, value));
    (wanted.kind == 0 || wanted.kind == hit.kind)
        && (wanted.action == 0 || wanted.action == hit.action)
        && part(wanted.tier.as_ref(), &hit.tier)
        && part(wanted.namespace.as_ref(), &hit.namespace)
        && part(wanted.name.as_ref(), &hit.name)
}

#[cfg(test)]
mod tests {
    use catchment_schemas::goldmane::{PolicyTrace, PortMatch};

    use super::*;

    fn key() -> FlowKey {
        let hit = PolicyHit { tier: "platform".into(), action: 2, ..PolicyHit::default() };
        FlowKey {
            source_name: "pub".into(),
            dest_name: "web-*".into(),
            dest_port: 80,
            action: 1,
            policies: Some(PolicyTrace { pending_policies: vec![hit], ..PolicyTrace::default() }),
            ..FlowKey::default()
        }
    }

    fn named(value: &str, kind: MatchType) -> Vec<StringMatch> {
        vec![StringMatch { value: value.into(), r#type: kind as i32 }]
    }

    #[test]
    fn names_match_raw_shown_and_in_part() {
        for (value, kind, expected) in [
            ("pub", MatchType::Exact, true),
            ("PUBLIC NETWORK", MatchType::Exact, true),
            ("PUBLIC", MatchType::Fuzzy, true),
            ("PUBLIC", MatchType::Exact, false),
        ] {
            let filter = Filter { source_names: named(value, kind), ..Filter::default() };
            assert_eq!(matches(&filter, &key()), expected, "{value}");
        }
    }

    #[test]
    fn fields_are_anded_and_entries_ored() {
        let ports = vec![PortMatch { port: 1 }, PortMatch { port: 80 }];
        assert!(matches(&Filter { dest_ports: ports.clone(), actions: vec![1], ..Filter::default() }, &key()));
        assert!(!matches(&Filter { dest_ports: ports, actions: vec![2], ..Filter::default() }, &key()));
    }

    #[test]
    fn policies_are_looked_for_in_the_pending_trace_too() {
        let tier = StringMatch { value: "platform".into(), r#type: 0 };
        let wanted = PolicyMatch { tier: Some(tier), ..PolicyMatch::default() };
        assert!(matches(&Filter { policies: vec![wanted], pending_actions: vec![2], ..Filter::default() }, &key()));
        assert!(!matches(&Filter { pending_actions: vec![1], ..Filter::default() }, &key()));
    }
}
