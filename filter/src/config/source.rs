//! Where a label comes from, as the configuration says it.

use serde_json::{Map, Value};

use super::{Reader, show};
use crate::labels::{Source, Templates};

const NAMES: &str = "\"cluster\", \"subset\", \"host\", \"route_name\", \"virtual_host\", \"upstream_address\", \
                     \"grpc_method\", \"node_id\"";
const OBJECTS: &str = "{\"fixed\": \"...\"}, {\"node_label\": \"...\"}, {\"node_metadata\": [\"...\"]}, \
                       {\"cluster_after\": \"...\"}, {\"host_metadata\": [\"...\"]}, {\"response_header\": \"...\"} or \
                       {\"path_templates\": [\"/...\"]}";
/// Labels that may be left empty.
const OPTIONAL: &str = "pod";

impl Reader {
    pub(super) fn source(&mut self, key: &str, map: &Map<String, Value>, default: Source) -> Source {
        let Some(value) = map.get(key) else { return default };
        let source = match value {
            Value::String(name) if name == "none" && key != OPTIONAL => None,
            Value::String(name) => Source::named(name),
            Value::Object(object) => return self.source_with(key, object).unwrap_or(default),
            _ => None,
        };
        source.unwrap_or_else(|| {
            self.problem(key, format!("{} is not a source of a label: write {}", show(value), sources(key)));
            default
        })
    }

    fn source_with(&mut self, key: &str, object: &Map<String, Value>) -> Option<Source> {
        let mut entries = object.iter();
        let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
            let keys: Vec<_> = object.keys().collect();
            self.problem(key, format!("{keys:?} are not exactly one key: write {}", sources(key)));
            return None;
        };
        let path = format!("{key}.{kind}");
        match kind.as_str() {
            "fixed" => self.text(&path, value).map(Source::Fixed),
            "node_label" => self.text(&path, value).map(|key| Source::NodeMetadata(vec!["LABELS".to_owned(), key])),
            "cluster_after" => self.text(&path, value).map(Source::ClusterAfter),
            "response_header" => self.text(&path, value).map(|name| Source::ResponseHeader(name.to_ascii_lowercase())),
            "node_metadata" => self.texts(&path, value).map(Source::NodeMetadata),
            "host_metadata" => self.texts(&path, value).map(Source::HostMetadata),
            "path_templates" => self.templates(&path, value).map(Source::PathTemplates),
            _ => {
                self.problem(&path, format!("unknown key: write {}", sources(key)));
                None
            }
        }
    }

    fn text(&mut self, path: &str, value: &Value) -> Option<String> {
        let text = value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if text.is_none() {
            self.problem(path, format!("{} is not a text: write one that is not empty", show(value)));
        }
        text
    }

    /// A list of texts without NUL, which separates them in the host call.
    fn texts(&mut self, path: &str, value: &Value) -> Option<Vec<String>> {
        let text = |item: &Value| item.as_str().filter(|t| !t.is_empty() && !t.contains('\0')).map(str::to_owned);
        let all: Option<Vec<String>> = value.as_array().and_then(|items| items.iter().map(text).collect());
        let all = all.filter(|all| !all.is_empty());
        if all.is_none() {
            let example = "write a list of texts like [\"LABELS\", \"version\"]";
            self.problem(path, format!("{} is not a list of keys: {example}", show(value)));
        }
        all
    }

    pub(super) fn templates(&mut self, path: &str, value: &Value) -> Option<Templates> {
        let remedy = "write absolute paths like \"/users/{id}\" or \"/static/**\", at most 100 of them";
        let problem = match self.texts(path, value).map(Templates::parse)? {
            Ok(templates) => return Some(templates),
            Err(bad) if bad.is_empty() => format!("{} are too many: {remedy}", show(value)),
            Err(bad) => format!("{bad:?} is not a path template: {remedy}"),
        };
        self.problem(path, problem);
        None
    }
}

fn sources(key: &str) -> String {
    let none = if key == OPTIONAL { ", \"none\"" } else { "" };
    format!("{NAMES}{none}, {OBJECTS}")
}
