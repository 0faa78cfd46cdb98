//! The plugin configuration: JSON in, types that cannot be wrong out, every problem at once.

mod source;
mod structure;

use std::fmt;

use serde_json::{Map, Value};
use serin_proto::v1::{Attachment, Vantage};

use crate::labels::{Sources, Templates};

/// The longest cluster name: Istio's are `outbound|65535|subset|host`, of which a subset has 63 bytes at most and a host 253.
const CLUSTER_MAX: usize = 332;
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 1_000..=10_000;
const KEYS: [&str; 12] = [
    "cluster",
    "vantage",
    "attachment",
    "outcomes",
    "service",
    "release",
    "route",
    "pod",
    "methods",
    "streams",
    "retries",
    "interval_ms",
];

/// The configuration of one place where the filter is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// An access logger that Envoy calls for what did not plainly succeed, before the one that counts.
    Exceptions,
    /// What counts requests.
    Counting(Box<Counting>),
}

/// How requests are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counting {
    /// Envoy's name for the cluster of the aggregator: 1 to 332 printable ASCII characters.
    pub cluster: String,
    /// Where in the mesh this Envoy measures.
    pub vantage: Vantage,
    /// As what the filter is attached.
    pub attachment: Attachment,
    /// Whether an access logger for exceptions tells which requests did not plainly succeed, so that it need not be read.
    pub sorted: bool,
    /// Where each label comes from.
    pub sources: Sources,
    /// The paths of long-lived streams.
    pub streams: Templates,
    /// Whether attempts beyond the first are counted, which takes another attribute of each request.
    pub retries: bool,
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
        let config = if map.get("attachment").and_then(Value::as_str) == Some("exceptions") {
            reader.unknown_keys(&map, &["attachment"]);
            Config::Exceptions
        } else {
            Config::Counting(Box::new(reader.counting(&map)))
        };
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

    fn counting(&mut self, map: &Map<String, Value>) -> Counting {
        let cluster = self.cluster(map.get("cluster"));
        let vantage = self.vantage(map.get("vantage"));
        let attachment = self.attachment(map.get("attachment"));
        let sorted = self.sorted(map.get("outcomes"));
        let defaults = Sources::of_vantage(vantage);
        let sources = Sources {
            service: self.source("service", map, defaults.service),
            route: self.source("route", map, defaults.route),
            release: self.source("release", map, defaults.release),
            pod: self.source("pod", map, defaults.pod),
            methods: self.methods(map.get("methods")),
        };
        let streams = map.get("streams").and_then(|value| self.templates("streams", value)).unwrap_or_default();
        let retries = self.retries(map.get("retries"));
        let interval_ms = self.interval_ms(map.get("interval_ms"));
        self.unknown_keys(map, &KEYS);
        Counting { cluster, vantage, attachment, sorted, sources, streams, retries, interval_ms }
    }

    fn unknown_keys(&mut self, map: &Map<String, Value>, known: &[&str]) {
        for (key, value) in map.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            self.problem(key, format!("unknown key (its value is {}): remove it or use one of {known:?}", show(value)));
        }
    }

    fn sorted(&mut self, value: Option<&Value>) -> bool {
        match value.map(|v| (v, v.as_str())) {
            None | Some((_, Some("read"))) => false,
            Some((_, Some("sorted"))) => true,
            Some((value, _)) => {
                let message = format!("{} is no way to tell outcomes: write \"read\" or \"sorted\"", show(value));
                self.problem("outcomes", message);
                false
            }
        }
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
                let message = format!(
                    "{} is not an attachment: write \"access_log\", \"http_filter\" or \"exceptions\"",
                    show(value)
                );
                self.problem("attachment", message);
                Attachment::Unspecified
            }
        }
    }

    fn retries(&mut self, value: Option<&Value>) -> bool {
        match value.map(|v| (v, v.as_str())) {
            None | Some((_, Some("ignored"))) => false,
            Some((_, Some("counted"))) => true,
            Some((value, _)) => {
                let message =
                    format!("{} is not what to do with retries: write \"ignored\" or \"counted\"", show(value));
                self.problem("retries", message);
                false
            }
        }
    }

    fn methods(&mut self, value: Option<&Value>) -> bool {
        match value.map(|v| (v, v.as_str())) {
            None | Some((_, Some("ignored"))) => false,
            Some((_, Some("told"))) => true,
            Some((value, _)) => {
                let message = format!("{} is not what to do with methods: write \"ignored\" or \"told\"", show(value));
                self.problem("methods", message);
                false
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
}

/// A value for a message: as JSON, at most 80 characters.
fn show(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { format!("{}...", text.chars().take(80).collect::<String>()) }
}

#[cfg(test)]
mod tests;
