//! From a path to what answers it.

use http::{Method, Response};
use percent_encoding::percent_decode_str;

use super::{Call, Target, answer, auth, discovery, openapi, options, patch, pods, read, remove};
use super::{scale, watch, write};
use crate::cluster::MountFn;
use crate::resource::resource_name;
use crate::status::Status;
use crate::{Body, Cluster};

/// The handler of a mounted group, if the path lies in one.
pub(crate) fn mounted(cluster: &Cluster, path: &str) -> Option<MountFn> {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    if parts.next() != Some("apis") {
        return None;
    }
    let (group, version) = (parts.next()?, parts.next()?);
    cluster.mounted(group, version)
}

/// Finds out what a request is about and has it answered.
pub(crate) async fn dispatch(call: &Call<'_>) -> Result<Response<Body>, Status> {
    let decoded: Vec<String> = call
        .path
        .split('/')
        .filter(|p| !p.is_empty())
        .map(|p| percent_decode_str(p).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [] => Ok(discovery::root(call)),
        ["version"] => Ok(discovery::version()),
        ["healthz" | "livez" | "readyz", ..] => Ok(discovery::health(call)),
        ["api"] => Ok(discovery::core(call)),
        ["apis"] => Ok(discovery::groups(call)),
        ["apis", group] => Ok(discovery::group(call, group)),
        ["openapi", "v2"] => Ok(openapi::empty_v2(call)),
        ["openapi", "v3"] => Ok(openapi::index(call)),
        ["openapi", "v3", rest @ ..] => Ok(openapi::document(call, rest)),
        ["api", "v1", rest @ ..] => object(call, "", "v1", rest).await,
        ["apis", group, version, rest @ ..] => object(call, group, version, rest).await,
        _ => Ok(answer::no_such_page()),
    }
}

/// Requests below a group version.
async fn object(
    call: &Call<'_>,
    group: &str,
    version: &str,
    rest: &[&str],
) -> Result<Response<Body>, Status> {
    if rest.is_empty() {
        return Ok(discovery::resources(call, group, version));
    }
    let (namespace, rest) = match rest {
        ["namespaces", ns, plural, tail @ ..]
            if !(group.is_empty() && matches!(*plural, "status" | "finalize")) =>
        {
            (Some(*ns), [&[*plural], tail].concat())
        }
        other => (None, other.to_vec()),
    };
    let [plural, tail @ ..] = rest.as_slice() else {
        return Ok(answer::no_such_page());
    };
    let Some(endpoint) = call
        .cluster
        .registry()
        .endpoint(group, version, plural)
        .cloned()
    else {
        return Ok(answer::no_such_page());
    };
    if !endpoint.row.namespaced && namespace.is_some() {
        return Ok(answer::no_such_page());
    }
    let target = Target {
        namespace: namespace.map(str::to_owned),
        name: tail.first().map(|s| (*s).to_owned()),
        subresource: (tail.len() > 1).then(|| tail[1..].join("/")),
        endpoint,
    };
    if target.endpoint.row.namespaced && namespace.is_none() && target.name.is_some() {
        return Ok(answer::no_such_page());
    }
    if auth::is_review(&target) {
        return auth::review(call, &target);
    }
    options::check(call)?;
    match target.subresource.as_deref() {
        Some(sub) => subresource(call, &target, sub).await,
        None => main(call, &target).await,
    }
}

fn allowed(target: &Target, verb: &str) -> Result<(), Status> {
    if target.endpoint.row.verbs.iter().any(|v| v == verb) {
        Ok(())
    } else {
        Err(Status::method_not_allowed())
    }
}

async fn main(call: &Call<'_>, target: &Target) -> Result<Response<Body>, Status> {
    let named = target.name.is_some();
    match (&call.method, named) {
        (&Method::GET | &Method::HEAD, _) if call.query.flag("watch") => {
            allowed(target, "watch")?;
            watch::start(call, target).await
        }
        (&Method::GET | &Method::HEAD, true) => {
            allowed(target, "get")?;
            read::one(call, target)
        }
        (&Method::GET | &Method::HEAD, false) => {
            allowed(target, "list")?;
            read::list(call, target).await
        }
        (&Method::POST, false) => {
            if &*target.endpoint.row.name == "bindings" {
                return pods::bind(call, target);
            }
            allowed(target, "create")?;
            write::create(call, target)
        }
        (&Method::PUT, true) => {
            allowed(target, "update")?;
            write::replace(call, target, "")
        }
        (&Method::PATCH, true) => {
            allowed(target, "patch")?;
            patch::patch(call, target, "")
        }
        (&Method::DELETE, true) => {
            allowed(target, "delete")?;
            remove::one(call, target)
        }
        (&Method::DELETE, false) => {
            allowed(target, "deletecollection")?;
            remove::collection(call, target)
        }
        _ => Err(Status::method_not_allowed()),
    }
}

async fn subresource(
    call: &Call<'_>,
    target: &Target,
    sub: &str,
) -> Result<Response<Body>, Status> {
    let row = &target.endpoint.row;
    let head = sub.split('/').next().unwrap_or(sub);
    if !row.has_subresource(head) {
        if row.custom.is_some() && matches!(head, "status" | "scale") {
            return Err(Status::not_found(&target.endpoint.name(), target.name()));
        }
        return Ok(answer::no_such_page());
    }
    match (&call.method, head) {
        (&Method::GET, "status" | "ephemeralcontainers" | "resize" | "approval") => {
            read::one(call, target)
        }
        (&Method::PUT, "status") => write::replace(call, target, "status"),
        (&Method::PATCH, "status") => patch::patch(call, target, "status"),
        (&Method::PUT, "finalize") => write::finalize(call, target),
        (&Method::PUT, "approval") => write::replace(call, target, "status"),
        (&Method::PATCH, "approval") => patch::patch(call, target, "status"),
        (&Method::PUT, "ephemeralcontainers") => write::replace(call, target, ""),
        (&Method::PATCH, "ephemeralcontainers") => patch::patch(call, target, ""),
        (&Method::PUT, "resize") => write::replace(call, target, "resize"),
        (&Method::PATCH, "resize") => patch::patch(call, target, "resize"),
        (_, "scale") => scale::handle(call, target),
        (&Method::POST, "binding") => pods::bind(call, target),
        (&Method::POST, "eviction") => pods::evict(call, target),
        (&Method::GET, "log") => pods::log(call, target),
        (&Method::POST, "token") => pods::token(call, target),
        (_, "exec" | "attach" | "portforward") if call.cluster.log_source().is_none() => {
            let pod = read::fetch(call.cluster, target)?;
            Err(pods::no_kubelet(call, &pod))
        }
        (_, "exec" | "attach" | "portforward" | "proxy") => Err(Status::not_implemented(format!(
            "{} is not served by this control plane: its nodes are simulated and run no \
             containers",
            resource_name(&format!("{}/{head}", row.plural), &row.group)
        ))),
        _ => Err(Status::method_not_allowed()),
    }
}
