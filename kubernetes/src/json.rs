//! Looks into JSON values: pure.

use serde_json::Value;

/// The items of a list under a key; none when there is no such list.
pub(crate) fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = (usize, &'v Value)> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// The text under a key.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

/// ` (name)` when the value has a name, as part of a place.
pub(crate) fn named(value: &Value) -> String {
    text(value, "name").map(|name| format!(" ({name})")).unwrap_or_default()
}
