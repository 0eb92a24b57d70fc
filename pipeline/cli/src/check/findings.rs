//! What of the findings that are configured cannot work.

use catchment_core::EventTime;
use catchment_files::DatasetName;
use catchment_runtime::detect::{MuteRule, Settings};
use catchment_schemas::Dataset;

use crate::config::{Config, SinkConfig};

/// Warnings, each with what to do.
pub(super) fn warnings(config: &Config, now: EventTime) -> Vec<String> {
    let settings = &config.findings;
    if !settings.enabled {
        return Vec::new();
    }
    let mut warnings: Vec<_> = settings.mutes.iter().enumerate().filter_map(|(n, rule)| mute(n, rule, now)).collect();
    if config.enrich.kubernetes.is_none() {
        warnings.extend(needs_accounts(settings).map(|key| {
            format!("findings.{key} needs service accounts, which no source here carries; set enrich.kubernetes")
        }));
    }
    if !config.sinks.values().any(publishes_findings) {
        warnings.push(
            "no sink publishes findings, so they are served at http.listen only and have no history; \
             add `findings` to the `datasets` of a sink"
                .to_owned(),
        );
    }
    warnings
}

fn mute(number: usize, rule: &MuteRule, now: EventTime) -> Option<String> {
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let says_one = rule.finding_id.is_some() || rule.kind.is_some() || rule.namespace.is_some();
    let wrong = if rule.until <= now {
        format!("ended at {}; remove it, or move `until`", rule.until)
    } else if !says_one {
        "names nothing and mutes nothing; give it finding_id, kind or namespace".to_owned()
    } else if !rule.finding_id.as_ref().is_none_or(is_id) {
        "mutes nothing: a finding_id has 32 hexadecimal digits in lower case".to_owned()
    } else {
        return None;
    };
    Some(format!("findings.mutes[{number}] {wrong}"))
}

fn needs_accounts(settings: &Settings) -> impl Iterator<Item = &'static str> {
    let configured =
        [("boundaries", settings.boundaries.is_empty()), ("expected_accounts", settings.expected_accounts.is_empty())];
    configured.into_iter().filter(|(_, is_empty)| !is_empty).map(|(key, _)| key)
}

fn publishes_findings(sink: &SinkConfig) -> bool {
    match sink {
        SinkConfig::Kafka(config) => config.datasets.iter().any(|name| name == Dataset::Findings.name()),
        SinkConfig::Parquet(config) => config.datasets.contains(&catchment_parquet::DatasetName::Findings),
        SinkConfig::Jsonl(config) => config.datasets.contains(&DatasetName::Findings),
        SinkConfig::Alertmanager(_) | SinkConfig::Webhook(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    const NOW: &str = "2026-06-01T00:00:00Z";

    fn warned(sink: &str, findings: &str) -> Vec<String> {
        let text = format!(
            "cluster: test\nsources: {{ files: {{ type: files, paths: ['-'] }} }}\nsinks: {{ out: {{ type: jsonl{sink} }} }}\n\
             findings: {findings}\n"
        );
        let config = Config::parse(&text, &|_| None).expect("valid");
        warnings(&config, EventTime::parse_rfc3339(NOW).expect("a time"))
    }

    #[test]
    fn a_mute_that_mutes_nothing_is_warned_of() {
        let mutes = format!(
            "{{ mutes: [{{ kind: private.scan, reason: a, until: {NOW} }}, {{ reason: b, until: 2027-01-01T00:00:00Z }}, \
             {{ finding_id: 3fa9, reason: c, until: 2027-01-01T00:00:00Z }}, \
             {{ namespace: 'x-*', reason: d, until: 2027-01-01T00:00:00Z }}] }}"
        );
        let warned = warned(", datasets: [findings]", &mutes);
        let [ended, nothing, no_id] = &warned[..] else { panic!("{warned:?}") };
        assert!(ended.starts_with("findings.mutes[0] ended at 2026-06-01"), "{ended}");
        assert!(nothing.starts_with("findings.mutes[1] names nothing"), "{nothing}");
        assert!(no_id.starts_with("findings.mutes[2] mutes nothing"), "{no_id}");
    }

    #[test]
    fn a_sink_takes_findings_exactly_where_its_configuration_publishes_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = |sink: &str| {
            let sink = sink.replace("FOLDER", &folder.path().display().to_string());
            format!(
                "cluster: test\nsources: {{ files: {{ type: files, paths: ['-'] }} }}\nsinks: {{ out: {{ {sink} }} }}\n"
            )
        };
        for (sink, takes) in [
            ("type: kafka, brokers: '127.0.0.1:9'", true),
            ("type: kafka, brokers: '127.0.0.1:9', datasets: [flows]", false),
            ("type: parquet, url: 'file://FOLDER'", true),
            ("type: parquet, url: 'file://FOLDER', datasets: [flows, gaps]", false),
            ("type: jsonl, datasets: [flows, findings]", true),
            ("type: jsonl", false),
            ("type: alertmanager, url: 'http://127.0.0.1:9'", true),
            ("type: webhook, url: 'http://127.0.0.1:9'", true),
        ] {
            let config = Config::parse(&text(sink), &|_| None).expect(sink);
            let section = &config.sinks["out"];
            let built = crate::wiring::sink(&config, "out", section, &mut Registry::default()).expect(sink);
            assert_eq!((publishes_findings(section), built.takes(Dataset::Findings)), (takes, takes), "{sink}");
            let is_notice = matches!(section, SinkConfig::Alertmanager(_) | SinkConfig::Webhook(_));
            assert_eq!(built.takes(Dataset::Flows), !is_notice, "{sink}");
        }
    }

    #[test]
    fn boundaries_without_a_cluster_and_findings_without_a_sink_are_warned_of() {
        let boundaries = "{ boundaries: [{ name: db, destination: app == 'db', accounts: [shop/api] }] }";
        let warned = |sink, findings| warned(sink, findings).join("\n");
        assert!(warned(", datasets: [findings]", boundaries).starts_with("findings.boundaries needs service accounts"));
        assert!(warned("", "{}").starts_with("no sink publishes findings"));
        assert_eq!(warned("", "{ enabled: false }"), "");
    }
}
