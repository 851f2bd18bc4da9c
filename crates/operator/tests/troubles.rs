//! An API server that refuses, forgets, stalls or denies, and comes back: the
//! operator goes on by itself, and does not hammer it meanwhile.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cluster::{Body, Cluster};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::BodyDataStream;
use kube::Client;
use serde_json::{Value, json};
use support::{World, workload};
use tokio::sync::watch;
use tower::{BoxError, ServiceExt as _};

/// What the API server does with the operator's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Answers all with this code.
    Refuses(u16),
    /// Cannot go on with any watch.
    Forgets,
    /// Takes so long for each answer.
    Stalls(Duration),
    /// Denies the making of HPAs.
    Denies,
}

#[derive(Clone)]
struct Server {
    mood: Arc<watch::Sender<Mood>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn new() -> Self {
        Self {
            mood: Arc::new(watch::Sender::new(Mood::Well)),
            asked: Arc::default(),
        }
    }

    /// A change of mood ends every watch, as a restart does.
    fn turns(&self, mood: Mood) {
        self.mood.send_replace(mood);
        self.asked.store(0, Ordering::Relaxed);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn client(&self, cluster: &Cluster) -> Client {
        let (server, api) = (self.clone(), cluster.client_service());
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (server, api) = (server.clone(), api.clone());
            async move {
                server.asked.fetch_add(1, Ordering::Relaxed);
                let mood = *server.mood.borrow();
                let watches = request.uri().query().is_some_and(|q| q.contains("watch="));
                let makes_hpa = request.method() == "POST"
                    && request.uri().path().ends_with("/horizontalpodautoscalers");
                match mood {
                    Mood::Refuses(code) => return Ok(refusal(code, "not now")),
                    Mood::Forgets if watches => return Ok(refusal(410, "too old")),
                    Mood::Stalls(time) => tokio::time::sleep(time).await,
                    Mood::Denies if makes_hpa => return Ok(refusal(403, DENIED)),
                    _ => {}
                }
                let mut changed = server.mood.subscribe();
                let answer = api.oneshot(request).await?;
                if !watches {
                    return Ok::<_, BoxError>(answer);
                }
                let end = async move { changed.changed().await.is_ok() };
                Ok(answer.map(|body| {
                    let pieces = BodyDataStream::new(body).filter_map(|p| async { p.ok() });
                    Body::stream(pieces.take_until(Box::pin(end)))
                }))
            }
        });
        Client::new(service, "default")
    }
}

const DENIED: &str = "horizontalpodautoscalers.autoscaling is forbidden: User \"o\" cannot create \
                      resource \"horizontalpodautoscalers\" in API group \"autoscaling\"";

fn refusal(code: u16, message: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "code": code});
    let mut response = Response::new(Body::full(status.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

async fn apply(world: &World, name: &str) {
    for object in workload(name) {
        world.apply("default", &object).await.unwrap();
    }
}

async fn hpa(world: &World, name: &str) -> Option<Value> {
    let name = format!("keda-hpa-{name}");
    world.get("default", "HorizontalPodAutoscaler", &name).await
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_outlived_and_nothing_is_lost() {
    let moods = [
        Mood::Refuses(503),
        Mood::Refuses(429),
        Mood::Refuses(401),
        Mood::Forgets,
        Mood::Stalls(Duration::from_secs(5)),
    ];
    for mood in moods {
        let server = Server::new();
        let world = World::with(json!({"values": [0]}), |c| server.client(c)).await;
        apply(&world, "before").await;
        world.seconds(60.0).await;
        let before = hpa(&world, "before").await.unwrap();

        server.turns(mood);
        world.seconds(20.0).await;
        apply(&world, "meanwhile").await;
        world.seconds(280.0).await;
        let asked = server.asked();
        // Seven watches, polls and reconciles of two objects: nothing in a tight loop.
        assert!(asked <= 300, "{mood:?}: {asked} requests in 300 s");

        server.turns(Mood::Well);
        world.seconds(35.0).await;
        assert!(hpa(&world, "meanwhile").await.is_some(), "{mood:?}");
        let after = hpa(&world, "before").await.unwrap();
        let uid = |hpa: &Value| hpa["metadata"]["uid"].clone();
        assert_eq!(uid(&before), uid(&after), "{mood:?}");
        let ready = world.condition("default", "meanwhile", "Ready").await;
        assert!(ready.starts_with("True"), "{mood:?}: {ready}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_named_and_its_coming_noticed() {
    let server = Server::new();
    let world = World::with(json!({"values": [0]}), |c| server.client(c)).await;
    server.turns(Mood::Denies);
    apply(&world, "web").await;
    world.seconds(10.0).await;
    let ready = world.condition("default", "web", "Ready").await;
    let events = world.events("ScaledObject").join("\n");
    assert!(ready.starts_with("False"), "{ready}");
    assert!(
        ready.contains(DENIED) || events.contains(DENIED),
        "{ready}\n{events}"
    );
    world.seconds(600.0).await;
    server.turns(Mood::Well);
    world.seconds(35.0).await;
    assert!(hpa(&world, "web").await.is_some());
}
