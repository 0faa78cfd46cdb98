//! Tests.

mod manifests_match_the_schemas;
