//! `catchment selector` and `catchment why` through the real binary.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::catchment;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints UTF-8")
}

#[test]
fn a_selector_judges_labels_line_by_line() {
    let input = "{\"app\": \"web\"}\n{\"app\": \"db\", \"retired\": \"\"}\n{}\n";
    let output = catchment(&["selector", "app in {'web', 'db'} && !has(retired)"], input);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "true\nfalse\nfalse\n"));
}

#[test]
fn a_selector_is_written_as_calico_writes_it() {
    let output = catchment(&["selector", "--canonical", "a=='b'&&c notin {'e','d'}"], "");
    assert_eq!(text(&output.stdout), "(a == \"b\" && c not in {\"d\", \"e\"})\n");
}

#[test]
fn a_wrong_selector_shows_where_and_why_and_exits_with_2() {
    let output = catchment(&["selector", "app = 'web'"], "{}\n");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    let error = text(&output.stderr);
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines[1], "app = 'web'", "{error}");
    assert!(lines[2].starts_with("    ^ expected =="), "{error}");
}

#[test]
fn labels_that_are_none_name_their_line_and_exit_with_2() {
    let output = catchment(&["selector", "all()"], "{}\n[1]\n");
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), "true\n"));
    assert!(text(&output.stderr).contains("line 2"), "{}", text(&output.stderr));
}

fn snapshot() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/policies.yaml");
    path.to_str().expect("paths are text").to_owned()
}

fn why(args: &[&str]) -> Output {
    catchment(&[&["why", "--snapshot", &snapshot()], args].concat(), "")
}

#[test]
fn why_prints_the_whole_chain() {
    let output = why(&["shop/web-0", "shop/db-0:5432"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = include_str!("policies-denied.txt");
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn why_answers_scripts_in_json_and_yaml() {
    let output = why(&["shop/web-0", "10.0.0.3:5432", "-o", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!((&json["verdict"], &json["destination"]), (&"deny".into(), &"shop/db-0".into()));
    assert_eq!(json["ingress"]["decided_by"]["by"], "end_of_tier");
    assert_eq!(json["ingress"]["decided_by"]["trigger"]["name"], "allow-web");
    assert_eq!(json["ingress"]["tiers"][1]["policies"][0]["near"][0]["unmet"]["terms"][0]["resembles"], "app=Web");
    assert_eq!(json["ingress"]["staged"][0]["preview"], Value::Null, "the preview stands in the effect itself");
    assert_eq!(json["ingress"]["staged"][0]["verdict"], "allow");

    let yaml = text(&why(&["shop/web-0", "shop/db-0:5432", "-o", "yaml"]).stdout);
    assert!(yaml.contains("verdict: deny") && yaml.contains("resembles: app=Web"), "{yaml}");
}

#[test]
fn why_fails_on_a_verdict_only_where_it_is_asked_to() {
    for (source, fail, code) in [
        ("shop/web-0", &["--fail-on", "deny"][..], 10),
        ("shop/web-0", &[], 0),
        ("shop/api-5d9c7b-*", &["--fail-on", "deny"], 0),
    ] {
        let output = why(&[&[source, "shop/db-0:5432"], fail].concat());
        assert_eq!(output.status.code(), Some(code), "{source} {fail:?}");
        assert!(text(&output.stdout).starts_with(&source[..8]), "the answer is printed all the same");
    }
}

#[test]
fn why_says_why_it_reaches_no_cluster() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config");
    let ask = |arguments: &[&str]| {
        let file = file.to_str().expect("paths are text");
        let ends = ["why", "shop/web-0", "shop/db-0:5432", "--kubeconfig", file];
        let output = catchment(&[&ends, arguments].concat(), "");
        (output.status.code(), text(&output.stderr))
    };
    let (code, error) = ask(&[]);
    assert!(code == Some(2) && error.contains("kubeconfig") && error.contains("config"), "{code:?} {error}");
    // Nobody listens on the port of a listener that has gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let config = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n"
    );
    std::fs::write(&file, config).expect("written");
    let (code, error) = ask(&[]);
    assert!(code == Some(1) && error.contains(&format!("API server at http://127.0.0.1:{port}")), "{code:?} {error}");
    let (code, error) = ask(&["--context", "nowhere"]);
    assert!(code == Some(2) && error.contains("nowhere"), "{code:?} {error}");
    let (code, error) = ask(&["--snapshot", &snapshot()]);
    assert!(code == Some(2) && error.contains("cannot be used with"), "{code:?} {error}");
}

#[test]
fn why_takes_the_names_of_flow_logs_and_addresses() {
    for (source, destination, verdict) in [
        ("shop/api-5d9c7b-*", "shop/db-0:5432", "allow"),
        ("10.0.0.2", "shop/db-0:5432", "allow"),
        ("203.0.113.9", "shop/db-0:5432", "deny"),
        ("shop/api-5d9c7b-*", "203.0.113.9:53/udp", "allow"),
        ("shop/web-0", "shop/api-5d9c7b-x2:icmp", "allow"),
    ] {
        let output = why(&[source, destination, "-o", "json"]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        assert_eq!(json["verdict"], verdict, "{source} {destination}");
    }
}

#[test]
fn why_says_what_is_wrong_with_its_arguments() {
    for (source, destination, mend) in [
        ("shop/web", "shop/db-0:5432", "nearest: shop/web-0"),
        ("web-0", "shop/db-0:5432", "write namespace/pod"),
        ("shop/web-0", "shop/db-0", "has no port"),
        ("shop/web-0", "shop/db-0:70000", "has no port"),
        ("hostendpoint:n", "shop/db-0:1", "no host endpoint `n`"),
        ("shop/web-0", "10.96.0.9:5432", "is the service shop/sql"),
    ] {
        let output = why(&[source, destination]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(mend), "{}", text(&output.stderr));
    }
}
