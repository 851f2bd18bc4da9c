//! Watches, one task each, that feed the reconciler's inbox.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use crate::io;
use crate::state::{Key, key_of};

/// What a watched object is to the operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    ScaledObject,
    ScaledJob,
    Auth,
    ClusterAuth,
    Hpa,
    /// A workload, by group-resource.
    Target(String),
}

/// News for the reconciler.
#[derive(Debug)]
pub(crate) enum Message {
    /// An object is new or changed.
    Applied(Source, Box<Value>),
    /// An object is gone.
    Deleted(Source, Key),
    /// The first list of a watch is through.
    Synced(Source),
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(800);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Watches all objects of a resource.
pub(crate) fn watch(
    client: &Client,
    resource: &ApiResource,
    source: Source,
    outbox: UnboundedSender<Message>,
) -> Task {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    Task::spawn(async move {
        let mut known: BTreeSet<Key> = BTreeSet::new();
        let mut listed: BTreeSet<Key> = BTreeSet::new();
        let mut delay = FIRST_DELAY;
        let mut stream = Box::pin(watcher::watcher(api, watcher::Config::default()));
        while let Some(event) = stream.next().await {
            let sent = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    Ok(())
                }
                Ok(Event::InitApply(object)) => {
                    let value = io::to_value(&object);
                    listed.insert(key_of(&value));
                    outbox.send(Message::Applied(source.clone(), Box::new(value)))
                }
                Ok(Event::InitDone) => {
                    delay = FIRST_DELAY;
                    let next = std::mem::take(&mut listed);
                    let gone = known.difference(&next).cloned().collect::<Vec<_>>();
                    for key in gone {
                        let _ = outbox.send(Message::Deleted(source.clone(), key));
                    }
                    known = next;
                    outbox.send(Message::Synced(source.clone()))
                }
                Ok(Event::Apply(object)) => {
                    let value = io::to_value(&object);
                    known.insert(key_of(&value));
                    outbox.send(Message::Applied(source.clone(), Box::new(value)))
                }
                Ok(Event::Delete(object)) => {
                    let key = key_of(&io::to_value(&object));
                    known.remove(&key);
                    outbox.send(Message::Deleted(source.clone(), key))
                }
                Err(error) => {
                    tracing::debug!(?source, %error, "watch failed, trying again");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(LONGEST_DELAY);
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
            }
        }
    })
}
