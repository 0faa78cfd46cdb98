//! What is known about a service on trial, for people and for other controllers: pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::pods::Set;

/// What is known about the service on trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseGuardStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The stable release, as said or as found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The release on trial, as said or as found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Whether the candidate has all requests: the next release is on trial against it, also one with the baseline's name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promoted: bool,
    /// What the candidate is deployed as, once it is rolled out: another one under the same label is judged anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<DeployedSet>,
    /// When the running trial began: what came before is no evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_start_time: Option<Time>,
    /// What the judge says of the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictState>,
    /// The verdict in one plain sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
    /// The candidate's latency as a multiple of the baseline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// What is missing for a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed: Option<Needed>,
    /// One of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A ReplicaSet, as one deployment of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeployedSet {
    /// Its name.
    pub name: String,
    /// Which one of that name.
    pub uid: String,
    /// When it was created.
    pub creation_timestamp: Time,
}

/// What the judge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerdictState {
    /// Not enough is known yet.
    Gathering,
    /// A regression of the configured size is ruled out.
    Healthy,
    /// The candidate is slower, by less than the configured size.
    Marginal,
    /// The candidate is worse by at least the configured size.
    Regressed,
}

/// The candidate's latency as a multiple of the baseline's: 1.1 is 10% slower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    /// Of which quantile, such as p99.
    pub metric: String,
    /// The best guess.
    pub estimate: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
    /// All of it for people, such as p99 +12.3% (+8.0% to +16.9%).
    pub text: String,
}

/// What is missing for a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Needed {
    /// How many more of the candidate's requests.
    pub requests: i64,
    /// How long that takes at the present rate, in seconds. Without it: longer than the trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// All of it for people, such as 1200 requests, 40 s.
    pub text: String,
}

impl From<&Set> for DeployedSet {
    fn from(Set { created, uid, name, .. }: &Set) -> Self {
        DeployedSet { name: name.clone(), uid: uid.clone(), creation_timestamp: Time(*created) }
    }
}

impl From<DeployedSet> for Set {
    fn from(DeployedSet { name, uid, creation_timestamp }: DeployedSet) -> Self {
        Set { created: creation_timestamp.0, uid, name, made_by: None }
    }
}

impl Ratio {
    /// With the text for people.
    pub fn new(metric: &str, estimate: f64, low: f64, high: f64) -> Self {
        let percent = |ratio: f64| format!("{:+.1}%", (ratio - 1.0) * 100.0);
        let text = format!("{metric} {} ({} to {})", percent(estimate), percent(low), percent(high));
        Ratio { metric: metric.to_owned(), estimate, low, high, text }
    }
}

impl Needed {
    /// With the text for people. What does not fit into the API's whole numbers is its largest.
    pub fn new(requests: u64, seconds: Option<u64>) -> Self {
        let whole = |number| i64::try_from(number).unwrap_or(i64::MAX);
        let time = seconds.map_or("longer than the trial".to_owned(), |seconds| format!("{seconds} s"));
        let text = format!("{requests} requests, {time}");
        Needed { requests: whole(requests), seconds: seconds.map(whole), text }
    }
}

/// A condition as of now. `reason` is CamelCase, as an [`Obstacle`](crate::plan::Obstacle) has it.
pub fn condition(type_: &str, status: bool, reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: None,
        last_transition_time: Time(now),
    }
}

/// Puts a condition in the place of the one of its type. The time of that one is kept while the status is the same.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|old| old.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// As of any Kubernetes object: several writers, each of its own types.
fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("x-kubernetes-list-type".to_owned(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".to_owned(), serde_json::json!(["type"]));
    schema
}
