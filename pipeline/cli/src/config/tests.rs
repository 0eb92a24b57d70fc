use super::*;

const SMALL: &str = "
cluster: test
sources:
  calico:
    type: goldmane
    address: http://localhost:7443
sinks:
  out:
    type: jsonl
";

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, &|name| (name == "BROKERS").then(|| "a:9092, \"b\": 1".to_owned()))
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("refused").message
}

#[test]
fn a_small_file_gets_the_documented_defaults() {
    let config = parse(SMALL).expect("valid");
    assert_eq!(config.window, Period::secs(60));
    assert_eq!(config.spool, SpoolConfig::default());
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9464");
    let SourceConfig::Goldmane(goldmane) = &config.sources["calico"] else { panic!("{config:?}") };
    assert_eq!(goldmane.address, "http://localhost:7443");
    assert_eq!(config.sinks["out"], SinkConfig::Jsonl(catchment_files::SinkConfig::default()));
}

#[test]
fn every_type_of_connector_is_read() {
    let text = "
cluster: test
window: 2m
sources:
  files: { type: files, paths: [\"flows/*.jsonl\", \"-\"], disorder: 30s }
sinks:
  kafka: { type: kafka, brokers: \"a:9092\", properties: { sasl.password: hunter2 } }
  lake: { type: parquet, url: \"file:///tmp/lake\", roll: 10m }
  alerts: { type: alertmanager, url: \"http://am:9093\", min_severity: low, resend: 2m }
  hook: { type: webhook, url: \"https://host/hook\", format: ocsf }
";
    let config = parse(text).expect("valid");
    assert_eq!(config.window, Period::secs(120));
    let SourceConfig::Files(files) = &config.sources["files"] else { panic!("{config:?}") };
    assert_eq!((files.paths.len(), files.disorder), (2, Some(Period::secs(30))));
    assert!(matches!(&config.sinks["kafka"], SinkConfig::Kafka(kafka) if kafka.brokers == "a:9092"));
    assert!(matches!(&config.sinks["lake"], SinkConfig::Parquet(lake) if lake.roll == Period::secs(600)));
    let SinkConfig::Alertmanager(alerts) = &config.sinks["alerts"] else { panic!("{config:?}") };
    assert_eq!((alerts.min_severity, alerts.resend), (catchment_notify::Level::Low, Period::secs(120)));
    assert!(
        matches!(&config.sinks["hook"], SinkConfig::Webhook(hook) if hook.format == catchment_notify::Format::Ocsf)
    );
}

#[test]
fn variables_stand_in_for_strings_and_are_never_read_as_yaml() {
    let text = SMALL.replace("http://localhost:7443", "\"${HOST:-nowhere}/${BROKERS}\"");
    let config = parse(&text).expect("valid");
    let SourceConfig::Goldmane(goldmane) = &config.sources["calico"] else { panic!("{config:?}") };
    assert_eq!(goldmane.address, "nowhere/a:9092, \"b\": 1");
}

#[test]
fn a_missing_variable_is_named_with_its_line() {
    let message = refusal(&SMALL.replace("http://localhost:7443", "${GOLDMANE}"));
    assert!(message.starts_with("line 6: ") && message.contains("`GOLDMANE` is not set"), "{message}");
    assert!(refusal(&SMALL.replace("http://localhost:7443", "${GOLDMANE")).starts_with("line 6: "));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
    let message = refusal(&SMALL.replace("address:", "adress:"));
    assert!(message.starts_with("line 6: sources.calico: "), "{message}");
    assert!(message.ends_with("did you mean `address`?"), "{message}");
    let message = refusal(&format!("# windw\n{SMALL}windw: 60s\n"));
    assert!(message.starts_with("line 11: ") && message.ends_with("did you mean `window`?"), "{message}");
}

#[test]
fn an_unknown_type_is_refused_with_the_nearest_name() {
    let message = refusal(&SMALL.replace("type: goldmane", "type: goldman"));
    assert!(message.starts_with("line 5: ") && message.ends_with("did you mean `goldmane`?"), "{message}");
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_its_line() {
    let message = refusal(&format!("{SMALL}window: soon\n"));
    assert!(message.starts_with("line 10: ") && message.contains("write it like 60s"), "{message}");
    assert!(refusal(&format!("{SMALL}workers: many\n")).starts_with("line 10: "));
    assert!(refusal(&format!("{SMALL}workers: 0\n")).starts_with("line 10: "));
}

#[test]
fn broken_yaml_is_refused_with_its_line() {
    let message = refusal("cluster: test\nsources: [\n");
    assert!(message.contains("line "), "{message}");
    assert!(refusal("").contains("`cluster`"));
}

#[test]
fn a_file_without_sources_or_sinks_is_refused() {
    assert!(refusal("cluster: test").contains("under `sources`"));
    assert!(refusal("cluster: test\nsources: { s: { type: files, paths: [a] } }").contains("under `sinks`"));
    assert!(refusal("window: 60s").contains("`cluster`"));
}

#[test]
fn print_masks_secrets_and_reads_back_as_the_same_configuration() {
    let config = parse(SMALL).expect("valid");
    assert_eq!(parse(&config.print()).expect("valid"), config);
    let text = SMALL.replace("type: jsonl", "type: kafka\n    properties: { sasl.password: hunter2, client.id: me }");
    let printed = parse(&text).expect("valid").print();
    assert!(!printed.contains("hunter2") && printed.contains("client.id: me"), "{printed}");
}

#[test]
fn print_masks_every_header_and_keeps_their_names() {
    let text = SMALL.replace(
        "type: jsonl",
        "type: webhook\n    url: https://host/hook\n    headers: { Authorization: \"Bearer ${BROKERS}\", X-Tenant: me }",
    );
    let config = parse(&text).expect("valid");
    assert!(
        matches!(&config.sinks["out"], SinkConfig::Webhook(hook) if hook.headers.0["Authorization"].contains("a:9092"))
    );
    let printed = config.print();
    assert!(!printed.contains("a:9092") && !printed.contains(": me"), "{printed}");
    assert!(printed.contains("Authorization") && printed.contains("X-Tenant"), "{printed}");
}

#[test]
fn load_names_the_file() {
    let error = Config::load(Path::new("/nowhere/catchment.yaml")).expect_err("missing");
    assert!(error.message.contains("/nowhere/catchment.yaml"));
}

#[test]
fn the_schema_knows_every_section_and_connector() {
    let schema = Config::schema();
    for section in ["cluster", "window", "workers", "spool", "sources", "sinks", "http", "log"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    let text = schema.to_string();
    for kind in ["goldmane", "files", "kafka", "parquet", "jsonl", "alertmanager", "webhook"] {
        assert!(text.contains(&format!("\"const\":\"{kind}\"")), "{kind}");
    }
}

#[test]
fn a_mistake_in_findings_is_refused_with_line_column_and_the_nearest_name() {
    let refused = |section: &str| refusal(&format!("{SMALL}findings:\n{section}"));
    let known_mute = "  mutes:\n    - { kind: private.scan, reason: x, until: 2026-01-01T00:00:00Z }\n";
    for (section, place, told) in [
        ("  critical:\n    - \"app = web\"\n", "line 12, column 7: ", "`app = web` is no selector: at byte 4"),
        ("  disabled: [private.scan, private.scna]\n", "line 11, column 28: ", "did you mean `private.scan`?"),
        ("  severities: { private.scan: hihg }\n", "line 11, column 31: ", "did you mean `high`?"),
        ("  tresholds: {}\n", "line 11, column 3: ", "did you mean `thresholds`?"),
        ("  runbooks: wiki/run\n", "line 11, column 13: ", "`wiki/run` is no address of a folder"),
        ("  enabled: maybe\n", "line 11, column 12: ", "expected a boolean"),
        (&format!("{known_mute}    - reson: x\n"), "line 13, column 7: ", "did you mean `reason`?"),
        (
            &format!("{known_mute}    - kind: private.scan\n      reason: x\n"),
            "line 14, column 7: ",
            "missing field `until`",
        ),
        (&format!("{known_mute}    - reason: x\n      until: soon\n"), "line 14, column 14: ", "write it like 2026-"),
    ] {
        let message = refused(section);
        assert!(message.starts_with(&format!("{place}findings: ")) && message.contains(told), "{section}{message}");
    }
}

#[test]
fn variables_in_findings_stand_in_for_strings_and_hide_only_the_column() {
    let mute = |reason: &str| {
        format!(
            "{SMALL}findings:\n  mutes:\n    - {{ kind: private.scan, {reason}, until: '${{X:-2026-01-01T00:00:00Z}}' }}\n"
        )
    };
    assert_eq!(parse(&mute("reason: x")).expect("valid").findings.mutes.len(), 1);
    let message = refusal(&mute("reson: x"));
    assert!(message.starts_with("line 12") && message.ends_with("did you mean `reason`?"), "{message}");
}

#[test]
fn the_section_in_the_documentation_is_read_as_it_stands() {
    let page = include_str!("../../../../docs/findings.md");
    let lines = page.lines().skip_while(|line| *line != "    findings:").take_while(|line| line.starts_with("    "));
    let section: Vec<_> = lines.map(|line| &line[4..]).collect();
    let findings = parse(&format!("{SMALL}{}\n", section.join("\n"))).expect("valid").findings;
    assert_eq!((findings.boundaries.len(), findings.mutes.len(), findings.isolated_namespaces.len()), (1, 1, 1));
    assert_eq!(findings.environments.forbidden, detect::Settings::default().environments.forbidden);
}
