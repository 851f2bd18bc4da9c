//! Garbage collection: what becomes of objects when their owners go.

use serde_json::Value;

use super::index::Place;
use super::object::{has_finalizer, remove_finalizer, retain_owners, uid};
use super::{Ctx, Requeue};
use crate::value::{deleting, list};
use crate::{DeleteOptions, Propagation, Status};

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// What an owner reference leads to.
enum Link {
    /// The owner exists and stays.
    Solid,
    /// The owner is gone, or never was.
    Dangling,
    /// The owner waits for this object to go.
    Waiting,
}

fn link(ctx: &Ctx<'_>, place: &Place, reference: &Value) -> Link {
    let Some(owner) = reference["uid"]
        .as_str()
        .and_then(|uid| ctx.index.find(uid))
    else {
        return Link::Dangling;
    };
    // An owner lives in the object's own namespace or in none.
    if !owner.namespace.is_empty() && owner.namespace != place.namespace {
        return Link::Dangling;
    }
    match ctx
        .cluster
        .get(&owner.resource, &owner.namespace, &owner.name)
    {
        Ok(o) if reference["uid"] != o["metadata"]["uid"] => Link::Dangling,
        Ok(o) if deleting(&o) && has_finalizer(&o, FOREGROUND) => Link::Waiting,
        Ok(_) => Link::Solid,
        Err(_) => Link::Dangling,
    }
}

/// Looks at one object: deletes it if nobody owns it any more, and if it is an owner on its way
/// out, deals with its dependents.
pub(crate) fn sync(ctx: &Ctx<'_>, place: &Place) -> Result<Requeue, Status> {
    let (resource, ns, name) = (&*place.resource, &*place.namespace, &*place.name);
    let object = match ctx.cluster.get(resource, ns, name) {
        Ok(o) => o,
        Err(e) if e.is_not_found() => return Ok(Requeue::Done),
        Err(e) => return Err(e),
    };
    if deleting(&object) {
        if has_finalizer(&object, ORPHAN) {
            return orphan_dependents(ctx, place, &object);
        }
        if has_finalizer(&object, FOREGROUND) {
            return foreground(ctx, place, &object);
        }
        return Ok(Requeue::Done);
    }
    let references = list(&object, &["metadata", "ownerReferences"]);
    if references.is_empty() {
        return Ok(Requeue::Done);
    }
    let (mut solid, mut waiting, mut useless) = (false, false, Vec::new());
    for reference in references {
        match link(ctx, place, reference) {
            Link::Solid => solid = true,
            Link::Waiting => {
                waiting = true;
                useless.push(reference["uid"].clone());
            }
            Link::Dangling => useless.push(reference["uid"].clone()),
        }
    }
    if solid {
        if !useless.is_empty() {
            ctx.cluster.modify(resource, ns, name, |o| {
                retain_owners(o, |r| !useless.contains(&r["uid"]));
            })?;
        }
        return Ok(Requeue::Done);
    }
    let has_dependents = !ctx.index.dependents(uid(&object)).is_empty();
    let propagation = if waiting && has_dependents || has_finalizer(&object, FOREGROUND) {
        Propagation::Foreground
    } else if has_finalizer(&object, ORPHAN) {
        Propagation::Orphan
    } else {
        Propagation::Background
    };
    let options = DeleteOptions {
        propagation: Some(propagation),
        uid: Some(uid(&object).to_owned()),
        ..Default::default()
    };
    match ctx.cluster.delete(resource, ns, name, options) {
        Ok(_) => Ok(Requeue::Done),
        Err(e) if e.is_not_found() => Ok(Requeue::Done),
        Err(e) => Err(e),
    }
}

/// Takes the owner's references off its dependents, then its finalizer.
fn orphan_dependents(ctx: &Ctx<'_>, place: &Place, owner: &Value) -> Result<Requeue, Status> {
    let id = uid(owner);
    for (dependent, _) in ctx.index.dependents(id) {
        let result = ctx.cluster.modify(
            &dependent.resource,
            &dependent.namespace,
            &dependent.name,
            |o| retain_owners(o, |r| r["uid"] != id),
        );
        match result {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    ctx.cluster
        .modify(&place.resource, &place.namespace, &place.name, |o| {
            remove_finalizer(o, ORPHAN);
        })?;
    Ok(Requeue::Done)
}

/// Has the dependents looked at; once none of them holds the owner back, lets it go.
fn foreground(ctx: &Ctx<'_>, place: &Place, owner: &Value) -> Result<Requeue, Status> {
    let id = uid(owner);
    let dependents = ctx.index.dependents(id);
    let mut held = false;
    for (dependent, dependent_uid) in dependents {
        held |= ctx.index.blocks(&dependent_uid, id);
        ctx.collect(dependent);
    }
    if !held {
        ctx.cluster
            .modify(&place.resource, &place.namespace, &place.name, |o| {
                remove_finalizer(o, FOREGROUND);
            })?;
    }
    Ok(Requeue::Done)
}
