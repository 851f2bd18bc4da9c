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
    let kind = format!("{}.{}", resource.plural, resource.group);
    Task::spawn(async move {
        let mut known: BTreeSet<Key> = BTreeSet::new();
        let mut listed: BTreeSet<Key> = BTreeSet::new();
        let mut delay = FIRST_DELAY;
        let mut told = None;
        let mut stream = Box::pin(watcher::watcher(api, watcher::Config::default()));
        while let Some(event) = stream.next().await {
            // A list that has only begun is no success.
            if event.as_ref().is_ok_and(|e| !matches!(e, Event::Init)) {
                delay = FIRST_DELAY;
                if told.take().is_some() {
                    tracing::info!("{kind}: watching again");
                }
            }
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
                    let why = trouble(&error);
                    // An outage is told once, not at each attempt.
                    if let Some(why) = why.filter(|why| told.as_ref() != Some(why)) {
                        tracing::warn!("{kind} cannot be watched, trying again: {why}");
                        told = Some(why);
                    }
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

/// Why a watch failed, with the cure; nothing where it only fell behind and
/// begins anew.
fn trouble(error: &watcher::Error) -> Option<String> {
    let status = match error {
        watcher::Error::WatchError(status) => status,
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            kube::Error::Api(status) => status,
            error => return Some(io::connection_error(error)),
        },
        other => return Some(other.to_string()),
    };
    let said = &status.message;
    Some(match status.code {
        410 => return None,
        404 => "this cluster has no such kind; where it is KEDA's: \
                rheostat crds | kubectl apply --server-side -f -"
            .to_owned(),
        403 => format!("{said} (the rights that the operator needs are in deploy/operator.yaml)"),
        401 => format!("the API server does not accept the operator's credentials: {said}"),
        _ => said.clone(),
    })
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_failed_watch_is_told_with_its_cure() {
        let failed = |code, message: &str| {
            let status = Status::failure(message, "").with_code(code);
            let error = kube::Error::Api(Box::new(status));
            trouble(&watcher::Error::InitialListFailed(error))
        };
        let no_kind = failed(404, "404 page not found").unwrap();
        assert!(no_kind.contains("rheostat crds"), "{no_kind}");
        let denied = "scaledobjects.keda.sh is forbidden: User \"u\" cannot list";
        let said = failed(403, denied).unwrap();
        assert!(said.starts_with(denied) && said.contains("deploy/operator.yaml"));
        assert_eq!(failed(410, "too old resource version"), None);
        assert_eq!(
            failed(429, "too many requests").unwrap(),
            "too many requests"
        );
    }
}
