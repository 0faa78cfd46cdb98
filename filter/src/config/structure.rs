use prost::Message;
use prost_types::{Struct, value::Kind};
use serde_json::{Map, Value};

/// Reads a serialized `google.protobuf.Struct` as the JSON it stands for. `None` where the bytes are no such message,
/// or an empty one.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    // Decoding refuses messages nested deeper than 100, which bounds the recursion here.
    let message = Struct::decode(bytes).ok().filter(|message| !message.fields.is_empty())?;
    Some(object(message))
}

fn object(message: Struct) -> Value {
    let entry = |(key, value): (String, prost_types::Value)| (key, json(value.kind));
    Value::Object(message.fields.into_iter().map(entry).collect::<Map<_, _>>())
}

fn json(kind: Option<Kind>) -> Value {
    match kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => Value::from(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::StructValue(message)) => object(message),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(|value| json(value.kind)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand: {"a": {"b": "c"}, "n": 1000}, as map entries of key (1) and value (2).
    #[test]
    fn a_struct_is_read_as_json() {
        #[rustfmt::skip]
        let bytes = [
            0x0a, 17, 0x0a, 1, b'a', 0x12, 12, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'b', 0x12, 3, 0x1a, 1, b'c',
            0x0a, 14, 0x0a, 1, b'n', 0x12, 9, 0x11, 0, 0, 0, 0, 0, 0x40, 0x8f, 0x40,
        ];
        assert_eq!(decode(&bytes), Some(serde_json::json!({"a": {"b": "c"}, "n": 1000.0})));
    }

    #[test]
    fn json_is_no_struct() {
        for text in ["", "\n{\"cluster\": \"serin\"", "{}", "serin"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
