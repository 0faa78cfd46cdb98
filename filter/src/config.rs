//! The plugin configuration: JSON in, types that cannot be wrong out, every problem at once.

mod structure;

use std::fmt;

use serde_json::{Map, Value};
use serin_proto::v1::{Attachment, Vantage};

use crate::labels::{Source, Sources};

/// The longest cluster name: the serialized gRPC target must stay below 128 bytes a length, where its bytes
/// are ASCII and fit the host call's string argument.
const CLUSTER_MAX: usize = 120;
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 1_000..=10_000;
const KEYS: [&str; 8] = ["cluster", "vantage", "attachment", "service", "release", "route", "pod", "interval_ms"];
const SOURCES: &str = "\"cluster\", \"subset\", \"host\", \"route_name\", \"virtual_host\", \"upstream_address\", \
                       \"node_id\", {\"fixed\": \"...\"}, {\"node_label\": \"...\"} or {\"cluster_after\": \"...\"}";

/// The whole configuration of one attached filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Envoy's name for the cluster of the aggregator: 1 to 120 printable ASCII characters.
    pub cluster: String,
    /// Where in the mesh this Envoy measures.
    pub vantage: Vantage,
    /// As what the filter is attached.
    pub attachment: Attachment,
    /// Where each label comes from.
    pub sources: Sources,
    /// How often counts are reported, in milliseconds: 1,000 to 10,000.
    pub interval_ms: u64,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, with the keys that lead to it: `service.fixed`. Empty for the whole configuration.
    pub path: String,
    /// The value, what is wrong with it, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl Config {
    /// Reads the plugin configuration as Envoy 1.40 delivers it: the text of a StringValue, or a Struct serialized
    /// (although its documentation says as JSON).
    ///
    /// # Errors
    /// Every problem, in the order of the keys' documentation; never empty.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::default();
        let value = match serde_json::from_slice(json) {
            Ok(value) => value,
            Err(_) if json.is_empty() => return Err(reader.only(format!("is missing: {EXAMPLE}"))),
            Err(error) => match structure::decode(json) {
                Some(value) => value,
                None => return Err(reader.only(format!("is not JSON ({error}): {EXAMPLE}"))),
            },
        };
        let Value::Object(map) = value else {
            return Err(reader.only(format!("{} is not an object: {EXAMPLE}", show(&value))));
        };
        let config = reader.config(&map);
        if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
    }
}

