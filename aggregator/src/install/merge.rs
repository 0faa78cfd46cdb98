//! As much of Kustomize's strategic merge as the overlays use: pure.

use serde_json::{Map, Value};

/// Changes the document of the same kind and name: fields are set, with `null` taken away, and what has a name in a list is changed by its
/// name; other lists are replaced. `$patch: delete` takes the document away.
pub(super) fn patch(documents: &mut Vec<Value>, patch: Value) {
    let is_meant = |document: &Value| {
        document["kind"] == patch["kind"] && document["metadata"]["name"] == patch["metadata"]["name"]
    };
    if patch["$patch"] == "delete" {
        documents.retain(|document| !is_meant(document));
    } else if let Some(document) = documents.iter_mut().find(|document| is_meant(document)) {
        merge(document, patch);
    }
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    // What is added goes through it as well: `null` is no value there.
                    merge(into.entry(key).or_insert_with(|| empty(&value)), value);
                }
            }
        }
        (Value::Array(into), Value::Array(patch)) if patch.iter().all(|item| item.get("name").is_some()) => {
            for item in patch {
                match into.iter_mut().find(|old| old["name"] == item["name"]) {
                    Some(old) => merge(old, item),
                    None => into.push(item),
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

fn empty(like: &Value) -> Value {
    if like.is_object() { Value::Object(Map::new()) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_does_what_kustomize_does() {
        let document = json!({
            "kind": "Deployment", "metadata": { "name": "a" },
            "spec": { "replicas": 1, "args": [1, 2], "volumes": [{ "name": "x", "claim": 1 }, { "name": "y" }] },
        });
        let mut documents = vec![document.clone(), json!({ "kind": "Deployment", "metadata": { "name": "b" } })];
        let of = |spec| json!({ "kind": "Deployment", "metadata": { "name": "a" }, "spec": spec });
        patch(
            &mut documents,
            of(json!({
                "replicas": 2, "args": [3], "new": { "in": { "it": true, "gone": null } },
                "volumes": [{ "name": "x", "claim": null, "dir": {} }, { "name": "z" }],
            })),
        );
        let want = of(json!({
            "replicas": 2, "args": [3], "new": { "in": { "it": true } },
            "volumes": [{ "name": "x", "dir": {} }, { "name": "y" }, { "name": "z" }],
        }));
        assert_eq!(documents[0], want);
        assert_eq!(documents[1]["metadata"]["name"], "b");
        patch(&mut documents, json!({ "kind": "Service", "metadata": { "name": "a" }, "$patch": "delete" }));
        assert_eq!(documents.len(), 2);
        patch(&mut documents, json!({ "kind": "Deployment", "metadata": { "name": "a" }, "$patch": "delete" }));
        assert_eq!(documents, [json!({ "kind": "Deployment", "metadata": { "name": "b" } })]);
    }
}
