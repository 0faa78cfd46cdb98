//! Tests.

mod manifests_match_the_schemas;
//! Tests that need more than one crate, or a real Envoy. Each file is named by the question it answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod bootstraps_are_valid;
mod the_load_is_what_it_says;