const EXAMPLE: &str = "write an object like {\"cluster\": \"serin\", \"vantage\": \"gateway\"}";

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn only(&mut self, message: String) -> Vec<Problem> {
        vec![Problem { path: String::new(), message: format!("the plugin configuration {message}") }]
    }

    fn problem(&mut self, path: &str, message: String) {
        self.problems.push(Problem { path: path.to_owned(), message });
    }

    fn config(&mut self, map: &Map<String, Value>) -> Config {
        let cluster = self.cluster(map.get("cluster"));
        let vantage = self.vantage(map.get("vantage"));
        let attachment = self.attachment(map.get("attachment"));
        let defaults = Sources::of_vantage(vantage);
        let sources = Sources {
            service: self.source("service", map, defaults.service),
            route: self.source("route", map, defaults.route),
            release: self.source("release", map, defaults.release),
            pod: self.source("pod", map, defaults.pod),
        };
        let interval_ms = self.interval_ms(map.get("interval_ms"));
        for (key, value) in map.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
            self.problem(key, format!("unknown key (its value is {}): remove it or use one of {KEYS:?}", show(value)));
        }
        Config { cluster, vantage, attachment, sources, interval_ms }
    }

    fn cluster(&mut self, value: Option<&Value>) -> String {
        let good = |name: &str| {
            (1..=CLUSTER_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        };
        match value {
            Some(Value::String(name)) if good(name) => return name.clone(),
            Some(value) => self.problem(
                "cluster",
                format!(
                    "{} is not the name of an Envoy cluster: write 1 to {CLUSTER_MAX} printable ASCII characters",
                    show(value)
                ),
            ),
            None => self.problem("cluster", "is missing: write the name of the aggregator's Envoy cluster".to_owned()),
        }
        String::new()
    }

    fn vantage(&mut self, value: Option<&Value>) -> Vantage {
        let remedy = "write \"inbound\", \"outbound\" or \"gateway\"";
        match value.map(|v| v.as_str().ok_or(v)) {
            Some(Ok("inbound")) => return Vantage::Inbound,
            Some(Ok("outbound")) => return Vantage::Outbound,
            Some(Ok("gateway")) => return Vantage::Gateway,
            Some(_) => {
                self.problem("vantage", format!("{} is not a vantage: {remedy}", value.map_or_else(String::new, show)))
            }
            None => self.problem("vantage", format!("is missing: {remedy}")),
        }
        Vantage::Unspecified
    }

    fn attachment(&mut self, value: Option<&Value>) -> Attachment {
        match value.map(|v| (v, v.as_str())) {
            None | Some((_, Some("access_log"))) => Attachment::AccessLog,
            Some((_, Some("http_filter"))) => Attachment::HttpFilter,
            Some((value, _)) => {
                let message = format!("{} is not an attachment: write \"access_log\" or \"http_filter\"", show(value));
                self.problem("attachment", message);
                Attachment::Unspecified
            }
        }
    }

    fn interval_ms(&mut self, value: Option<&Value>) -> u64 {
        let Some(value) = value else { return *INTERVAL_MS.start() };
        // Envoy writes a Struct's numbers as floating point: 1000.0 is 1000.
        let whole = value.as_u64().or_else(|| value.as_f64().filter(|v| v.fract() == 0.0).map(|v| v as u64));
        whole.filter(|ms| INTERVAL_MS.contains(ms)).unwrap_or_else(|| {
            self.problem(
                "interval_ms",
                format!("{} is out of range: write whole milliseconds from 1000 to 10000", show(value)),
            );
            *INTERVAL_MS.start()
        })
    }

    fn source(&mut self, key: &str, map: &Map<String, Value>, default: Source) -> Source {
        let Some(value) = map.get(key) else { return default };
        let none = if key == "pod" { " or \"none\"" } else { "" };
        let source = match value {
            Value::String(name) if name == "none" && key != "pod" => None,
            Value::String(name) => Source::named(name),
            Value::Object(object) => return self.source_with(key, object, none).unwrap_or(default),
            _ => None,
        };
        source.unwrap_or_else(|| {
            self.problem(key, format!("{} is not a source of a label: write {SOURCES}{none}", show(value)));
            default
        })
    }

    fn source_with(&mut self, key: &str, object: &Map<String, Value>, none: &str) -> Option<Source> {
        let mut entries = object.iter();
        let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
            let keys: Vec<_> = object.keys().collect();
            self.problem(key, format!("{keys:?} are not exactly one key: write {SOURCES}{none}"));
            return None;
        };
        let text = value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        match (kind.as_str(), text) {
            ("fixed", Some(text)) => Some(Source::Fixed(text)),
            ("node_label", Some(text)) => Some(Source::NodeLabel(text)),
            ("cluster_after", Some(text)) => Some(Source::ClusterAfter(text)),
            ("fixed" | "node_label" | "cluster_after", None) => {
                self.problem(
                    &format!("{key}.{kind}"),
                    format!("{} is not a text: write one that is not empty", show(value)),
                );
                None
            }
            _ => {
                self.problem(&format!("{key}.{kind}"), format!("unknown key: write {SOURCES}{none}"));
                None
            }
        }
    }
}

/// A value for a message: as JSON, at most 80 characters.
fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { format!("{}...", text.chars().take(80).collect::<String>()) }
}

#[cfg(test)]
mod tests;
