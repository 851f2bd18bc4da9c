//! The requests that a kubelet makes.

use http::{Method, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::status::{micro, time};

/// A client for the few things that kubelets write.
#[derive(Clone)]
pub(super) struct Writer {
    client: kube::Client,
    events: u64,
}

/// A pod as the kubelet names it in requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodRef {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// What happened to a pod.
pub(super) struct Happening<'a> {
    pub(super) pod: &'a PodRef,
    /// The container it is about, "" for the pod.
    pub(super) container: &'a str,
    pub(super) node: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: String,
}

/// Whether the API said that the object is not there, or no longer the one that is meant.
pub(super) fn is_gone(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(s) if s.code == 404 || s.code == 409)
}

impl Writer {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client, events: 0 }
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        kind: &str,
        body: &Value,
    ) -> Result<String, kube::Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, kind)
            .body(body.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await
    }

    /// Reads an object.
    pub(super) async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        let request = Request::builder()
            .uri(path)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    /// Writes a pod's status, field by field.
    pub(super) async fn pod_status(&self, pod: &PodRef, status: Value) -> Result<(), kube::Error> {
        let PodRef {
            namespace,
            name,
            uid,
        } = pod;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        let body = json!({"metadata": {"uid": uid}, "status": status});
        self.send(Method::PATCH, path, "application/merge-patch+json", &body)
            .await?;
        Ok(())
    }

    /// Ends a pod for good.
    pub(super) async fn remove_pod(&self, pod: &PodRef) -> Result<(), kube::Error> {
        let PodRef {
            namespace,
            name,
            uid,
        } = pod;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let body = json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid},
        });
        self.send(Method::DELETE, path, "application/json", &body)
            .await?;
        Ok(())
    }

    /// Records an event about a pod or one of its containers.
    pub(super) async fn event(
        &mut self,
        h: Happening<'_>,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        self.events += 1;
        let PodRef {
            namespace,
            name,
            uid,
        } = h.pod;
        let mut about = json!({
            "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid,
        });
        if !h.container.is_empty() {
            about["fieldPath"] = json!(format!("spec.containers{{{}}}", h.container));
        }
        // The count keeps names apart that fall into the same instant, and in order.
        let stamp = now.as_nanosecond() + i128::from(self.events % 1000);
        let body = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{name}.{stamp:x}")},
            "involvedObject": about,
            "reason": h.reason, "message": h.message, "type": "Normal",
            "source": {"component": "kubelet", "host": h.node},
            "reportingComponent": "kubelet", "reportingInstance": h.node,
            "firstTimestamp": time(now), "lastTimestamp": time(now), "count": 1,
            "eventTime": null,
        });
        let path = format!("/api/v1/namespaces/{namespace}/events");
        self.send(Method::POST, path, "application/json", &body)
            .await?;
        Ok(())
    }

    /// Adds to or renews conditions of a node, by type.
    pub(super) async fn node_conditions(
        &self,
        node: &str,
        conditions: Vec<Value>,
    ) -> Result<(), kube::Error> {
        let path = format!("/api/v1/nodes/{node}/status");
        let body = json!({"status": {"conditions": conditions}});
        self.send(
            Method::PATCH,
            path,
            "application/strategic-merge-patch+json",
            &body,
        )
        .await?;
        Ok(())
    }

    /// Creates the node's lease, or renews it.
    pub(super) async fn renew(
        &self,
        node: &str,
        uid: &str,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let renewal = json!({"spec": {"renewTime": micro(now)}});
        let path = format!("{LEASES}/{node}");
        match self
            .send(
                Method::PATCH,
                path,
                "application/merge-patch+json",
                &renewal,
            )
            .await
        {
            Err(e) if is_gone(&e) => {}
            other => return other.map(|_| ()),
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": node, "namespace": "kube-node-lease",
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}],
            },
            "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": micro(now)},
        });
        self.send(Method::POST, LEASES.to_owned(), "application/json", &lease)
            .await?;
        Ok(())
    }
}
