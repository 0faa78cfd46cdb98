//! Text -> [`Node`]: any YAML document as a tree that remembers its lines and the order of its keys. Pure.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Spanned, budget::BudgetBreach};

use super::problem::{Fault, Place, Problem};

/// The largest file that is read, in bytes: 1,000 services with 4 KiB each.
const MAX_BYTES: usize = 4 << 20;

/// A value and where it is. For a value that came in by an alias that is where the alias is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// Any value.
#[derive(Debug)]
pub(super) enum Value {
    Nothing,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it is.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

/// Reads one document. Keys that appear twice in a mapping are an error, and so is more than one document.
///
/// # Errors
/// The first thing that is not YAML, or a limit that is exceeded.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem::of_file(Place::START, Fault::TooLarge { bytes: text.len(), most: MAX_BYTES }));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        // A whole configuration is 6 levels deep. A thousand services may share an anchor, so the ratio of aliases
        // to anchors says nothing; how much all of them may expand to is limited instead.
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_documents: 1,
            max_aliases: 10_000,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 250_000, max_replay_stack_depth: 8 },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map_or(Place::START, Place::from);
        Problem::of_file(place, fault(&error))
    })
}

fn fault(error: &Error) -> Fault {
    match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => Fault::Twice { key: shortened(key) },
        Error::MultipleDocuments { .. } | Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            Fault::SecondDocument
        }
        other => {
            let message = other.to_string();
            // "... at line 3, column 4": the problem's own place says that.
            let message = message.split_once(" at line ").map_or(message.as_str(), |(what, _)| what);
            Fault::NotYaml(one_line(message.chars()))
        }
    }
}

/// At most 60 characters of a text, on one line.
pub(super) fn shortened(text: &str) -> String {
    let rest = if text.chars().nth(60).is_some() { "..." } else { "" };
    one_line(text.chars().take(60)) + rest
}

/// With line breaks and other control characters written as escapes.
fn one_line(text: impl Iterator<Item = char>) -> String {
    text.fold(String::new(), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(from)?;
        Ok(Node { value, place: referenced.into() })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let Spanned { value: name, referenced, .. } = key;
            map.push((Key { name, place: referenced.into() }, entries.next_value()?));
        }
        Ok(Value::Map(map))
    }
}

impl fmt::Display for Value {
    /// Short enough for a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nothing => f.write_str("nothing"),
            Value::Bool(value) => write!(f, "`{value}`"),
            Value::Number(value) => write!(f, "the number {value}"),
            Value::Text(text) if text.is_empty() => f.write_str("an empty text"),
            Value::Text(text) => write!(f, "`{}`", shortened(text)),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a mapping"),
        }
    }
}
