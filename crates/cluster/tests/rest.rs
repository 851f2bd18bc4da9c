//! The REST API as a client meets it: objects, versions, conflicts, patches, deletion, watches.

mod support;

use serde_json::{Value, json};
use support::{Watch, call, cluster, read, send};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
    })
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
           "data": {"k": value}})
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
            },
        },
    })
}

#[tokio::test(start_paused = true)]
async fn objects_are_created_read_changed_and_deleted() {
    let cluster = cluster();
    let (code, made) = call(&cluster, "POST", MAPS, map("m", "1")).await;
    assert_eq!(code, 201);
    assert_eq!(made["metadata"]["namespace"], "default");
    assert_eq!(
        made["metadata"]["creationTimestamp"],
        "2026-01-01T00:00:00Z"
    );
    let (code, again) = call(&cluster, "POST", MAPS, map("m", "1")).await;
    assert_eq!(
        (code, again["reason"].as_str()),
        (409, Some("AlreadyExists"))
    );
    assert_eq!(again["message"], "configmaps \"m\" already exists");

    let path = format!("{MAPS}/m");
    let mut changed = made.clone();
    changed["data"]["k"] = json!("2");
    let (code, stored) = call(&cluster, "PUT", &path, changed).await;
    assert_eq!((code, stored["data"]["k"].as_str()), (200, Some("2")));
    let mut stale = made.clone();
    stale["data"]["k"] = json!("3");
    let (code, status) = call(&cluster, "PUT", &path, stale).await;
    assert_eq!(code, 409);
    assert_eq!(
        status["message"],
        "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please \
         apply your changes to the latest version and try again"
    );

    // What changes nothing leaves the version alone.
    let (_, same) = call(&cluster, "PUT", &path, stored.clone()).await;
    assert_eq!(
        same["metadata"]["resourceVersion"],
        stored["metadata"]["resourceVersion"]
    );

    let (code, gone) = call(&cluster, "DELETE", &path, Value::Null).await;
    assert_eq!((code, gone["status"].as_str()), (200, Some("Success")));
    assert_eq!(gone["details"]["uid"], made["metadata"]["uid"]);
    let (code, missing) = call(&cluster, "GET", &path, Value::Null).await;
    assert_eq!(code, 404);
    assert_eq!(missing["message"], "configmaps \"m\" not found");
    assert_eq!(
        missing["details"],
        json!({"name": "m", "kind": "configmaps"})
    );
}

