//! What counts as a regression, in the words of `judge` in `serin.yaml`: pure.

#![allow(unreachable_pub, reason = "KubeSchema copies the types into functions, as public as they are")]

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What counts as a regression, and how sure to be. What is not said has the default of `serin.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.regression) || !has(self.thresholds)")
    .message("give regression or thresholds, not both"))]
pub struct Rules {
    /// The smallest increase of latency that is worth a rollback, from 1% to 1000%. 10% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "percent")]
    #[x_kube(validation = Rule::new("double(self.replace('%', '')) >= 1.0 && double(self.replace('%', '')) <= 1000.0")
        .message("regression must be from 1% to 1000%"))]
    pub regression: Option<String>,
    /// The probability that a release no worse than its baseline is ever rolled back in a trial, from 0.0000001% to 10%.
    /// 0.1% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "percent")]
    #[x_kube(validation = Rule::new("double(self.replace('%', '')) >= 0.0000001 && double(self.replace('%', '')) <= 10.0")
        .message("false_rollback must be from 0.0000001% to 10%"))]
    pub false_rollback: Option<String>,
    /// The probability that a release worse by `regression` is called healthy, from 0.0000001% to 50%. 5% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "percent")]
    #[x_kube(validation = Rule::new("double(self.replace('%', '')) >= 0.0000001 && double(self.replace('%', '')) <= 50.0")
        .message("false_pass must be from 0.0000001% to 50%"))]
    pub false_pass: Option<String>,
    /// How long a trial lasts, in whole seconds from 1m to 720h. 30m by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('720h') && !self.endsWith('ms')")
        .message("trial must be in whole seconds, from 1m to 720h"))]
    pub trial: Option<String>,
    /// How long a candidate that has all of the traffic is held against the baseline's past, in whole seconds from 0s (not at all) to
    /// 24h. 30m by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h') && !self.endsWith('ms')")
        .message("guard must be in whole seconds, from 0s to 24h"))]
    pub guard: Option<String>,
    /// Whether the candidate's requests are held against its weight: only where all callers go by the weights. Ignored by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Throughput")]
    pub throughput: Option<Throughput>,
    /// Absolute limits of latency: a candidate that breaks one alone is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Limits")]
    pub limits: Option<Limits>,
    /// In place of `regression`, the thresholds of a Kayenta canary configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Thresholds")]
    pub thresholds: Option<Thresholds>,
    /// The same of single quantiles, as in a canary configuration's metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(validation = Rule::new("self.all(one, self.exists_one(other, other.name == one.name))")
        .message("each metric comes once"))]
    pub metrics: Vec<Metric>,
}

/// Whether it is held against the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Throughput {
    /// It is not.
    Ignored,
    /// It is.
    Judged,
}

/// A quantile with thresholds of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Metric {
    /// Which.
    pub name: MetricName,
    /// Its own.
    pub thresholds: Thresholds,
}

/// The quantiles that are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricName {
    /// The median.
    P50,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    #[serde(rename = "p99.9")]
    P999,
}

/// Limits of latency, each from 1ms to 10m.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Limits {
    /// Of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('10m')")
        .message("a limit must be from 1ms to 10m"))]
    pub p50: Option<String>,
    /// Of the 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('10m')")
        .message("a limit must be from 1ms to 10m"))]
    pub p95: Option<String>,
    /// Of the 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('10m')")
        .message("a limit must be from 1ms to 10m"))]
    pub p99: Option<String>,
    /// Of the 99.9th percentile.
    #[serde(default, rename = "p99.9", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('10m')")
        .message("a limit must be from 1ms to 10m"))]
    pub p999: Option<String>,
}

/// As in a Kayenta canary configuration, in fractions: 0.1 is 10%.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.pass < self.marginal").message("pass must be below marginal"))]
pub struct Thresholds {
    /// A candidate slower by more than this is marginal. From 0.005 up.
    #[schemars(range(min = 0.005))]
    pub pass: f64,
    /// A candidate slower by more than this is a regression. From 0.01 to 10.
    #[schemars(range(min = 0.01, max = 10.0))]
    pub marginal: f64,
}

/// A percentage such as 10% or 0.1%.
fn percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 20, "pattern": "^[0-9]+([.][0-9]+)?%$" })
}

/// A duration such as 1h30m, 90s or 200ms: what both CEL and the parser of `serin.yaml` read.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "minLength": 2, "maxLength": 20, "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    })
}
