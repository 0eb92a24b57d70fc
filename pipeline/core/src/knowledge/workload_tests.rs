use serde_json::{Value, json};

use super::*;

/// Reads an object and writes it again.
fn rewritten<T: Serialize + serde::de::DeserializeOwned>(object: &Value) -> Value {
    serde_json::to_value(serde_json::from_str::<T>(&object.to_string()).unwrap()).unwrap()
}

/// A pod as a server shows it, with much that is not read.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-7d4b9c6f5-x2x9k", "generateName": "web-7d4b9c6f5-", "namespace": "shop", "uid": "u-1",
            "resourceVersion": "42", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"pod-template-hash": "7d4b9c6f5", "app": "web"}, "annotations": {"a": "b"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f5", "uid": "u-2", "controller": true,
                 "blockOwnerDeletion": true},
            ],
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "web", "hostNetwork": false, "volumes": [{"name": "v"}],
            "containers": [{"name": "main", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]}],
            "initContainers": null,
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
            "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:09Z"},
            ],
        },
    })
}

#[test]
fn a_pod_keeps_what_flows_are_joined_by() {
    let pod: Pod = serde_json::from_str(&pod().to_string()).unwrap();
    assert_eq!(pod.metadata.labels.get("pod-template-hash").unwrap(), &"7d4b9c6f5");
    assert_eq!(pod.metadata.labels.get("missing"), None);
    assert_eq!(pod.metadata.controller().unwrap().name, "web-7d4b9c6f5");
    assert_eq!(pod.metadata.creation_timestamp.unwrap().to_rfc3339(), "2026-01-01T00:00:00Z");
    assert_eq!((pod.spec.node_name.as_str(), pod.spec.service_account_name.as_str()), ("node-1", "web"));
    let port = &pod.spec.containers[0].ports[0];
    assert_eq!((port.name.as_str(), port.container_port, port.protocol.as_str()), ("http", 8080, "TCP"));
    let addresses: [IpAddr; 2] = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    assert_eq!((&*pod.status.pod_ips.0, pod.status.phase), (&addresses[..], Phase::Running));
    assert_eq!(pod.status.conditions.ready, Some(true));
}

#[test]
fn a_written_pod_is_read_again_and_stands_where_the_api_wrote_it() {
    let (served, written) = (pod(), rewritten::<Pod>(&pod()));
    assert_eq!(rewritten::<Pod>(&written), written);
    for place in
        ["/metadata/labels", "/metadata/creationTimestamp", "/spec/nodeName", "/status/podIPs", "/status/phase"]
    {
        assert_eq!(written.pointer(place), served.pointer(place), "{place}");
    }
}

#[test]
fn what_the_api_leaves_out_or_adds_later_is_no_fault() {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "labels": null}, "status": null})).unwrap();
    assert_eq!((pod.status.phase, pod.status.conditions.ready), (Phase::Unknown, None));
    let later = json!({"metadata": {"name": "p"}, "status": {"phase": "Hibernating", "podIPs": [{}]}});
    let pod: Pod = serde_json::from_value(later).unwrap();
    assert_eq!((pod.status.phase, pod.status.pod_ips.0.len()), (Phase::Unknown, 0));
}