#[tokio::test(start_paused = true)]
async fn requests_that_make_no_sense_say_so() {
    let cluster = cluster();
    let (code, status) = call(
        &cluster,
        "POST",
        "/api/v1/namespaces/nowhere/configmaps",
        map("m", "1"),
    )
    .await;
    assert_eq!(code, 404);
    assert_eq!(status["message"], "namespaces \"nowhere\" not found");
    let mut elsewhere = map("m", "1");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    assert_eq!(call(&cluster, "POST", MAPS, elsewhere).await.0, 400);
    assert_eq!(call(&cluster, "POST", MAPS, pod("p")).await.0, 400);
    assert_eq!(
        call(&cluster, "GET", "/apis/nope/v1/things", Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(call(&cluster, "PUT", MAPS, map("m", "1")).await.0, 405);
    let (code, status) = call(
        &cluster,
        "GET",
        &format!("{PODS}?fieldSelector=spec.nope=1"),
        Value::Null,
    )
    .await;
    assert_eq!(code, 400);
    assert_eq!(status["message"], "field label not supported: spec.nope");
    let broken = send(
        &cluster,
        "POST",
        MAPS,
        &[("content-type", "application/json")],
        "{",
    )
    .await;
    assert_eq!(read(broken).await.0, 400);
    let strange = send(&cluster, "POST", MAPS, &[("content-type", "text/csv")], "a").await;
    assert_eq!(read(strange).await.1["reason"], "UnsupportedMediaType");
    call(&cluster, "POST", PODS, pod("p")).await;
    // Simulated kubelets run nothing.
    cluster.set_log_source(std::sync::Arc::new(|_, _, _| Vec::new()));
    let (code, status) = call(&cluster, "POST", &format!("{PODS}/p/exec"), Value::Null).await;
    assert_eq!(code, 501);
    assert!(status["message"].as_str().unwrap().contains("simulated"));
}

#[tokio::test(start_paused = true)]
async fn dry_runs_leave_nothing_behind() {
    let cluster = cluster();
    let (code, shown) = call(
        &cluster,
        "POST",
        &format!("{MAPS}?dryRun=All"),
        map("m", "1"),
    )
    .await;
    assert_eq!(code, 201);
    assert!(shown["metadata"]["uid"].is_string());
    assert_eq!(
        call(&cluster, "GET", &format!("{MAPS}/m"), Value::Null)
            .await
            .0,
        404
    );
    call(&cluster, "POST", MAPS, map("m", "1")).await;
    let path = format!("{MAPS}/m?dryRun=All");
    let (_, shown) = call(&cluster, "PATCH", &path, json!({"data": {"k": "2"}})).await;
    assert_eq!(shown["data"]["k"], "2");
    call(&cluster, "DELETE", &path, Value::Null).await;
    let (_, kept) = call(&cluster, "GET", &format!("{MAPS}/m"), Value::Null).await;
    assert_eq!(kept["data"]["k"], "1");
}

#[tokio::test(start_paused = true)]
async fn generation_counts_changes_of_the_wish_only() {
    let cluster = cluster();
    let (_, made) = call(&cluster, "POST", DEPLOYMENTS, deployment("web")).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{DEPLOYMENTS}/web");
    let patch = async |path: &str, body: Value| call(&cluster, "PATCH", path, body).await.1;
    let labelled = patch(&path, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled["metadata"]["generation"], 1);
    let scaled = patch(&path, json!({"spec": {"replicas": 3}})).await;
    assert_eq!(scaled["metadata"]["generation"], 2);
    let noted = patch(&path, json!({"metadata": {"annotations": {"a": "b"}}})).await;
    assert_eq!(noted["metadata"]["generation"], 3);

    // Status has an endpoint of its own, and each leaves the other's part alone.
    let both = json!({"spec": {"replicas": 9}, "status": {"replicas": 3}});
    let status = patch(&format!("{path}/status"), both.clone()).await;
    assert_eq!(
        (&status["spec"]["replicas"], &status["status"]["replicas"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(status["metadata"]["generation"], 3);
    let main = patch(&path, json!({"status": {"replicas": 7}})).await;
    assert_eq!(main["status"]["replicas"], 3);
}

#[tokio::test(start_paused = true)]
async fn scale_changes_replicas_and_nothing_else() {
    let cluster = cluster();
    call(&cluster, "POST", DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let (_, scale) = call(&cluster, "GET", &path, Value::Null).await;
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 2);
    assert_eq!(scale["status"]["selector"], "app=web");
    let (code, scale) = call(&cluster, "PATCH", &path, json!({"spec": {"replicas": 5}})).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(5)));
    let mut stale = scale.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    // kubectl sends this one without a content type.
    let answer = send(&cluster, "PUT", &path, &[], stale.to_string()).await;
    assert_eq!(read(answer).await.0, 409);
    let (code, _) = call(&cluster, "PATCH", &path, json!({"spec": {"replicas": -1}})).await;
    assert_eq!(code, 422);
    assert_eq!(
        cluster.get("deployments.apps", "default", "web").unwrap()["spec"]["replicas"],
        5
    );
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_one_goes() {
    let cluster = cluster();
    let mut held = map("m", "1");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    call(&cluster, "POST", MAPS, held).await;
    let path = format!("{MAPS}/m");
    let (_, marked) = call(&cluster, "DELETE", &path, Value::Null).await;
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/new"]}});
    let (code, status) = call(&cluster, "PATCH", &path, more).await;
    assert_eq!(code, 422);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("no new finalizers can be added")
    );
    // kube-rs tests for null where the list is absent.
    let free = json!([
        {"op": "test", "path": "/metadata/finalizers/0", "value": "example.com/hold"},
        {"op": "remove", "path": "/metadata/finalizers/0"},
    ]);
    assert_eq!(call(&cluster, "PATCH", &path, free).await.0, 200);
    assert_eq!(call(&cluster, "GET", &path, Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_goes_gracefully() {
    let cluster = cluster();
    call(&cluster, "POST", PODS, pod("free")).await;
    call(&cluster, "POST", PODS, pod("bound")).await;
    call(&cluster, "DELETE", &format!("{PODS}/free"), Value::Null).await;
    assert_eq!(
        call(&cluster, "GET", &format!("{PODS}/free"), Value::Null)
            .await
            .0,
        404
    );

    let path = format!("{PODS}/bound");
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    let (code, _) = call(
        &cluster,
        "POST",
        &format!("{path}/binding"),
        binding.clone(),
    )
    .await;
    assert_eq!(code, 201);
    assert_eq!(
        call(&cluster, "POST", &format!("{path}/binding"), binding)
            .await
            .0,
        409
    );
    let (_, going) = call(&cluster, "DELETE", &path, json!({"gracePeriodSeconds": 10})).await;
    assert_eq!(
        going["metadata"]["deletionTimestamp"],
        "2026-01-01T00:00:10Z"
    );
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 10);
    let (_, table) = read(
        send(
            &cluster,
            "GET",
            &path,
            &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
            "",
        )
        .await,
    )
    .await;
    assert_eq!(table["rows"][0]["cells"][2], "Terminating");
    call(&cluster, "DELETE", &path, json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(call(&cluster, "GET", &path, Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_of_one_moment() {
    let cluster = cluster();
    for i in 0..5 {
        call(&cluster, "POST", PODS, pod(&format!("p{i}"))).await;
    }
    let (_, first) = call(&cluster, "GET", &format!("{PODS}?limit=2"), Value::Null).await;
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What happens in between is not seen.
    call(&cluster, "DELETE", &format!("{PODS}/p4"), Value::Null).await;
    call(&cluster, "POST", PODS, pod("p9")).await;
    let next = first["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = call(
        &cluster,
        "GET",
        &format!("{PODS}?limit=10&continue={next}"),
        Value::Null,
    )
    .await;
    let names: Vec<&str> = rest["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["p2", "p3", "p4"]);
    assert_eq!(
        rest["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let selected = format!("{PODS}?labelSelector=app%20in%20(p0,p9)&fieldSelector=spec.nodeName=");
    let (_, selected) = call(&cluster, "GET", &selected, Value::Null).await;
    assert_eq!(selected["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_happens_from_a_version_on() {
    let cluster = cluster();
    call(&cluster, "POST", MAPS, map("a", "1")).await;
    let (_, list) = call(&cluster, "GET", MAPS, Value::Null).await;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{MAPS}?watch=true&resourceVersion={version}&timeoutSeconds=200");
    let mut watch = Watch::start(&cluster, &path, "application/json").await;
    call(&cluster, "POST", MAPS, map("b", "1")).await;
    call(
        &cluster,
        "PATCH",
        &format!("{MAPS}/b"),
        json!({"data": {"k": "2"}}),
    )
    .await;
    call(&cluster, "DELETE", &format!("{MAPS}/b"), Value::Null).await;
    assert_eq!(watch.brief().await, "ADDED b");
    assert_eq!(watch.brief().await, "MODIFIED b");
    let (kind, last) = watch.next().await.unwrap();
    assert_eq!(kind, "DELETED");
    let deleted: u64 = last["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(deleted > version.parse().unwrap());
    // Nothing more happens, so it ends when it was asked to.
    assert_eq!(watch.next().await, None);

    // Without a version, what is there comes first.
    let mut watch = Watch::start(&cluster, &format!("{MAPS}?watch=1"), "*/*").await;
    assert_eq!(watch.brief().await, "ADDED a");
    assert_eq!(watch.brief().await, "ADDED kube-root-ca.crt");
}

#[tokio::test(start_paused = true)]
async fn selectors_turn_changes_into_comings_and_goings() {
    let cluster = cluster();
    call(&cluster, "POST", PODS, pod("p")).await;
    let path = format!("{PODS}?watch=true&labelSelector=on%3Dyes");
    let mut watch = Watch::start(&cluster, &path, "application/json").await;
    for label in [json!("yes"), json!("no"), Value::Null] {
        let patch = json!({"metadata": {"labels": {"on": label}}});
        call(&cluster, "PATCH", &format!("{PODS}/p"), patch).await;
    }
    assert_eq!(watch.brief().await, "ADDED p");
    let (kind, gone) = watch.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &gone["metadata"]["labels"]["on"]),
        ("DELETED", &json!("yes"))
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_initial_events_tell_where_a_watcher_stands() {
    let cluster = cluster();
    call(&cluster, "POST", MAPS, map("a", "1")).await;
    let base = format!("{MAPS}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true");
    let refused = send(&cluster, "GET", &base, &[], "").await;
    assert_eq!(read(refused).await.0, 422);
    let path = format!("{base}&resourceVersionMatch=NotOlderThan&timeoutSeconds=100");
    let mut watch = Watch::start(&cluster, &path, "application/json").await;
    assert_eq!(watch.brief().await, "ADDED a");
    assert_eq!(watch.brief().await, "ADDED kube-root-ca.crt");
    let (kind, mark) = watch.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(
        mark["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert_eq!(mark["kind"], "ConfigMap");
    let (kind, mark) = watch.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), mark["metadata"]["annotations"].is_null()),
        ("BOOKMARK", true)
    );
    assert_eq!(watch.next().await.unwrap().0, "BOOKMARK");
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_forgotten_or_not_yet_there_is_refused() {
    let cluster = cluster();
    call(&cluster, "POST", MAPS, map("a", "0")).await;
    for i in 1..=1100 {
        let data = json!({"data": {"k": i.to_string()}});
        call(&cluster, "PATCH", &format!("{MAPS}/a"), data).await;
    }
    let path = format!("{MAPS}?watch=true&resourceVersion=5");
    let mut watch = Watch::start(&cluster, &path, "application/json").await;
    let (kind, status) = watch.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), status["code"].as_u64()),
        ("ERROR", Some(410))
    );
    assert_eq!(status["reason"], "Expired");
    assert_eq!(watch.next().await, None);
    let (code, status) = call(
        &cluster,
        "GET",
        &format!("{MAPS}?watch=true&resourceVersion=999999"),
        Value::Null,
    )
    .await;
    assert_eq!((code, status["reason"].as_str()), (504, Some("Timeout")));
    assert_eq!(
        status["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
}

#[tokio::test(start_paused = true)]
async fn tables_are_watched_row_by_row() {
    let cluster = cluster();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut watch = Watch::start(&cluster, &format!("{PODS}?watch=true"), accept).await;
    call(&cluster, "POST", PODS, pod("a")).await;
    call(&cluster, "POST", PODS, pod("b")).await;
    let (_, first) = watch.next().await.unwrap();
    assert_eq!(first["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["rows"][0]["cells"][0], "a");
    assert_eq!(first["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let (_, second) = watch.next().await.unwrap();
    assert_eq!(second["columnDefinitions"], Value::Null);
    assert_eq!(second["rows"][0]["cells"][2], "Pending");
}

#[tokio::test(start_paused = true)]
async fn collections_are_deleted_by_selector() {
    let cluster = cluster();
    for name in ["a", "b", "c"] {
        call(&cluster, "POST", PODS, pod(name)).await;
    }
    let path = format!("{PODS}?labelSelector=app!%3Db");
    let (code, gone) = call(&cluster, "DELETE", &path, Value::Null).await;
    assert_eq!((code, gone["items"].as_array().unwrap().len()), (200, 2));
    assert_eq!(cluster.list("pods", Some("default")).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_have_two_views_and_are_counted() {
    let cluster = cluster();
    let (_, made) = call(&cluster, "POST", PODS, pod("p")).await;
    for _ in 0..3 {
        cluster.event(cluster::EventRecord::new(
            &made,
            "Warning",
            "Tired",
            "needs a rest",
            "nurse",
        ));
    }
    let path = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=p";
    let (_, core) = call(&cluster, "GET", path, Value::Null).await;
    assert_eq!(core["items"].as_array().unwrap().len(), 1);
    assert_eq!(core["items"][0]["count"], 3);
    assert_eq!(core["items"][0]["source"]["component"], "nurse");
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let (_, new) = call(&cluster, "GET", path, Value::Null).await;
    assert_eq!(new["items"][0]["note"], "needs a rest");
    assert_eq!(new["items"][0]["deprecatedCount"], 3);
    assert_eq!(new["items"][0]["regarding"]["kind"], "Pod");
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reason": "Seen", "action": "Look", "note": "hello", "reportingController": "me",
        "reportingInstance": "me-0",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    assert_eq!(call(&cluster, "POST", path, event).await.0, 201);
    assert_eq!(
        cluster.get("events", "default", "e").unwrap()["message"],
        "hello"
    );
}

#[tokio::test(start_paused = true)]
async fn autoscalers_have_two_versions() {
    let cluster = cluster();
    let old = json!({
        "metadata": {"name": "h"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        },
    });
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let (code, made) = call(&cluster, "POST", v1, old).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 50);
    let (_, new) = call(&cluster, "GET", &format!("{v2}/h"), Value::Null).await;
    assert_eq!(
        new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        50
    );
    let (_, table) = read(
        send(
            &cluster,
            "GET",
            v2,
            &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")],
            "",
        )
        .await,
    )
    .await;
    assert_eq!(table["rows"][0]["cells"][2], "cpu: <unknown>/50%");
}

#[tokio::test(start_paused = true)]
async fn admission_hooks_may_refuse_and_warn() {
    let cluster = cluster();
    cluster.admit(
        "configmaps",
        "check.example.com",
        std::sync::Arc::new(|a: &cluster::Admission| {
            if a.object["data"]["k"] == "bad" {
                return Err("bad is not good".to_owned());
            }
            Ok(vec!["think again".to_owned()])
        }),
    );
    let (code, status) = call(&cluster, "POST", MAPS, map("m", "bad")).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "admission webhook \"check.example.com\" denied the request: bad is not good"
    );
    let json = [("content-type", "application/json")];
    let answer = send(&cluster, "POST", MAPS, &json, map("m", "ok").to_string()).await;
    assert_eq!(answer.headers()["warning"], "299 - \"think again\"");
}

#[tokio::test(start_paused = true)]
async fn changes_reach_subscribers_in_order() {
    let cluster = cluster();
    let mut changes = cluster.subscribe();
    call(&cluster, "POST", MAPS, map("m", "1")).await;
    call(&cluster, "POST", PODS, pod("p")).await;
    cluster
        .modify_status("pods", "default", "p", |p| {
            p["status"]["phase"] = json!("Running")
        })
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let change = changes.next().await;
        seen.push(format!("{:?} {}", change.kind, change.resource));
    }
    assert_eq!(seen, ["Added configmaps", "Added pods", "Modified pods"]);
    assert!(changes.try_next().is_none());
}
