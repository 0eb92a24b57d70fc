use catchment_core::knowledge::Kind;
use serde_json::{Value, json};

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

fn pod(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": {"nodeName": node}})
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.objects.iter().map(|object| object.key().to_string()).collect()
}

fn refusal(file: &str) -> String {
    Snapshot::read(&[file.to_owned()]).unwrap_err().message
}

const YAML: &str = "\
# printed by kubectl
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: shop, labels: {team: a}}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata:
  name: security
  annotations:
    note: |
      text with
      --- in it
---
---
apiVersion: v1
kind: Secret
metadata: {name: s}
";

#[test]
fn objects_are_read_from_lists_documents_and_many_files() {
    let folder = Folder::new();
    folder.write("a.json", &format!("{}\n{}\n", list(&[pod("a", "n1"), pod("b", "n1")]), pod("c", "n1")));
    folder.write("b.yaml", YAML);
    let snapshot = Snapshot::read(&[folder.0.path().join("*").display().to_string()]).unwrap();
    let pods = ["pods/shop/a", "pods/shop/b", "pods/shop/c"];
    assert_eq!(names(&snapshot), [&pods[..], &["namespaces/shop", "tiers.projectcalico.org/security"]].concat());
    assert_eq!(snapshot.ignored, BTreeMap::from([("v1/Secret".to_owned(), 1)]));
}

#[test]
fn the_same_object_from_json_and_yaml_is_equal() {
    let folder = Folder::new();
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop",
        "labels": {"on": "yes", "number": "1", "empty": ""}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}});
    let json = folder.write("a.json", &object.to_string());
    let yaml = folder.write("a.yaml", "\
apiVersion: v1\nkind: Pod\nmetadata:\n  creationTimestamp: \"2026-01-01T00:00:00Z\"\n  labels:\n    empty: \"\"\n    number: \"1\"
    \"on\": \"yes\"\n  name: a\n  namespace: shop\nspec:\n  containers:\n  - name: c\n    ports:\n    - containerPort: 80\n");
    assert_eq!(Snapshot::read(&[json]).unwrap(), Snapshot::read(&[yaml]).unwrap());
}

#[test]
fn of_an_object_that_comes_twice_the_last_stays() {
    let folder = Folder::new();
    let first = folder.write("1.json", &list(&[pod("a", "old"), pod("b", "n")]).to_string());
    let second = folder.write("2.json", &pod("a", "new").to_string());
    let snapshot = Snapshot::read(&[first, second]).unwrap();
    assert_eq!(names(&snapshot), ["pods/shop/a", "pods/shop/b"]);
    let Object::Pod(pod) = &snapshot.objects[0] else { panic!("no pod") };
    assert_eq!(pod.spec.node_name, "new");
}

#[test]
fn items_of_a_list_of_one_kind_need_not_say_it() {
    let folder = Folder::new();
    let items = json!([{"metadata": {"name": "a", "namespace": "n"}, "spec": {}}]);
    let raw = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": items});
    let snapshot = Snapshot::read(&[folder.write("raw.json", &raw.to_string())]).unwrap();
    assert_eq!(snapshot.objects[0].kind(), Kind::KubernetesNetworkPolicy);
}

#[test]
fn a_fault_names_file_line_object_and_mend() {
    let folder = Folder::new();
    let cut = folder.write("cut.json", "{\"kind\": \"List\",\n\"items\": [");
    assert!(refusal(&cut).contains("cut.json` line 2: no JSON: EOF"), "{}", refusal(&cut));
    let bad = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "namespace": "shop"}, "spec": {"nodeName": 1}});
    let shape =
        folder.write("shape.json", &serde_json::to_string_pretty(&list(&[pod("a", "n"), bad.clone()])).unwrap());
    assert!(
        refusal(&shape).contains("shape.json` line 23: item 2: shop/b: Pod: invalid type: integer `1`, expected text"),
        "{}",
        refusal(&shape)
    );
    let none = folder.write("none.json", "{\"a\": 1}");
    assert!(refusal(&none).contains("line 1: no `apiVersion` and `kind`"), "{}", refusal(&none));
    let yaml = folder.write("y.yaml", &format!("{YAML}---\napiVersion: v1\n  kind: Pod\n"));
    assert!(
        refusal(&yaml).contains("y.yaml` line 24: no YAML: mapping values are not allowed in this context"),
        "{}",
        refusal(&yaml)
    );
    let yaml = folder.write("z.yaml", &format!("{YAML}---\n{bad}\n"));
    assert!(refusal(&yaml).contains("z.yaml` line 22: document 5: Pod: invalid"), "{}", refusal(&yaml));
    let text = folder.write("t.txt", "hello");
    assert!(refusal(&text).contains("`kubectl get`"), "{}", refusal(&text));
    assert!(refusal("/nowhere/*.json").contains("check the path or the pattern"));
    let zip = folder.0.path().join("z.gz");
    std::fs::write(&zip, [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(refusal(&zip.display().to_string()).contains("not compressed"));
}

#[test]
fn changes_come_in_the_order_of_their_times() {
    let folder = Folder::new();
    let line =
        |at: &str, event: &str, name: &str| json!({"at": at, "type": event, "object": pod(name, "n")}).to_string();
    let later = [line("2026-01-01T00:00:02Z", "ADDED", "a"), line("2026-01-01T00:00:04Z", "DELETED", "a")].join("\n\n");
    let earlier =
        [line("2026-01-01T00:00:01Z", "ADDED", "b"), line("2026-01-01T00:00:02Z", "MODIFIED", "b")].join("\n");
    let changes = read_changes(&[folder.write("1", &later), folder.write("2", &earlier)]).unwrap();
    let told: Vec<_> = changes.iter().map(|c| (c.at.secs() % 60, c.key.name.as_str(), c.state.is_some())).collect();
    assert_eq!(told, [(1, "b", true), (2, "a", true), (2, "b", true), (4, "a", false)]);
    let broken = folder.write("3", &format!("{earlier}\n{{}}\n"));
    let message = read_changes(&[broken]).unwrap_err().message;
    assert!(message.contains("3` line 3: missing field `at`"), "{message}");
}
