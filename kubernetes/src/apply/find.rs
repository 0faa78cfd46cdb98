//! From the object that is named to the one that is changed: IO around [`Family::splits`].

use serde_json::Value;

use super::{
    answer::{Outcome, Setback},
    ask::Ask,
    error::ApplyError,
};
use crate::{
    delegates::{self, Family, MAX_DELEGATES},
    intent::Intent,
    object::ObjectRef,
    plan::Obstacle,
};

/// Reads an object, and where it delegates its routes the one that splits the service.
pub(super) async fn find(ask: &Ask<'_>, named: &ObjectRef, intent: &Intent) -> Result<(ObjectRef, Value), Outcome> {
    let family = family(ask, named).await?;
    let (name, object) = family.splits(intent).map_err(|why| Outcome::End(Obstacle::from(why).into()))?;
    Ok((name.unwrap_or(named).clone(), object.clone()))
}

/// Reads an object and what it delegates to. All delegates together have the time of one request: a server that hangs must not be waited
/// for at each.
pub(super) async fn family(ask: &Ask<'_>, named: &ObjectRef) -> Result<Family, Outcome> {
    let root = ask.get(named).await?;
    let names = delegates::of(&root);
    let read = async {
        let mut delegates = Vec::new();
        for name in names {
            // One more tells that there are too many.
            let object = if delegates.len() < MAX_DELEGATES { read(ask, &name).await? } else { None };
            delegates.push((name, object));
        }
        Ok(delegates)
    };
    let delegates = tokio::time::timeout(ask.limit, read).await.map_err(|_| Outcome::Again(Setback::Slow))??;
    Ok(Family { root, delegates })
}

/// `None`: it is not there.
async fn read(ask: &Ask<'_>, object: &ObjectRef) -> Result<Option<Value>, Outcome> {
    match ask.get(object).await {
        Ok(found) => Ok(Some(found)),
        Err(Outcome::End(ApplyError::NotFound(_))) => Ok(None),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests;
