//! The real binary against a real API server: `catchment why` answers as over what kubectl prints, and `catchment run` joins
//! rows with what was planted.
//!
//! `CATCHMENT_TEST_CLUSTER` names the script that starts servers, `tools/cluster/server.sh`.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Output;

use self::process::binary;
use self::server::Server;

mod calico_kinds;
#[allow(dead_code, reason = "the tests without a cluster use all of it")]
#[path = "../it/lab.rs"]
mod lab;
mod offered;
#[path = "../it/process.rs"]
mod process;
#[allow(dead_code, reason = "the connector's tests use all of it")]
#[path = "../../../../connectors/kubernetes/tests/cluster/support/server.rs"]
mod server;
mod who;

const ENDS: [&str; 2] = ["shop/web", "shop/db:5432"];

fn why(arguments: &[&str]) -> Output {
    binary().arg("why").args(ENDS).args(arguments).output().unwrap()
}

fn answer(arguments: &[&str]) -> String {
    let output = why(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn apply(server: &Server, file: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cluster").join(file);
    server.kubectl(&["apply", "-f", text(&path)]);
}

/// Writes down what kubectl prints of the kinds that decide and are there.
fn printed(server: &Server, calico: bool) -> PathBuf {
    let kinds = "namespaces,serviceaccounts,pods,services,endpointslices,networkpolicies.networking.k8s.io";
    let calico = if calico { ",tiers.projectcalico.org,globalnetworkpolicies.projectcalico.org" } else { "" };
    let path = server.file("state.yaml");
    std::fs::write(&path, server.kubectl(&["get", &format!("{kinds}{calico}"), "-A", "-o", "yaml"])).unwrap();
    path
}

#[test]
fn a_live_cluster_is_answered_for_as_what_kubectl_prints_of_it() {
    let Some(server) = Server::start("why") else { return };
    let admin = server.kubeconfig("admin");
    apply(&server, "objects.yaml");
    let live = answer(&["--kubeconfig", text(&admin)]);
    assert!(live.contains("TCP 5432: deny\n") && live.contains("allow-api selects it and no rule matches"), "{live}");
    assert_eq!(live, answer(&["--snapshot", text(&printed(&server, false))]));
    assert_eq!(why(&["--kubeconfig", text(&admin), "--fail-on", "deny"]).status.code(), Some(10));

    apply(&server, "kinds.yaml");
    for kind in ["tiers", "globalnetworkpolicies"] {
        server.kubectl(&["wait", "--for=condition=Established", &format!("crd/{kind}.projectcalico.org")]);
    }
    apply(&server, "calico.yaml");
    let live = answer(&["--kubeconfig", text(&admin), "--context", "test", "-o", "json"]);
    assert_eq!(live, answer(&["--snapshot", text(&printed(&server, true)), "-o", "json"]));
    let live: serde_json::Value = serde_json::from_str(&live).unwrap();
    assert_eq!((&live["verdict"], &live["notes"]), (&"allow".into(), &serde_json::Value::Null), "{live}");
    assert_eq!(live["ingress"]["decided_by"]["origin"], "ingress[1]");
}

#[test]
fn what_may_not_be_read_is_named_and_leaves_no_verdict() {
    let Some(server) = Server::start("why-denied") else { return };
    let reader = server.kubeconfig("reader");
    apply(&server, "objects.yaml");
    let refused = why(&["--kubeconfig", text(&reader)]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && error.contains("allow `list` of pods"), "{error}");

    let allow = |name: &str, resources: &str| {
        server.kubectl(&["create", "clusterrole", name, "--verb=list", &format!("--resource={resources}")]);
        server.kubectl(&["create", "clusterrolebinding", name, &format!("--clusterrole={name}"), "--user=reader"]);
    };
    allow("some", "pods,namespaces,serviceaccounts,services,endpointslices.discovery.k8s.io");
    let part = answer(&["--kubeconfig", text(&reader)]);
    assert!(part.contains("TCP 5432: unknown\n"), "{part}");
    assert!(part.contains("networkpolicies.networking.k8s.io cannot all be read: they are not asked; "), "{part}");
    assert!(part.contains("by what could be read it would be allow\n"), "{part}");

    allow("policies", "networkpolicies.networking.k8s.io");
    let whole = answer(&["--kubeconfig", text(&reader)]);
    assert!(whole.contains("TCP 5432: deny\n") && !whole.contains("Notes"), "{whole}");
}
