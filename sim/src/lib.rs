//! Simulated rollouts: how often the judge is wrong, and how long it takes to be right. Seeded, so the same everywhere.
//!
//! `world` says what happens, `generator` makes the traffic of it, `rule` looks at the traffic, `run` does many rollouts of one
//! scenario, `scenarios` is the table, `report` shows it, `plan` answers for one rollout. The noise is a model: what it says of false rollbacks holds for traffic
//! that is like it.

pub mod generator;
pub mod latency;
pub mod plan;
pub mod random;
pub mod recorded;
pub mod report;
pub mod rule;
pub mod run;
pub mod scenarios;
pub mod world;
