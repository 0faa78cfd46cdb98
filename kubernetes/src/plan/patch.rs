//! From new weights to a JSON patch (RFC 6902): pure.

use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation, TestOperation, jsonptr::PointerBuf};
use serde_json::Value;

use crate::routes::Destination;

/// What must still be so when the patch is applied: the object is the one that was read, unchanged.
pub(super) fn guards(uid: &str, resource_version: &str) -> Vec<PatchOperation> {
    let test = |field, value: &str| test(PointerBuf::from_tokens(["metadata", field]), value.into());
    vec![test("uid", uid), test("resourceVersion", resource_version)]
}

/// One weight, with a test of what it was.
///
/// A patch cannot test that something is missing: where there is no weight, the whole destination is tested.
pub(super) fn set(destination: &Destination, weight: u32) -> [PatchOperation; 2] {
    let at = PointerBuf::from_tokens(&destination.path);
    let weight_at = PointerBuf::from_tokens(destination.path.iter().map(String::as_str).chain(["weight"]));
    let value = Value::from(weight);
    match destination.value.get("weight") {
        Some(before) => [
            test(weight_at.clone(), before.clone()),
            PatchOperation::Replace(ReplaceOperation { path: weight_at, value }),
        ],
        None => [test(at, destination.value.clone()), PatchOperation::Add(AddOperation { path: weight_at, value })],
    }
}

pub(super) fn patch(operations: Vec<PatchOperation>) -> Patch {
    Patch(operations)
}

fn test(path: PointerBuf, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path, value })
}