#[test]
fn services_and_their_endpoints_keep_where_they_lead() {
    let service = json!({"metadata": {"name": "s"}, "spec": {
        "type": "LoadBalancer", "clusterIPs": ["10.96.0.9"], "selector": {"app": "web"}, "ports": [
            {"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
        ],
    }, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}}});
    let service: Service = serde_json::from_value(service).unwrap();
    let ports: Vec<_> = service.spec.ports.iter().map(|port| &port.target_port).collect();
    assert_eq!(ports, [&TargetPort::Name("web".into()), &TargetPort::Number(5353)]);
    assert_eq!(service.status.load_balancer.ingress.0.len(), 1);

    let slice = json!({"metadata": {"name": "s-1"}, "addressType": "IPv4", "ports": [{"name": null, "port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.7"], "conditions": {"ready": true}, "nodeName": "node-1", "zone": "a",
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1"}, "deprecatedTopology": null}]});
    let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
    assert_eq!((slice.endpoints[0].target_ref.name.as_str(), slice.ports[0].port), ("web-1", Some(8080)));
}

#[test]
fn what_makes_pods_keeps_their_labels() {
    let labels = json!({"app": "report"});
    let spec = json!({"template": {"metadata": {"labels": labels}}});
    let job: Job = serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": spec})).unwrap();
    let cron = json!({"metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": spec}}});
    let cron: CronJob = serde_json::from_value(cron).unwrap();
    assert_eq!(job.spec.template.metadata.labels.get("app").unwrap(), &"report");
    assert_eq!(cron.spec.job_template.spec, job.spec);
}

#[test]
fn a_pod_keeps_how_its_containers_ended_and_what_outlives_them() {
    let served = json!({"metadata": {"name": "p"},
    "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 60,
        "initContainers": [{"name": "mesh", "restartPolicy": "Always"}]},
    "status": {"containerStatuses": [
        {"name": "main", "restartCount": 2, "state": {"terminated":
            {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:00:09Z"}}},
        {"name": "proxy", "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}},
        {"name": "late", "state": {}},
    ]}});
    let pod: Pod = serde_json::from_value(served.clone()).unwrap();
    assert_eq!((pod.spec.restart_policy, pod.spec.termination_grace_period_seconds), (RestartPolicy::Never, Some(60)));
    assert_eq!(pod.spec.init_containers[0].restart_policy, Some(RestartPolicy::Always));
    let finished_at = EventTime::parse_rfc3339("2026-01-01T00:00:09Z");
    let ended = ContainerState::Terminated(ContainerEnd { finished_at, reason: "Completed".into() });
    let states = [ended, ContainerState::Running, ContainerState::Waiting];
    assert!(pod.status.container_statuses.iter().map(|status| &status.state).eq(&states));
    let written = rewritten::<Pod>(&served);
    assert_eq!(serde_json::from_value::<Pod>(written).unwrap(), pod);
}

#[test]
fn a_job_keeps_whether_and_when_it_ended() {
    let job = |conditions: Value| -> Job {
        let job = rewritten::<Job>(&json!({"metadata": {"name": "j"}, "status": {"conditions": conditions}}));
        serde_json::from_value(job).unwrap()
    };
    let at = "2026-01-01T00:00:09Z";
    let condition = |name: &str, status: &str| json!({"type": name, "status": status, "lastTransitionTime": at});
    let end = |succeeded| JobEnd { succeeded, at: succeeded.and(EventTime::parse_rfc3339(at)) };
    assert_eq!(job(json!(null)).status.conditions, end(None));
    assert_eq!(job(json!([condition("Suspended", "True"), condition("Failed", "False")])).status.conditions, end(None));
    assert_eq!(
        job(json!([condition("SuccessCriteriaMet", "True"), condition("Complete", "True")])).status.conditions,
        end(Some(true))
    );
    assert_eq!(job(json!([condition("Failed", "True")])).status.conditions, end(Some(false)));
}

#[test]
fn an_ingress_keeps_the_services_it_leads_to() {
    let backend = |name: &str| json!({"service": {"name": name, "port": {"number": 80}}});
    let served = json!({"metadata": {"name": "i", "namespace": "shop"}, "spec": {
    "defaultBackend": backend("web"), "tls": [{"hosts": ["shop.example"]}], "rules": [
        {"host": "shop.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": backend("web")},
            {"path": "/cart", "pathType": "Prefix", "backend": backend("cart")},
            {"path": "/static", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}},
        ]}},
        {"host": "other.example"},
    ]}});
    let ingress: Ingress = serde_json::from_value(rewritten::<Ingress>(&served)).unwrap();
    assert_eq!(&*ingress.spec.services, ["cart", "web"].map(Text::from));
}
